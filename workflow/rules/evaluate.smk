# From embeddings to accuracies, effective robustness and its causes. A job embeds, or fits, the runs of a group
# (`whyrobust.study.run_groups`), one after the other: starting Python and torch takes longer than a small model's passes.

from whyrobust.study.paper_measurement import tables_of_testbed
from whyrobust.study.plan import files_of_runs

TESTBED_TABLES = tables_of_testbed(CONFIG.paper_measurement, REFERENCE)


rule embed_test_sets:
    input:
        weights=files("<results>/runs/{}/model.safetensors", STUDY.runs_of, "group"),
        model=value(STUDY.model_files_of, "group"),
        classes=CONFIG.data.classes,
        images=expand("<results>/images/{test_set}.arrow", test_set=STUDY.test_sets),
        kept=expand(
            "<results>/decontaminated/{test_set}.parquet", test_set=STUDY.test_sets
        ),
        fitting_subsets=fitting_subsets,
        fitting_images=files(
            "<results>/images/{}.arrow", STUDY.fitting_components_of, "group"
        ),
    output:
        embeddings=directory("<results>/embeddings/{group}"),
    log:
        "<logs>/embed_test_sets/{group}.log",
    benchmark:
        "<benchmarks>/embed_test_sets/{group}.tsv"
    priority: value(STUDY.priority_of_group, "group")
    conda:
        GPU_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=GPUS,
        runs_per_gpu=RUNS_PER_GPU,
        loader_threads=1,
    params:
        test_sets=STUDY.test_sets,
        prompts=value(STUDY.prompts_of, "group"),
        fitted_on=value(STUDY.fitted_on, "group"),
        device=CONFIG.training.device,
        cpu_threads=CONFIG.training.threads,
        code=code_of("embed_test_sets"),
    script:
        "../scripts/embed_test_sets.py"


rule fit_heads:
    input:
        embeddings="<results>/embeddings/{group}",
        subsets=fitting_subsets,
        classes=CONFIG.data.classes,
    output:
        heads=directory("<results>/heads/{group}"),
    log:
        "<logs>/fit_heads/{group}.log",
    benchmark:
        "<benchmarks>/fit_heads/{group}.tsv"
    priority: LONGEST_CHAIN
    conda:
        GPU_ENVIRONMENT
    threads: CONFIG.training.threads
    resources:
        mem_mb=2500,
        runtime=60,
        gpu=GPUS,
        runs_per_gpu=RUNS_PER_GPU,
    params:
        heads=value(STUDY.fitted_head_rows_of, "group"),
        fitted_on=value(STUDY.fitted_on, "group"),
        seeds=lambda wildcards: {
            run: STUDY.seed_of(run) for run in STUDY.runs_of(wildcards.group)
        },
        device=CONFIG.training.device,
        cpu_threads=CONFIG.training.threads,
        code=code_of("fit_heads"),
    script:
        "../scripts/fit_heads.py"


rule score_heads:
    input:
        embeddings=expand("<results>/embeddings/{group}", group=STUDY.groups),
        fitted=expand("<results>/heads/{group}", group=STUDY.with_fitted_heads),
        kept=expand(
            "<results>/decontaminated/{test_set}.parquet", test_set=STUDY.test_sets
        ),
        classes=CONFIG.data.classes,
        sets=CONFIG.data.sets if DATASETS.icons else [],
    output:
        predictions="<results>/predictions.parquet",
        accuracy=report(
            "<results>/accuracy.csv",
            caption="../report/accuracy.rst",
            category="Tables",
            labels={"table": "accuracy"},
        ),
        # With classes weighted the other way.
        other_weights="<results>/accuracy_other_weights.csv",
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
        embeddings=lambda wildcards, input: files_of_runs(
            STUDY.groups, input.embeddings
        ),
        fitted=lambda wildcards, input: files_of_runs(
            STUDY.with_fitted_heads, input.fitted
        ),
        runs=lambda wildcards: STUDY.rows_of(STUDY.evaluated),
        heads=lambda wildcards: STUDY.heads_of(STUDY.evaluated),
        test_sets=DATASETS.class_coverage,
        units=STUDY.units,
        in_distribution=STUDY.in_distribution,
        confidence=CONFIG.intervals.accuracy,
        class_weights=CONFIG.class_weights,
        code=code_of("score_heads"),
    script:
        "../scripts/score_heads.py"


