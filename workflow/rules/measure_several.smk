rule measure_several:
    input:
        accuracy="<results>/accuracy.csv",
        predictions="<results>/predictions.parquet",
        runs="<results>/runs.csv",
    output:
        effective_robustness="<results>/effective_robustness_several.csv",
    log:
        "<logs>/measure_several.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        shifts=[name for name in TEST_SETS if name not in SEVERAL],
        test_sets=SEVERAL,
        standard=config["baseline"].get("several", {}).get("standard", {}),
        scale=config["baseline"]["scale"],
        intervals=config["intervals"],
        code=code_of("measure_several"),
    script:
        "../scripts/measure_several.py"
