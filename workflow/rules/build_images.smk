rule build_images:
    input:
        drawings=lambda wildcards: expand(
            "<results>/drawings/{part}.parquet", part=part_of(wildcards)
        ),
    output:
        images="<results>/images/{dataset}.arrow",
        ink="<results>/images/{dataset}_ink.npy",
        failures="<results>/images/{dataset}_failures.csv",
    log:
        "<logs>/build_images/{dataset}.log",
    benchmark:
        "<benchmarks>/build_images/{dataset}.tsv"
    conda:
        "../../envs/whyrobust.yaml"
    threads: 8
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        size=config["data"]["image_size"],
        pose=lambda wildcards: DATASETS[wildcards.dataset]["pose"],
        seed=config["data"]["seed"],
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("build_images"),
    script:
        "../scripts/build_images.py"
