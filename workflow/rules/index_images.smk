rule index_images:
    input:
        locations="<results>/locations/{photo_slice}.parquet",
        pack="<results>/packs/{photo_slice}.bin",
    output:
        images="<results>/images/{photo_slice}.arrow",
        ink="<results>/images/{photo_slice}_ink.npy",
        failures="<results>/images/{photo_slice}_failures.csv",
    log:
        "<logs>/index_images/{photo_slice}.log",
    benchmark:
        "<benchmarks>/index_images/{photo_slice}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=600,
    params:
        slice=slice_of,
        facts=lambda wildcards: checked_facts_of(slice_of(wildcards)["dataset"]),
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("index_images"),
    script:
        "../scripts/index_images.py"
