rule measure_robustness:
    input:
        accuracy="<results>/accuracy.csv",
        predictions="<results>/predictions.parquet",
        runs="<results>/runs.csv",
    output:
        effective_robustness=report(
            "<results>/effective_robustness.csv",
            caption="../report/effective_robustness.rst",
            category="Tables",
            labels={"table": "effective robustness"},
        ),
        baselines=report(
            "<results>/baselines.csv",
            caption="../report/baselines.rst",
            category="Tables",
            labels={"table": "baselines"},
        ),
        bands="<results>/baseline_bands.csv",
        draws="<results>/effective_robustness_draws.npz",
    log:
        "<logs>/measure_robustness.log",
    benchmark:
        "<benchmarks>/measure_robustness.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        shifts=[name for name in TEST_SETS if name != IN_DISTRIBUTION],
        in_distribution=IN_DISTRIBUTION,
        scale=config["baseline"]["scale"],
        intervals=config["intervals"],
        code=code_of("measure_robustness"),
    script:
        "../scripts/measure_robustness.py"
