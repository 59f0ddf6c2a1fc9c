# What the rules know about the study: everything that reads `config` or looks up wildcards stands here.

import re
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from whyrobust.provenance import code_version, script_modules
from whyrobust.settings import (
    ICON_PARTS,
    ConfigError,
    in_distribution_test_set,
    plan_study,
)


def planned(config_to_check):
    """Return the runs and comparisons of a valid config; stop with one line where it is not valid."""
    try:
        return plan_study(
            config_to_check,
            workflow.source_path("../schemas/config.schema.yaml"),
            Path.cwd(),
        )
    except ConfigError as error:
        raise WorkflowError(str(error)) from error


RUNS, CONTRASTS = planned(config)
RUN_BY_NAME = {run.run: run for run in RUNS}
STUDY = config["study"]
ARCHIVE = Path(config["downloads"], "iconify.tgz").as_posix()
SOURCES = sorted({run.source for run in RUNS})
TEST_SETS = list(config["test_sets"])
IN_DISTRIBUTION = in_distribution_test_set(config["test_sets"])
DATASETS = {
    name: {"pose": "plain"} | facts
    for name, facts in (config["sources"] | config["test_sets"]).items()
}
# Only what is used is built: a source without a run costs nothing.
USED_DATASETS = [*SOURCES, *TEST_SETS]
MAIN_PROMPTS = next(iter(config["prompts"]))


def alternatives(values):
    """Return a regular expression that matches these values and nothing else."""
    return "|".join(re.escape(str(value)) for value in sorted(values))


wildcard_constraints:
    run=alternatives(RUN_BY_NAME),
    source=alternatives(SOURCES),
    dataset=alternatives(USED_DATASETS),
    train_images=r"\d+",
    seed=r"\d+",


def code_of(script):
    """Return the version of the package code that a script uses, so that a change of it reruns the stage."""
    return code_version(script_modules(workflow.source_path(f"../scripts/{script}.py")))


def run_of(wildcards):
    """Return the facts of the run that a job makes."""
    return RUN_BY_NAME[wildcards.run].as_row()


def part_of(wildcards):
    """Return the part of the icons that a data set is made of."""
    return DATASETS[wildcards.dataset]["part"]


def hyperparameters_of(wildcards):
    """Return how the objective of a run is trained."""
    run = RUN_BY_NAME[wildcards.run]
    own = {"label_smoothing": 0.0} | config["training"][run.objective]
    return own | config["training"]["augmentation"] | {"samples_seen": run.samples_seen}


def prompts_of(wildcards):
    """Return the prompt sets that a run is embedded with: none where it has no text tower."""
    return config["prompts"] if RUN_BY_NAME[wildcards.run].head == "zero_shot" else {}


def subset_of(wildcards):
    """Return the path of the subset that a run is trained on."""
    run = RUN_BY_NAME[wildcards.run]
    return f"<results>/subsets/{run.source}/{run.train_images}_images_seed_{run.seed}.parquet"


def captions_of(wildcards):
    """Return the captions that a run learns from, or nothing where it learns from labels."""
    run = RUN_BY_NAME[wildcards.run]
    return (
        [f"<results>/captions/{run.source}.parquet"]
        if run.supervision == "captions"
        else []
    )


def source_images_of(wildcards):
    """Return the image store of the source that a run is trained on."""
    return f"<results>/images/{RUN_BY_NAME[wildcards.run].source}.arrow"


def model_of(wildcards):
    """Return the model description of a run."""
    return config["models"][RUN_BY_NAME[wildcards.run].model]


def caption_variants_of(wildcards):
    """Return the caption variants that runs on a source learn from."""
    return sorted(
        {run.caption for run in RUNS if run.source == wildcards.source and run.caption}
    )


def show_summary():
    """Print the causes and the way to the report, where this call of Snakemake made them."""
    summary = Path("results", STUDY, "summary.txt")
    page = Path("results", STUDY, "report.html")
    if summary.exists() and page.exists():
        logger.info(summary.read_text(encoding="utf-8") + f"\nReport: {page}")


onsuccess:
    show_summary()
