rule compare_images:
    input:
        images=lambda wildcards: f"<results>/images/{text_slice_of(wildcards)['dataset']}.arrow",
        ink=lambda wildcards: f"<results>/images/{text_slice_of(wildcards)['dataset']}_ink.npy",
        records=records_of_texts,
        test_images=expand("<results>/images/{test_set}.arrow", test_set=TEST_SETS),
        test_ink=expand("<results>/images/{test_set}_ink.npy", test_set=TEST_SETS),
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
