rule fit_heads:
    input:
        embeddings="<results>/embeddings/{run}.safetensors",
        subsets=fitting_subsets_of,
        classes=config["data"]["classes"],
    output:
        heads="<results>/heads/{run}.safetensors",
        choices="<results>/heads/{run}.csv",
    log:
        "<logs>/fit_heads/{run}.log",
    benchmark:
        "<benchmarks>/fit_heads/{run}.tsv"
    conda:
        GPU_ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=config["training"]["mem_mb"],
        runtime=evaluation_minutes(),
        gpu=1 if config["training"]["device"] == "cuda" else 0,
    params:
        heads=lambda wildcards: [
            asdict(head) for head in fitted_heads_of(wildcards.run)
        ],
        fitted_on=lambda wildcards: list(fitting_sources_of(wildcards.run)),
        seed=lambda wildcards: RUN_BY_NAME[wildcards.run].seed,
        device=config["training"]["device"],
        code=code_of("fit_heads"),
    script:
        "../scripts/fit_heads.py"
