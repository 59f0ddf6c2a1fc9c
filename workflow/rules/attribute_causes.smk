rule attribute_causes:
    input:
        effective_robustness="<results>/effective_robustness.csv",
        draws="<results>/effective_robustness_draws.npz",
        runs="<results>/runs.csv",
    output:
        causes=report(
            "<results>/causes.csv",
            caption="../report/causes.rst",
            category="Tables",
            labels={"table": "causes"},
        ),
        regression="<results>/regression.csv",
        summary="<results>/summary.txt",
    log:
        "<logs>/attribute_causes.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        causes=lambda wildcards: config["causes"],
        scale=config["baseline"]["scale"],
        confidence=config["intervals"]["effect"],
        code=code_of("attribute_causes"),
    script:
        "../scripts/attribute_causes.py"
