rule assemble_captions:
    input:
        records=lambda wildcards: expand(
            "<results>/records/{part}.parquet",
            part=DATASETS[wildcards.source]["part"],
        ),
    output:
        captions="<results>/captions/{source}.parquet",
    log:
        "<logs>/assemble_captions/{source}.log",
    conda:
        "../../envs/whyrobust.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        variants=caption_variants_of,
        template=lambda wildcards: config["caption_template"],
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"
