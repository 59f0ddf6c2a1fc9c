"""whyrobust: what does a training set do to a model's robustness?

The table of contents. Each stage has a rule file, a rule and a script of the same name; `config.yaml` says what is
studied. `--configfile` replaces the default config as a whole, so that no key of one study leaks into another.
"""

from snakemake.utils import min_version

min_version("9.14")


if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# What `snakemake --report` says first.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{STUDY}",
    logs=f"results/{STUDY}/logs",
    benchmarks=f"results/{STUDY}/benchmarks",


include: "workflow/rules/download_source.smk"
include: "workflow/rules/build_records.smk"
include: "workflow/rules/list_pairs.smk"
include: "workflow/rules/fetch_pairs.smk"
include: "workflow/rules/build_photo_records.smk"
include: "workflow/rules/build_images.smk"
include: "workflow/rules/index_images.smk"
include: "workflow/rules/join_slices.smk"
include: "workflow/rules/assemble_captions.smk"
include: "workflow/rules/compare_images.smk"
include: "workflow/rules/decontaminate.smk"
include: "workflow/rules/match_text.smk"
include: "workflow/rules/describe_data.smk"
include: "workflow/rules/draw_subset.smk"
include: "workflow/rules/train_run.smk"
include: "workflow/rules/import_pretrained.smk"
include: "workflow/rules/embed_test_sets.smk"
include: "workflow/rules/fit_heads.smk"
include: "workflow/rules/score_heads.smk"
include: "workflow/rules/describe_runs.smk"
include: "workflow/rules/measure_robustness.smk"
include: "workflow/rules/measure_several.smk"
include: "workflow/rules/attribute_causes.smk"
include: "workflow/rules/measure_reference.smk"
include: "workflow/rules/draw_figures.smk"
include: "workflow/rules/write_report.smk"


rule all:
    default_target: True
    input:
        report="<results>/report.html",
        provenance="<results>/provenance.json",
        accuracy="<results>/accuracy.csv",
        effective_robustness="<results>/effective_robustness.csv",
        baselines="<results>/baselines.csv",
        several="<results>/effective_robustness_several.csv" if SEVERAL else [],
        causes="<results>/causes.csv",
        data=rules.describe_data.output,
        details=rules.describe_runs.output,
        figures="<results>/figures",
        reference="results/reference/effective_robustness.csv",
