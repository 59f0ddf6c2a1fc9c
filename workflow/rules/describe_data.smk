rule describe_data:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=USED_DATASETS),
        failures=expand(
            "<results>/images/{dataset}_failures.csv", dataset=USED_DATASETS
        ),
        records=[records_path(name) for name in USED_DATASETS],
        kept=expand("<results>/decontaminated/{dataset}.parquet", dataset=USED_DATASETS),
        sizes="<results>/decontaminated/sizes.csv",
        pairs="<results>/decontaminated/pairs.csv",
        fetched=expand("<results>/pairs/{dataset}.csv", dataset=FETCHED_DATASETS),
        captions=text_files("captions/{}.parquet", PLAIN_SOURCES),
        classes=config["data"]["classes"],
        nouns=config["data"].get("nouns", []),
    output:
        classes="<results>/data/classes.csv",
        captions="<results>/data/captions.csv",
        filters="<results>/data/filters.csv",
        samples="<results>/data/samples.parquet",
        pairs="<results>/data/pairs.parquet",
    log:
        "<logs>/describe_data.log",
    benchmark:
        "<benchmarks>/describe_data.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        roles=ROLES,
        sources=PLAIN_SOURCES,
        text_slices={name: len(text_slices_of(name)) for name in PLAIN_SOURCES},
        fetched=FETCHED_DATASETS,
        shared=config["data"]["shared_names"],
        code=code_of("describe_data"),
    script:
        "../scripts/describe_data.py"