rule measure_robustness:
    input:
        accuracy="<results>/accuracy.csv",
        predictions="<results>/predictions.parquet",
        runs="<results>/runs.csv",
        classes=CONFIG.data.classes,
        testbed=TESTBED_TABLES,
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
        single_lines="<results>/single_lines.csv",
        line_draws="<results>/single_line_draws.npz",
        accuracy_draws="<results>/accuracy_draws.npz",
        shifts="<results>/shifts.csv",
    log:
        "<logs>/measure_robustness.log",
    benchmark:
        "<benchmarks>/measure_robustness.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        shifts=STUDY.shifts,
        kinds={name: CONFIG.test_sets[name].kind for name in STUDY.shifts},
        testbed=CONFIG.paper_measurement.testbed,
        in_distribution=STUDY.in_distribution_sources,
        test_sets=STUDY.test_set_roles,
        class_coverage=DATASETS.class_coverage,
        class_weights=CONFIG.class_weights,
        pivots=dict(CONFIG.paper_measurement.two_lines),
        average_over=CONFIG.paper_measurement.average_over,
        scale=CONFIG.baseline.scale,
        intervals=plain_values(CONFIG.intervals),
        code=code_of("measure_robustness"),
    script:
        "../scripts/measure_robustness.py"


rule similarity_bands:
    input:
        similarity="<results>/similarity.parquet",
        predictions="<results>/predictions.parquet",
        accuracy="<results>/accuracy.csv",
    output:
        bands="<results>/similarity_bands.csv",
    log:
        "<logs>/similarity_bands.log",
    benchmark:
        "<benchmarks>/similarity_bands.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=60,
    params:
        comparisons=lambda wildcards: STUDY.source_comparisons,
        intervals=plain_values(CONFIG.intervals),
        code=code_of("similarity_bands"),
    script:
        "../scripts/similarity_bands.py"


# In what terms effects are measured and stated.
EFFECT_SETTINGS = {
    "scale": CONFIG.baseline.scale,
    "confidence": CONFIG.intervals.effect,
    "reference_accuracy": CONFIG.baseline.reference_accuracy,
    "margin_points": CONFIG.intervals.equivalence_points,
}


rule attribute_other_weights:
    input:
        accuracy="<results>/accuracy_other_weights.csv",
        predictions="<results>/predictions.parquet",
        shifts="<results>/shifts.csv",
        runs="<results>/runs.csv",
    output:
        causes="<results>/causes_other_weights.csv",
    log:
        "<logs>/attribute_other_weights.log",
    benchmark:
        "<benchmarks>/attribute_other_weights.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        comparisons=lambda wildcards: STUDY.comparison_rows,
        class_weights=CONFIG.class_weights,
        pivots=dict(CONFIG.paper_measurement.two_lines),
        average_over=CONFIG.paper_measurement.average_over,
        intervals=plain_values(CONFIG.intervals),
        settings=EFFECT_SETTINGS,
        code=code_of("attribute_other_weights"),
    script:
        "../scripts/attribute_other_weights.py"


rule attribute_causes:
    input:
        accuracy="<results>/accuracy.csv",
        predictions="<results>/predictions.parquet",
        effective_robustness="<results>/effective_robustness.csv",
        draws="<results>/effective_robustness_draws.npz",
        single_lines="<results>/single_lines.csv",
        single_line_draws="<results>/single_line_draws.npz",
        accuracy_draws="<results>/accuracy_draws.npz",
        shifts="<results>/shifts.csv",
        runs="<results>/runs.csv",
        other_weights="<results>/causes_other_weights.csv",
    output:
        causes=report(
            "<results>/causes.csv",
            caption="../report/causes.rst",
            category="Tables",
            labels={"table": "causes"},
        ),
        single_lines="<results>/causes_single_line.csv",
        by_seed="<results>/causes_by_seed.csv",
        by_team="<results>/causes_by_team.csv",
        architectures="<results>/architectures.csv",
        regression="<results>/regression.csv",
        summary="<results>/summary.txt",
    log:
        "<logs>/attribute_causes.log",
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        comparisons=lambda wildcards: STUDY.comparison_rows,
        settings=EFFECT_SETTINGS,
        class_weights=CONFIG.class_weights,
        weights_note=CONFIG.class_weights_note or "",
        series=STUDY.dose_series,
        code=code_of("attribute_causes"),
    script:
        "../scripts/attribute_causes.py"


rule measure_dose_response:
    input:
        effective_robustness="<results>/effective_robustness.csv",
        draws="<results>/effective_robustness_draws.npz",
        accuracy_draws="<results>/accuracy_draws.npz",
        accuracy="<results>/accuracy.csv",
        shifts="<results>/shifts.csv",
        runs="<results>/runs.csv",
    output:
        doses="<results>/dose_response.csv",
        trends="<results>/dose_response_trends.csv",
    log:
        "<logs>/measure_dose_response.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        series=STUDY.dose_series,
        comparisons=lambda wildcards: STUDY.comparison_rows,
        in_distribution=STUDY.in_distribution,
        scale=CONFIG.baseline.scale,
        reference=CONFIG.baseline.reference_accuracy,
        confidence=CONFIG.intervals.effect,
        code=code_of("measure_dose_response"),
    script:
        "../scripts/measure_dose_response.py"


rule measure_reference:
    input:
        testbed=f"{REFERENCE}/imagenet_testbed_top1.csv",
        open_clip=f"{REFERENCE}/open_clip_zeroshot_top1.csv",
        vlhub=f"{REFERENCE}/vlhub_top1.csv",
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
