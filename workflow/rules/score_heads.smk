rule score_heads:
    input:
        embeddings=expand(
            "<results>/embeddings/{run}.safetensors",
            run=[run.run for run in EVALUATED],
        ),
        fitted=expand(
            "<results>/heads/{run}.safetensors",
            run=[run.run for run in EVALUATED if fitted_heads_of(run.run)],
        ),
        kept=expand("<results>/decontaminated/{test_set}.parquet", test_set=TEST_SETS),
        classes=config["data"]["classes"],
    output:
        predictions="<results>/predictions.parquet",
        accuracy=report(
            "<results>/accuracy.csv",
            caption="../report/accuracy.rst",
            category="Tables",
            labels={"table": "accuracy"},
        ),
        runs="<results>/runs.csv",
    log:
        "<logs>/score_heads.log",
    benchmark:
        "<benchmarks>/score_heads.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        fitted=[run.run for run in EVALUATED if fitted_heads_of(run.run)],
        runs=lambda wildcards: [run.as_row() for run in EVALUATED],
        heads=lambda wildcards: {
            run.run: [asdict(head) for head in PLAN.heads[run.run]]
            for run in EVALUATED
        },
        test_sets=covered_classes(),
        in_distribution=[IN_DISTRIBUTION, *SEVERAL],
        confidence=config["intervals"]["accuracy"],
        code=code_of("score_heads"),
    script:
        "../scripts/score_heads.py"
