rule build_photo_records:
    input:
        files=photo_files_of,
        classes=config["data"]["classes"],
    output:
        records="<results>/records/{photo_dataset}.parquet",
        locations="<results>/locations/{photo_dataset}.parquet",
        pack="<results>/packs/{photo_dataset}.bin",
        counts="<results>/records/{photo_dataset}_counts.csv",
    log:
        "<logs>/build_photo_records/{photo_dataset}.log",
    benchmark:
        "<benchmarks>/build_photo_records/{photo_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        facts=photo_facts_of,
        covered=lambda wildcards: covered_classes()
        .get(wildcards.photo_dataset, {})
        .get("covered"),
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("build_photo_records"),
    script:
        "../scripts/build_photo_records.py"
