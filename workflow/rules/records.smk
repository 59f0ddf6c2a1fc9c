# Icons and photographs as records: title, description, tags, label, and where the picture is.


rule build_records:
    input:
        archive=ARCHIVE,
        sets=config["data"].get("sets", []),
        classes=config["data"]["classes"],
        nouns=config["data"].get("nouns", []),
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
        pool=config["data"].get("pool"),
        held_out_share=config["data"].get("held_out_share"),
        seed=config["data"]["seed"],
        code=code_of("build_records"),
    script:
        "../scripts/build_records.py"


# Not part of a study: remakes the committed table of classes from the candidates (`snakemake choose_classes`).
rule choose_classes:
    input:
        archive=ARCHIVE,
        sets=config["data"].get("sets", []),
        nouns=config["data"].get("nouns", []),
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
        held_out_share=config["data"].get("held_out_share"),
        seed=config["data"]["seed"],
        code=code_of("choose_classes"),
    script:
        "../scripts/choose_classes.py"


rule build_photo_records:
    input:
        files=photo_files_of,
        fetched=fetched_pairs_of,
        classes=config["data"]["classes"],
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
        slice=slice_of,
        settings=photo_settings_of,
        reader=lambda wildcards: photo_kind_of(wildcards).reader,
        covered=lambda wildcards: covered_classes()
        .get(slice_of(wildcards)["dataset"], {})
        .get("covered"),
        reader_code=reader_code_of,
        code=code_of("build_photo_records"),
    script:
        "../scripts/build_photo_records.py"
