rule build_photo_records:
    input:
        files=photo_files_of,
        classes=config["data"]["classes"],
    output:
        records="<results>/records/{photo_slice}.parquet",
        locations="<results>/locations/{photo_slice}.parquet",
        pack="<results>/packs/{photo_slice}.bin",
        counts="<results>/records/{photo_slice}_counts.csv",
        presence="<results>/records/{photo_slice}_presence.json",
    log:
        "<logs>/build_photo_records/{photo_slice}.log",
    benchmark:
        "<benchmarks>/build_photo_records/{photo_slice}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        slice=slice_of,
        facts=photo_facts_of,
        covered=lambda wildcards: covered_classes()
        .get(slice_of(wildcards)["dataset"], {})
        .get("covered"),
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("build_photo_records"),
    script:
        "../scripts/build_photo_records.py"
