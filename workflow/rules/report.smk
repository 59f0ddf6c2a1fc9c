# What the page and the figures show.

from whyrobust.study.caption_tables import group_captions, learns_from_columns
from whyrobust.study.derived_sources import derived_sources
from whyrobust.study.figure_captions import fill_captions
from whyrobust.study.paper_measurement import describe_paper_line
from whyrobust.study.plan import largest_subsets


rule describe_data:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=DATASETS.names),
        failures=expand(
            "<results>/images/{dataset}_failures.csv", dataset=DATASETS.names
        ),
        records=expand(
            "<results>/records/{name}.parquet",
            name=DATASETS.record_names(DATASETS.names),
        ),
        kept=expand(
            "<results>/decontaminated/{dataset}.parquet", dataset=DATASETS.names
        ),
        sizes="<results>/decontaminated/sizes.csv",
        pairs="<results>/decontaminated/pairs.csv",
        fetched=expand("<results>/pairs/{dataset}.csv", dataset=DATASETS.fetched),
        captions=expand(
            "<results>/captions/{name}.parquet", name=sum(STUDY.captions.values(), [])
        ),
        classes=CONFIG.data.classes,
        nouns=CONFIG.data.nouns or [],
    output:
        classes="<results>/data/classes.csv",
        captions="<results>/data/captions.csv",
        filters="<results>/data/filters.csv",
        samples="<results>/data/samples.parquet",
        pairs="<results>/data/pairs.parquet",
    log:
        "<logs>/describe_data.log",
    benchmark:
        "<benchmarks>/describe_data.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        roles=DATASETS.roles,
        records=by_name("records", DATASETS.names),
        failures=by_name("failures", DATASETS.names),
        kept=by_name("kept", DATASETS.names),
        images=by_name("images", DATASETS.names),
        fetched=by_name("fetched", DATASETS.fetched),
        captions=lambda wildcards, input: group_captions(STUDY.captions, input.captions),
        shared=CONFIG.data.shared_names,
        possessives=CONFIG.data.text_match.possessives,
        code=code_of("describe_data"),
    script:
        "../scripts/describe_data.py"


# Of studies with further columns of captions: how varied these are.
rule describe_captions:
    input:
        kept=expand(
            "<results>/decontaminated/{source}.parquet",
            source=dict.fromkeys(source for source, _ in STUDY.captions),
        ),
        captions=expand(
            "<results>/captions/{name}.parquet", name=sum(STUDY.captions.values(), [])
        ),
    output:
        variety="<results>/caption_variety.csv",
    log:
        "<logs>/describe_captions.log",
    benchmark:
        "<benchmarks>/describe_captions.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=8000,
        runtime=120,
    params:
        kept=by_name(
            "kept", list(dict.fromkeys(source for source, _ in STUDY.captions))
        ),
        captions=lambda wildcards, input: group_captions(STUDY.captions, input.captions),
        seed=CONFIG.data.seed,
        code=code_of("describe_captions"),
    script:
        "../scripts/describe_captions.py"


# Not part of a study: says before training whether the data are ready (`make describe CONFIG=...`).
rule check_data:
    input:
        class_counts=rules.describe_data.output.classes,
        captions=rules.describe_data.output.captions,
        filters=rules.describe_data.output.filters,
        samples=rules.describe_data.output.samples,
        pairs=rules.describe_data.output.pairs,
        removed="<results>/decontaminated/counts.csv",
        counts=expand(
            "<results>/records/{dataset}_counts.csv", dataset=DATASETS.photographs
        ),
        unknown_labels=expand(
            "<results>/records/{dataset}_unknown_labels.csv",
            dataset=DATASETS.photographs,
        ),
        failures=expand(
            "<results>/images/{dataset}_failures.csv", dataset=DATASETS.names
        ),
        classes=CONFIG.data.classes,
    output:
        page="<results>/data/data.html",
        summary="<results>/data/summary.txt",
    log:
        "<logs>/check_data.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        study=STUDY.name,
        counts=by_name("counts", DATASETS.photographs),
        unknown_labels=by_name("unknown_labels", DATASETS.photographs),
        failures=by_name("failures", DATASETS.names),
        needs={
            "train_images": largest_subsets(map(STUDY.runs.get, STUDY.trained)),
            "allowed_shortfall_share": STUDY.allowed_shortfall_share,
            "all_classes": [
                name
                for name, test_set in CONFIG.test_sets.items()
                if test_set.classes == "all"
            ],
            "class_weights": CONFIG.class_weights,
        },
        similarity=CONFIG.data.near_duplicate_similarity,
        code=code_of("check_data"),
    script:
        "../scripts/check_data.py"


