rule decontaminate:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=USED_DATASETS),
        ink=expand("<results>/images/{dataset}_ink.npy", dataset=USED_DATASETS),
        records=[records_path(name) for name in USED_DATASETS],
        compared_removed=text_files("compared/{}_removed.parquet", SLICED_SOURCES),
        compared_counts=text_files("compared/{}_counts.parquet", SLICED_SOURCES),
        compared_pairs=text_files("compared/{}_pairs.parquet", SLICED_SOURCES),
    output:
        kept=expand("<results>/decontaminated/{dataset}.parquet", dataset=USED_DATASETS),
        removed="<results>/decontaminated/removed.csv",
        counts="<results>/decontaminated/counts.csv",
        pairs="<results>/decontaminated/pairs.csv",
        sizes="<results>/decontaminated/sizes.csv",
    log:
        "<logs>/decontaminate.log",
    benchmark:
        "<benchmarks>/decontaminate.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=10000,
        runtime=1440,
    params:
        sources=PLAIN_SOURCES,
        test_sets=TEST_SETS,
        compared={name: len(text_slices_of(name)) for name in SLICED_SOURCES},
        near_duplicate=config["data"]["near_duplicate_similarity"],
        repeat=config["data"]["repeat_similarity"],
        code=code_of("decontaminate"),
    script:
        "../scripts/decontaminate.py"
