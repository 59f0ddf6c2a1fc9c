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
        text_slices={name: len(text_slices_of(name)) for name in PLAIN_SOURCES},
        test_sets=config["test_sets"],
        trained=lambda wildcards: [run.as_row() for run in TRAINED],
        stages=STAGES_USED,
        commands=COMMANDS,
        downloads_used=DOWNLOADS_USED,
        colours=config["figures"]["colours"],
        code=code_of("write_report"),
    script:
        "../scripts/write_report.py"
