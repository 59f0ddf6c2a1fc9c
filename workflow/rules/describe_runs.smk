rule describe_runs:
    input:
        progress=expand(
            "<results>/runs/{run}/progress.csv", run=[run.run for run in TRAINED]
        ),
        predictions="<results>/predictions.parquet",
        accuracy="<results>/accuracy.csv",
        samples="<results>/data/samples.parquet",
    output:
        curves="<results>/details/curves.csv",
        confusions="<results>/details/confusions.csv",
        class_accuracy="<results>/details/class_accuracy.csv",
        sample_predictions="<results>/details/sample_predictions.parquet",
    log:
        "<logs>/describe_runs.log",
    benchmark:
        "<benchmarks>/describe_runs.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        trained=[run.run for run in TRAINED],
        test_sets=TEST_SETS,
        code=code_of("describe_runs"),
    script:
        "../scripts/describe_runs.py"
