# Icons and photographs as records: title, description, tags, label, and the location of the picture.


# A study without icons may name a data set as a part of the icons: DomainNet has a domain called sketch.
ruleorder: join_slices > build_records


rule build_records:
    input:
        archive=STUDY.icon_archive,
        sets=CONFIG.data.sets or [],
        classes=CONFIG.data.classes,
        nouns=CONFIG.data.nouns or [],
    output:
        records=expand("<results>/records/{part}.parquet", part=ICON_PARTS),
        drawings=expand("<results>/drawings/{part}.parquet", part=ICON_PARTS),
        counts="<results>/records/counts.csv",
    log:
        "<logs>/build_records.log",
    benchmark:
        "<benchmarks>/build_records.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        parts=ICON_PARTS,
        pool=CONFIG.data.pool,
        held_out_share=CONFIG.data.held_out_share,
        seed=CONFIG.data.seed,
        code=code_of("build_records"),
    script:
        "../scripts/build_records.py"


# Not part of a study: remakes the committed table of classes from the candidates (`snakemake choose_classes`).
rule choose_classes:
    input:
        archive=STUDY.icon_archive,
        sets=CONFIG.data.sets or [],
        nouns=CONFIG.data.nouns or [],
    output:
        classes="<results>/classes.csv",
    log:
        "<logs>/choose_classes.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        held_out_share=CONFIG.data.held_out_share,
        seed=CONFIG.data.seed,
        code=code_of("choose_classes"),
    script:
        "../scripts/choose_classes.py"


rule build_photo_records:
    input:
        files=value(DATASETS.files_of_slice, "photo_slice"),
        fetched=files(
            "<results>/pairs/{}.csv", DATASETS.fetched_by_slice, "photo_slice"
        ),
        classes=CONFIG.data.classes,
        # What a source holds out gets the labels that are found in its texts.
        nouns=lambda wildcards: (
            CONFIG.data.nouns or []
            if DATASETS.is_held_out(wildcards.photo_slice)
            else []
        ),
    output:
        records="<results>/slices/{photo_slice}/records.parquet",
        locations="<results>/slices/{photo_slice}/locations.parquet",
        pack="<results>/packs/{photo_slice}.bin",
        counts="<results>/slices/{photo_slice}/counts.csv",
        presence="<results>/slices/{photo_slice}/presence.json",
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
        slice=value(DATASETS.photo_slice, "photo_slice"),
        settings=value(DATASETS.slice_settings, "photo_slice"),
        reader=value(lambda name: DATASETS.kind_of_slice(name).reader, "photo_slice"),
        covered=value(DATASETS.covered_column, "photo_slice"),
        reader_code=value(
            lambda name: module_versions(DATASETS.kind_of_slice(name).reader_module),
            "photo_slice",
        ),
        pictures=value(pictures_of, "photo_slice"),
        code=code_of("build_photo_records"),
    script:
        "../scripts/build_photo_records.py"
