# From embeddings to accuracies, effective robustness and its causes.


rule embed_test_sets:
    input:
        weights="<results>/runs/{run}/model.safetensors",
        model=model_of,
        classes=config["data"]["classes"],
        images=expand("<results>/images/{test_set}.arrow", test_set=TEST_SETS),
        kept=expand("<results>/decontaminated/{test_set}.parquet", test_set=TEST_SETS),
        fitting_subsets=fitting_subsets_of,
        fitting_images=lambda wildcards: expand(
            "<results>/images/{name}.arrow", name=fitting_components_of(wildcards)
        ),
    output:
        embeddings="<results>/embeddings/{run}.safetensors",
    log:
        "<logs>/embed_test_sets/{run}.log",
    benchmark:
        "<benchmarks>/embed_test_sets/{run}.tsv"
    conda:
        GPU_ENVIRONMENT
    threads: config["training"]["threads"]
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=1 if config["training"]["device"] == "cuda" else 0,
        loader_threads=1,
    params:
        test_sets=TEST_SETS,
        prompts=prompts_of,
        fitted_on=lambda wildcards: list(fitting_sources_of(wildcards.run)),
        device=config["training"]["device"],
        code=code_of("embed_test_sets"),
    script:
        "../scripts/embed_test_sets.py"


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
        mem_mb=2500,
        runtime=60,
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
        comparisons=lambda wildcards: list(map(asdict, PLAN.comparisons)),
        scale=config["baseline"]["scale"],
        confidence=config["intervals"]["effect"],
        code=code_of("attribute_causes"),
    script:
        "../scripts/attribute_causes.py"


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
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("measure_reference"),
    script:
        "../scripts/measure_reference.py"
