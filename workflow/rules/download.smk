# Downloads, each checked against its pinned checksum, and images fetched from lists of addresses.


# Its code is no parameter: a file that is there was verified, and how it was fetched changes nothing in it.
rule download_source:
    output:
        archive=Path(CONFIG.downloads, "{downloaded}").as_posix(),
    log:
        "<logs>/download_source/{downloaded}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=1000,
        runtime=value(lambda file: STUDY.download(file).minutes, "downloaded"),
    params:
        table=CONFIG.sources_table,
        name=value(lambda file: STUDY.download(file).name, "downloaded"),
        pinned=value(STUDY.pinned_by, "downloaded"),
    script:
        "../scripts/download_source.py"


rule list_pairs:
    input:
        files=value(DATASETS.files_of_list, "photo_dataset"),
    output:
        pairs="<results>/pairs/{photo_dataset}.parquet",
    log:
        "<logs>/list_pairs/{photo_dataset}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=6000,
        runtime=600,
    params:
        settings=value(DATASETS.list_settings, "photo_dataset"),
        lister=value(lambda name: DATASETS.kind_of(name).lister, "photo_dataset"),
        lister_code=value(
            lambda name: module_versions(DATASETS.kind_of(name).reader_module),
            "photo_dataset",
        ),
        code=code_of("list_pairs"),
    script:
        "../scripts/list_pairs.py"


# The shards themselves lie in a folder beside the table, so that a stopped job goes on where it was.
rule fetch_pairs:
    input:
        pairs="<results>/pairs/{photo_dataset}.parquet",
    output:
        shards="<results>/pairs/{photo_dataset}.csv",
    log:
        "<logs>/fetch_pairs/{photo_dataset}.log",
    benchmark:
        "<benchmarks>/fetch_pairs/{photo_dataset}.tsv"
    retries: 2
    conda:
        "../../envs/img2dataset.yaml"
    threads: 16
    resources:
        mem_mb=8000,
        runtime=2880,
    params:
        command=CONFIG.img2dataset,
        how=value(DATASETS.fetch_settings, "photo_dataset"),
        code=code_of("fetch_pairs"),
    script:
        "../scripts/fetch_pairs.py"
