rule index_images:
    input:
        locations="<results>/locations/{photo_dataset}.parquet",
        pack="<results>/packs/{photo_dataset}.bin",
    output:
        images="<results>/images/{photo_dataset}.arrow",
        ink="<results>/images/{photo_dataset}_ink.npy",
        failures="<results>/images/{photo_dataset}_failures.csv",
    log:
        "<logs>/index_images/{photo_dataset}.log",
    benchmark:
        "<benchmarks>/index_images/{photo_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=600,
    params:
        facts=test_set_facts_of,
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("index_images"),
    script:
        "../scripts/index_images.py"
