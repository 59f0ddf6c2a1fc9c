"""whyrobust: what does a training set do to a model's robustness?

The table of contents: one rule file per part of the data flow. A rule, its script, its log and its benchmark have one
name. `config.yaml` says what is studied; `--configfile` replaces it as a whole, so that no key of one study leaks into
another.
"""

from snakemake.utils import min_version

min_version("9.27")


if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


# What `snakemake --report` says first.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/start_and_end.smk"


pathvars:
    results=RESULTS,
    logs=f"{RESULTS}/logs",
    benchmarks=f"{RESULTS}/benchmarks",


include: "workflow/rules/download.smk"
include: "workflow/rules/records.smk"
include: "workflow/rules/images.smk"
include: "workflow/rules/text.smk"
include: "workflow/rules/subsets.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/published.smk"


if CONFIG.imagenet_captions:

    include: "workflow/rules/imagenet_captions.smk"


rule all:
    default_target: True
    input:
        report="<results>/report.html",
        provenance="<results>/provenance.json",
        card="<results>/card.json",
        accuracy="<results>/accuracy.csv",
        effective_robustness="<results>/effective_robustness.csv",
        baselines="<results>/baselines.csv",
        causes="<results>/causes.csv",
        data=rules.describe_data.output,
        details=rules.describe_runs.output,
        training_sets=rules.describe_training_sets.output,
        doses=rules.measure_dose_response.output,
        similarity=rules.measure_similarity.output if STUDY.similar_sources else [],
        bands=rules.similarity_bands.output if STUDY.source_comparisons else [],
        figures="<results>/figures",
        reference="results/reference/effective_robustness.csv",


state_arguments()
