rule assemble_captions:
    input:
        records=lambda wildcards: records_path(wildcards.plain_source),
        classes=config["data"]["classes"],
    output:
        captions="<results>/captions/{plain_source}.parquet",
    log:
        "<logs>/assemble_captions/{plain_source}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=240,
    params:
        variants=caption_variants_of,
        template=lambda wildcards: config["caption_template"],
        seed=config["data"]["seed"],
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"
