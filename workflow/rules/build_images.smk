rule build_images:
    input:
        drawings=lambda wildcards: expand(
            "<results>/drawings/{part}.parquet", part=part_of(wildcards)
        ),
    output:
        images="<results>/images/{icon_dataset}.arrow",
        ink="<results>/images/{icon_dataset}_ink.npy",
        failures="<results>/images/{icon_dataset}_failures.csv",
    log:
        "<logs>/build_images/{icon_dataset}.log",
    benchmark:
        "<benchmarks>/build_images/{icon_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        size=config["data"]["image_size"],
        pose=lambda wildcards: DATASETS[wildcards.icon_dataset]["pose"],
        seed=config["data"]["seed"],
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("build_images"),
    script:
        "../scripts/build_images.py"
