# One image store per data set; data sets that are built in slices are merged here.


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


rule join_slices:
    input:
        records=lambda wildcards: slice_files(wildcards, "records/{}.parquet"),
        counts=lambda wildcards: slice_files(wildcards, "records/{}_counts.csv"),
        presence=lambda wildcards: slice_files(wildcards, "records/{}_presence.json"),
        images=lambda wildcards: slice_files(wildcards, "images/{}.arrow"),
        ink=lambda wildcards: slice_files(wildcards, "images/{}_ink.npy"),
        failures=lambda wildcards: slice_files(wildcards, "images/{}_failures.csv"),
    output:
        records="<results>/records/{sliced_dataset}.parquet",
        counts="<results>/records/{sliced_dataset}_counts.csv",
        images="<results>/images/{sliced_dataset}.arrow",
        ink="<results>/images/{sliced_dataset}_ink.npy",
        failures="<results>/images/{sliced_dataset}_failures.csv",
    log:
        "<logs>/join_slices/{sliced_dataset}.log",
    benchmark:
        "<benchmarks>/join_slices/{sliced_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        facts=lambda wildcards: checked_facts_of(wildcards.sliced_dataset),
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("join_slices"),
    script:
        "../scripts/join_slices.py"
