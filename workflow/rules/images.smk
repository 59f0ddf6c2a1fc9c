# One image store per data set; those of photographs are merged from the slices that they are built in.


rule build_images:
    input:
        drawings=lambda wildcards: expand(
            "<results>/drawings/{part}.parquet", part=part_of(wildcards)
        ),
    output:
        images="<results>/images/{icon_dataset}.arrow",
        fingerprints="<results>/images/{icon_dataset}_fingerprints.npy",
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
        locations="<results>/slices/{photo_slice}/locations.parquet",
        pack="<results>/packs/{photo_slice}.bin",
    output:
        images="<results>/slices/{photo_slice}/images.arrow",
        fingerprints="<results>/slices/{photo_slice}/fingerprints.npy",
        failures="<results>/slices/{photo_slice}/failures.csv",
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
        border_pixels=lambda wildcards: photo_kind_of(wildcards).border_pixels,
        code=code_of("index_images"),
    script:
        "../scripts/index_images.py"


rule join_slices:
    input:
        records=lambda wildcards: slice_files(wildcards, "records.parquet"),
        counts=lambda wildcards: slice_files(wildcards, "counts.csv"),
        presence=lambda wildcards: slice_files(wildcards, "presence.json"),
        images=lambda wildcards: slice_files(wildcards, "images.arrow"),
        fingerprints=lambda wildcards: slice_files(wildcards, "fingerprints.npy"),
        failures=lambda wildcards: slice_files(wildcards, "failures.csv"),
    output:
        records="<results>/records/{photo_dataset}.parquet",
        counts="<results>/records/{photo_dataset}_counts.csv",
        images="<results>/images/{photo_dataset}.arrow",
        fingerprints="<results>/images/{photo_dataset}_fingerprints.npy",
        failures="<results>/images/{photo_dataset}_failures.csv",
    log:
        "<logs>/join_slices/{photo_dataset}.log",
    benchmark:
        "<benchmarks>/join_slices/{photo_dataset}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        whole_size=whole_size_of,
        keeps_first_of_repeats=lambda wildcards: photo_kind_of(
            wildcards
        ).keeps_first_of_repeats,
        allowed_failure_share=config["data"]["allowed_failure_share"],
        code=code_of("join_slices"),
    script:
        "../scripts/join_slices.py"
