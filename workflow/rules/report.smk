# What the page and the figures show.


rule describe_data:
    input:
        images=expand("<results>/images/{dataset}.arrow", dataset=USED_DATASETS),
        failures=expand(
            "<results>/images/{dataset}_failures.csv", dataset=USED_DATASETS
        ),
        records=[records_path(name) for name in USED_DATASETS],
        kept=expand("<results>/decontaminated/{dataset}.parquet", dataset=USED_DATASETS),
        sizes="<results>/decontaminated/sizes.csv",
        pairs="<results>/decontaminated/pairs.csv",
        fetched=expand("<results>/pairs/{dataset}.csv", dataset=FETCHED_DATASETS),
        captions=text_files("captions/{}.parquet", PLAIN_SOURCES),
        classes=config["data"]["classes"],
        nouns=config["data"].get("nouns", []),
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
        roles=ROLES,
        records=named("records", USED_DATASETS),
        failures=named("failures", USED_DATASETS),
        kept=named("kept", USED_DATASETS),
        images=named("images", USED_DATASETS),
        fetched=named("fetched", FETCHED_DATASETS),
        captions=named_slices("captions"),
        shared=config["data"]["shared_names"],
        code=code_of("describe_data"),
    script:
        "../scripts/describe_data.py"


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
        progress=named("progress", [run.run for run in TRAINED]),
        test_sets=TEST_SETS,
        code=code_of("describe_runs"),
    script:
        "../scripts/describe_runs.py"


rule draw_figures:
    input:
        effective_robustness="<results>/effective_robustness.csv",
        runs="<results>/runs.csv",
        baselines="<results>/baselines.csv",
        bands="<results>/baseline_bands.csv",
        causes="<results>/causes.csv",
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
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        study=STUDY,
        confidence=config["intervals"]["effect"],
        colours=config["figures"]["colours"],
        scale=config["baseline"]["scale"],
        code=code_of("draw_figures"),
    script:
        "../scripts/draw_figures.py"


rule write_report:
    input:
        accuracy="<results>/accuracy.csv",
        effective_robustness="<results>/effective_robustness.csv",
        runs="<results>/runs.csv",
        baselines="<results>/baselines.csv",
        bands="<results>/baseline_bands.csv",
        causes="<results>/causes.csv",
        regression="<results>/regression.csv",
        several="<results>/effective_robustness_several.csv" if SEVERAL else [],
        figures="<results>/figures",
        sets=config["data"]["sets"] if ICON_DATASETS else [],
        sources_table=ancient(config["sources_table"]),
        resource_files=RESOURCE_FILES,
        removed="<results>/decontaminated/counts.csv",
        sizes="<results>/decontaminated/sizes.csv",
        class_counts="<results>/data/classes.csv",
        captions="<results>/data/captions.csv",
        filters="<results>/data/filters.csv",
        samples="<results>/data/samples.parquet",
        pairs="<results>/data/pairs.parquet",
        curves="<results>/details/curves.csv",
        confusions="<results>/details/confusions.csv",
        sample_predictions="<results>/details/sample_predictions.parquet",
        text_matches=text_files("text_match/{}.csv", PLAIN_SOURCES),
        reference="results/reference/effective_robustness.csv",
        reference_baselines="results/reference/baselines.csv",
        reference_bands="results/reference/baseline_bands.csv",
    output:
        report="<results>/report.html",
        provenance="<results>/provenance.json",
    log:
        "<logs>/write_report.log",
    conda:
        "../../envs/whyrobust-cpu.yaml"
    resources:
        mem_mb=3000,
        runtime=30,
    params:
        study=STUDY,
        config=lambda wildcards: config,
        test_sets=config["test_sets"],
        trained=lambda wildcards: [run.as_row() for run in TRAINED],
        stages=STAGES_USED,
        commands=COMMANDS,
        downloads_used=DOWNLOADS_USED,
        colours=config["figures"]["colours"],
        code=code_of("write_report"),
    script:
        "../scripts/write_report.py"
