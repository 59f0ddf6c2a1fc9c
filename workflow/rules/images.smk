# One image store per data set; those of photographs are merged from the slices that they are built in.


rule build_images:
    input:
        drawings=file("<results>/drawings/{}.parquet", DATASETS.part_of, "icon_dataset"),
    output:
        images="<results>/images/{icon_dataset}.arrow",
        fingerprints="<results>/images/{icon_dataset}_fingerprints.npy",
        failures="<results>/images/{icon_dataset}_failures.csv",
    log:
        "<logs>/build_images/{icon_dataset}.log",
    benchmark:
        "<benchmarks>/build_images/{icon_dataset}.tsv"
    priority: value(lambda name: int(name in CONFIG.sources), "icon_dataset")
    conda:
        "../../envs/whyrobust-cpu.yaml"
    # Data sets are drawn side by side, the large ones of the sources first: starting processes for each takes longer.
    threads: 1
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        size=CONFIG.data.image_size,
        pose=value(DATASETS.pose_of, "icon_dataset"),
        seed=CONFIG.data.seed,
        allowed_failure_share=CONFIG.data.allowed_failure_share,
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
        border_pixels=value(
            lambda name: DATASETS.kind_of_slice(name).border_pixels, "photo_slice"
        ),
        page_colour=CONFIG.data.page_colour or "",
        pictures=value(pictures_of, "photo_slice"),
        code=code_of("index_images"),
    script:
        "../scripts/index_images.py"


rule join_slices:
    input:
        records=files(
            "<results>/slices/{}/records.parquet",
            DATASETS.photo_slices_of,
            "photo_dataset",
        ),
        counts=files(
            "<results>/slices/{}/counts.csv", DATASETS.photo_slices_of, "photo_dataset"
        ),
        presence=files(
            "<results>/slices/{}/presence.json",
            DATASETS.photo_slices_of,
            "photo_dataset",
        ),
        images=files(
            "<results>/slices/{}/images.arrow",
            DATASETS.photo_slices_of,
            "photo_dataset",
        ),
        fingerprints=files(
            "<results>/slices/{}/fingerprints.npy",
            DATASETS.photo_slices_of,
            "photo_dataset",
        ),
        failures=files(
            "<results>/slices/{}/failures.csv",
            DATASETS.photo_slices_of,
            "photo_dataset",
        ),
    output:
        records="<results>/records/{photo_dataset}.parquet",
        counts="<results>/records/{photo_dataset}_counts.csv",
        unknown_labels="<results>/records/{photo_dataset}_unknown_labels.csv",
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
        whole_size=value(DATASETS.whole_size, "photo_dataset"),
        keeps_first_of_repeats=value(
            lambda name: DATASETS.kind_of(name).keeps_first_of_repeats, "photo_dataset"
        ),
        allowed_failure_share=CONFIG.data.allowed_failure_share,
        allowed_unknown_label_share=CONFIG.data.allowed_unknown_label_share,
        code=code_of("join_slices"),
    script:
        "../scripts/join_slices.py"


rule decode_photographs:
    input:
        images="<results>/images/{photo_dataset}.arrow",
    output:
        decoded="<results>/decoded/{photo_dataset}_{side}.arrow",
    log:
        "<logs>/decode_photographs/{photo_dataset}_{side}.log",
    benchmark:
        "<benchmarks>/decode_photographs/{photo_dataset}_{side}.tsv"
    wildcard_constraints:
        side=r"\d+",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=600,
    params:
        side=value(int, "side"),
        limit_gb=CONFIG.training.decoded_store_gb,
        code=code_of("decode_photographs"),
    script:
        "../scripts/decode_photographs.py"
