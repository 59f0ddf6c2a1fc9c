# Training images that repeat a test image are removed; seeded, nested subsets of what is left.


rule compare_images:
    input:
        images=lambda wildcards: f"<results>/images/{text_slice_of(wildcards)['dataset']}.arrow",
        fingerprints=lambda wildcards: f"<results>/images/{text_slice_of(wildcards)['dataset']}_fingerprints.npy",
        records=records_of_texts,
        test_images=expand("<results>/images/{test_set}.arrow", test_set=TEST_SETS),
        test_fingerprints=expand("<results>/images/{test_set}_fingerprints.npy", test_set=TEST_SETS),
        test_records=[records_path(name) for name in TEST_SETS],
    output:
        removed="<results>/compared/{text_slice}_removed.parquet",
        counts="<results>/compared/{text_slice}_counts.parquet",
        pairs="<results>/compared/{text_slice}_pairs.parquet",
    log:
        "<logs>/compare_images/{text_slice}.log",
    benchmark:
        "<benchmarks>/compare_images/{text_slice}.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=1440,
    params:
        slice=text_slice_of,
        test_sets=TEST_SETS,
        near_duplicate=config["data"]["near_duplicate_similarity"],
        repeat=config["data"]["repeat_similarity"],
        code=code_of("compare_images"),
    script:
        "../scripts/compare_images.py"


rule decontaminate:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=USED_DATASETS),
        fingerprints=expand("<results>/images/{dataset}_fingerprints.npy", dataset=USED_DATASETS),
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


rule draw_subset:
    input:
        kept=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet",
            name=PLAN.components[wildcards.source],
        ),
        reference=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet",
            name=config["sources"][wildcards.source].get("match_classes_of", []),
        ),
        matched=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet", name=matched_with(wildcards)
        ),
    output:
        subset="<results>/subsets/{source}/{train_images}_images_seed_{seed}.parquet",
    log:
        "<logs>/draw_subset/{source}_{train_images}_{seed}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: subset_threads
    resources:
        mem_mb=memory_of(2000, 30),
        runtime=30,
    params:
        components=lambda wildcards: PLAN.components[wildcards.source],
        facts=lambda wildcards: config["sources"][wildcards.source],
        matched_with=lambda wildcards: matched_with(wildcards),
        allowed_shortfall_share=config["data"]
        .get("match_sizes", {})
        .get("allowed_shortfall_share", 0),
        code=code_of("draw_subset"),
    script:
        "../scripts/draw_subset.py"
