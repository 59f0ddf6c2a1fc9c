rule measure_reference:
    input:
        testbed="resources/reference/imagenet_testbed_top1.csv",
        open_clip="resources/reference/open_clip_zeroshot_top1.csv",
        vlhub="resources/reference/vlhub_top1.csv",
    output:
        effective_robustness="results/reference/effective_robustness.csv",
        baselines="results/reference/baselines.csv",
        bands="results/reference/baseline_bands.csv",
    log:
        "results/reference/logs/measure_reference.log",
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("measure_reference"),
    script:
        "../scripts/measure_reference.py"
