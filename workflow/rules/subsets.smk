# Training images that repeat a test image are removed; seeded, nested subsets of what is left.


rule compare_images:
    input:
        images=file(
            "<results>/images/{}.arrow", DATASETS.dataset_of_texts, "text_slice"
        ),
        fingerprints=file(
            "<results>/images/{}_fingerprints.npy",
            DATASETS.dataset_of_texts,
            "text_slice",
        ),
        records=file(
            "<results>/records/{}.parquet", DATASETS.records_of_texts, "text_slice"
        ),
        test_images=expand(
            "<results>/images/{test_set}.arrow", test_set=STUDY.test_sets
        ),
        test_fingerprints=expand(
            "<results>/images/{test_set}_fingerprints.npy", test_set=STUDY.test_sets
        ),
        test_records=expand(
            "<results>/records/{name}.parquet",
            name=DATASETS.record_names(STUDY.test_sets),
        ),
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
    threads: for_photographs(8, else_use=1)
    resources:
        mem_mb=for_photographs(8000, else_use=3000),
        runtime=1440,
    params:
        slice=value(DATASETS.text_slice, "text_slice"),
        test_images=by_name("test_images", STUDY.test_sets),
        test_fingerprints=by_name("test_fingerprints", STUDY.test_sets),
        test_records=by_name("test_records", STUDY.test_sets),
        near_duplicate=CONFIG.data.near_duplicate_similarity,
        repeat=CONFIG.data.repeat_similarity,
        code=code_of("compare_images"),
    script:
        "../scripts/compare_images.py"


rule decontaminate:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=DATASETS.names),
        fingerprints=expand(
            "<results>/images/{dataset}_fingerprints.npy", dataset=DATASETS.names
        ),
        records=expand(
            "<results>/records/{name}.parquet",
            name=DATASETS.record_names(DATASETS.names),
        ),
        compared_removed=expand(
            "<results>/compared/{slice}_removed.parquet", slice=DATASETS.text_slices
        ),
        compared_counts=expand(
            "<results>/compared/{slice}_counts.parquet", slice=DATASETS.text_slices
        ),
        compared_pairs=expand(
            "<results>/compared/{slice}_pairs.parquet", slice=DATASETS.text_slices
        ),
    output:
        kept=expand(
            "<results>/decontaminated/{dataset}.parquet", dataset=DATASETS.names
        ),
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
    threads: 2
    resources:
        mem_mb=4000,
        runtime=1440,
    params:
        sources=list(DATASETS.sources),
        test_sets=STUDY.test_sets,
        images=by_name("images", DATASETS.names),
        fingerprints=by_name("fingerprints", DATASETS.names),
        records=by_name("records", DATASETS.names),
        compared_removed=by_source("compared_removed"),
        compared_counts=by_source("compared_counts"),
        compared_pairs=by_source("compared_pairs"),
        kept=lambda wildcards, output: dict(
            zip(DATASETS.names, output.kept, strict=True)
        ),
        repeat=CONFIG.data.repeat_similarity,
        code=code_of("decontaminate"),
    script:
        "../scripts/decontaminate.py"


rule measure_similarity:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=DATASETS.names),
        fingerprints=expand(
            "<results>/images/{dataset}_fingerprints.npy", dataset=DATASETS.names
        ),
        kept=expand(
            "<results>/decontaminated/{dataset}.parquet", dataset=DATASETS.names
        ),
    output:
        similarity="<results>/similarity.parquet",
        nearest="<results>/nearest_sources.csv",
    log:
        "<logs>/measure_similarity.log",
    benchmark:
        "<benchmarks>/measure_similarity.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=240,
    params:
        images=by_name("images", DATASETS.names),
        fingerprints=by_name("fingerprints", DATASETS.names),
        kept=by_name("kept", DATASETS.names),
        sources=STUDY.similar_sources,
        test_sets=STUDY.test_sets,
        shifts=STUDY.shifts,
        code=code_of("measure_similarity"),
    script:
        "../scripts/measure_similarity.py"


rule filter_view:
    input:
        kept=files(
            "<results>/decontaminated/{}.parquet", STUDY.datasets_of_view, "view"
        ),
        images=files("<results>/images/{}.arrow", STUDY.datasets_of_view, "view"),
        fingerprints=files(
            "<results>/images/{}_fingerprints.npy", STUDY.datasets_of_view, "view"
        ),
        sets=CONFIG.data.sets or [],
    output:
        view="<results>/views/{view}.parquet",
    log:
        "<logs>/filter_view/{view}.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        datasets=value(STUDY.datasets_of_view, "view"),
        settings=value(STUDY.source_settings, "view"),
        code=code_of("filter_view"),
    script:
        "../scripts/filter_view.py"


rule draw_subset:
    input:
        kept=files("<results>/{}.parquet", STUDY.tables_of_source, "source"),
        reference=files(
            "<results>/decontaminated/{}.parquet", STUDY.class_reference_of, "source"
        ),
        matched=lambda wildcards: expand(
            "<results>/decontaminated/{name}.parquet", name=matched_with(wildcards)
        ),
    output:
        subset=SUBSET,
    log:
        "<logs>/draw_subset/{source}_{train_images}_{seed}.log",
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: value(STUDY.subset_threads, "source")
    resources:
        mem_mb=memory_of(2000, 30),
        runtime=30,
    params:
        kept=lambda wildcards, input: dict(
            zip(STUDY.components_of_source(wildcards.source), input.kept, strict=True)
        ),
        filtered=value(lambda source: source in STUDY.filtered_views, "source"),
        matched=lambda wildcards, input: dict(
            zip(matched_with(wildcards), input.matched, strict=True)
        ),
        settings=value(STUDY.source_settings, "source"),
        allowed_shortfall_share=STUDY.allowed_shortfall_share,
        code=code_of("draw_subset"),
    script:
        "../scripts/draw_subset.py"