rule describe_runs:
    input:
        progress=expand("<results>/runs/{run}/progress.csv", run=STUDY.trained),
        predictions="<results>/predictions.parquet",
        accuracy="<results>/accuracy.csv",
        runs="<results>/runs.csv",
        samples="<results>/data/samples.parquet",
    output:
        curves="<results>/details/curves.csv",
        confusions="<results>/details/confusions.csv",
        class_accuracy="<results>/details/class_accuracy.csv",
        class_differences="<results>/details/class_differences.csv",
        sample_predictions="<results>/details/sample_predictions.parquet",
    log:
        "<logs>/describe_runs.log",
    benchmark:
        "<benchmarks>/describe_runs.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        progress=by_name("progress", STUDY.trained),
        test_sets=STUDY.test_sets,
        compared_sources=STUDY.compared_sources,
        code=code_of("describe_runs"),
    script:
        "../scripts/describe_runs.py"


# The runs that are trained and scored here: of published models, no training image is here.
DESCRIBED = [run for run in STUDY.evaluated if run in STUDY.trained]


rule describe_training_sets:
    input:
        class_accuracy="<results>/details/class_accuracy.csv",
        runs="<results>/runs.csv",
        subsets=[SUBSET.format(**STUDY.subset_of(run)) for run in DESCRIBED],
    output:
        frequency="<results>/concept_frequency.csv",
        fits="<results>/concept_frequency_fits.csv",
    log:
        "<logs>/describe_training_sets.log",
    benchmark:
        "<benchmarks>/describe_training_sets.tsv"
    priority: LONGEST_CHAIN
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        subsets=by_name("subsets", DESCRIBED),
        confidence=CONFIG.intervals.effect,
        code=code_of("describe_training_sets"),
    script:
        "../scripts/describe_training_sets.py"


# What figures and page show of the results, by the name of each table.
STUDY_TABLES = {
    name: f"<results>/{name}.csv"
    for name in (
        "accuracy",
        "runs",
        "effective_robustness",
        "single_lines",
        "shifts",
        "baselines",
        "causes",
        "causes_single_line",
        "causes_other_weights",
        "regression",
        "dose_response",
        "concept_frequency",
        "concept_frequency_fits",
    )
} | {"bands": "<results>/baseline_bands.csv"}
# What the page alone shows; not every study has similar sources, or compares them.
PAGE_TABLES = {
    "architectures": "<results>/architectures.csv",
    "causes_by_seed": "<results>/causes_by_seed.csv",
    "causes_by_team": "<results>/causes_by_team.csv",
    "class_differences": "<results>/details/class_differences.csv",
    "dose_response_trends": "<results>/dose_response_trends.csv",
    "nearest_sources": "<results>/nearest_sources.csv" if STUDY.similar_sources else [],
    "caption_variety": (
        "<results>/caption_variety.csv"
        if learns_from_columns(STUDY.captions, CONFIG.sources)
        else []
    ),
    "similarity_bands": (
        "<results>/similarity_bands.csv" if STUDY.source_comparisons else []
    ),
}
# In what terms effects are stated.
EFFECT_TERMS = {
    "confidence": CONFIG.intervals.effect,
    "reference_accuracy": CONFIG.baseline.reference_accuracy,
    "margin_points": CONFIG.intervals.equivalence_points,
    "weights_note": CONFIG.class_weights_note or "",
}


