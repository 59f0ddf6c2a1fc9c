rule assemble_captions:
    input:
        records=records_of_texts,
        classes=config["data"]["classes"],
    output:
        captions="<results>/captions/{text_slice}.parquet",
    log:
        "<logs>/assemble_captions/{text_slice}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=memory_of(2000, 10),
        runtime=240,
    params:
        slice=text_slice_of,
        variants=caption_variants_of,
        template=lambda wildcards: config["caption_template"],
        seed=config["data"]["seed"],
        code=code_of("assemble_captions"),
    script:
        "../scripts/assemble_captions.py"
