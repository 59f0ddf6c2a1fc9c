rule assemble_captions:
    input:
        records=lambda wildcards: expand(
            "<results>/records/{part}.parquet",
            part=DATASETS[wildcards.icon_source]["part"],
        ),
    output:
        captions="<results>/captions/{icon_source}.parquet",
    log:
        "<logs>/assemble_captions/{icon_source}.log",
    conda:
        "../../envs/whyrobust.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        variants=caption_variants_of,
        template=lambda wildcards: config["caption_template"],
        seed=config["data"]["seed"],
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"