rule draw_figures:
    input:
        **STUDY_TABLES,
        reference="results/reference/effective_robustness.csv",
        reference_baselines="results/reference/baselines.csv",
        reference_bands="results/reference/baseline_bands.csv",
    output:
        figures=report(
            directory("<results>/figures"),
            patterns=["{figure}.svg"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        "<logs>/draw_figures.log",
    benchmark:
        "<benchmarks>/draw_figures.tsv"
    conda:
        "../../envs/whyrobust-cpu.yaml"
    threads: 2
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        study=STUDY.name,
        terms=EFFECT_TERMS,
        colours=dict(CONFIG.figures.colours),
        scale=CONFIG.baseline.scale,
        # For Snakemake's report, which finds them here; no figure shows them.
        captions=fill_captions(
            EFFECT_TERMS["reference_accuracy"], EFFECT_TERMS["confidence"]
        ),
        code=code_of("draw_figures"),
    script:
        "../scripts/draw_figures.py"


# A study on the shifts of ImageNet shows what published models answer, and each of them.
PUBLISHED_TABLES = (
    expand(
        "results/published/{table}.csv",
        table=["models", "effective_robustness", "lines", "effects", "indirect"],
    )
    if STUDY.on_published_shifts
    else []
)


# The figures are no input: the page names them and does not read them, so both are made side by side where cores are free.
rule write_report:
    input:
        **STUDY_TABLES,
        **PAGE_TABLES,
        sets=CONFIG.data.sets if DATASETS.icons else [],
        sources_table=ancient(CONFIG.sources_table),
        resource_files=STUDY.resource_files + TESTBED_TABLES,
        removed="<results>/decontaminated/counts.csv",
        sizes="<results>/decontaminated/sizes.csv",
        class_counts="<results>/data/classes.csv",
        captions="<results>/data/captions.csv",
        filters="<results>/data/filters.csv",
        samples="<results>/data/samples.parquet",
        pairs="<results>/data/pairs.parquet",
        views=expand("<results>/views/{view}.parquet", view=STUDY.filtered_views),
        curves="<results>/details/curves.csv",
        confusions="<results>/details/confusions.csv",
        class_accuracy="<results>/details/class_accuracy.csv",
        sample_predictions="<results>/details/sample_predictions.parquet",
        text_matches=expand(
            "<results>/text_match/{slice}.csv", slice=DATASETS.text_slices
        ),
        reference="results/reference/effective_robustness.csv",
        reference_baselines="results/reference/baselines.csv",
        reference_bands="results/reference/baseline_bands.csv",
        published=PUBLISHED_TABLES,
        reported=CONFIG.reported.table if CONFIG.reported else [],
    output:
        report="<results>/report.html",
        provenance="<results>/provenance.json",
        card="<results>/card.json",
    log:
        "<logs>/write_report.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        study=STUDY.name,
        config=lambda wildcards: plain_values(STUDY.written),
        test_sets=plain_values(CONFIG, ["test_sets"])["test_sets"],
        trained=lambda wildcards: STUDY.rows_of(STUDY.trained),
        stages=STUDY.stages,
        commands=(
            ["make peek"]
            if CONFIG.unfinished
            else remake_commands(workflow.overwrite_configfiles, Path.cwd(), HOME)
        ),
        downloads_used=sorted(row.name for row in STUDY.downloads_used.values()),
        terms=EFFECT_TERMS,
        sentences=STUDY.sentences,
        without_test_set=STUDY.sources_without_test_set,
        derived={
            name: vars(made)
            for name, made in derived_sources(CONFIG.sources, STUDY.sources).items()
        },
        reported=plain_values(CONFIG.reported)["runs"] if CONFIG.reported else {},
        paper_line=describe_paper_line(
            CONFIG.paper_measurement, STUDY.in_distribution[0]
        ),
        colours=dict(CONFIG.figures.colours),
        code=code_of("write_report"),
    script:
        "../scripts/write_report.py"
