# What the rules know about the study: everything that reads `config` or looks up wildcards stands here.

import os
import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from whyrobust.study.code_version import (
    code_version,
    environment_version,
    module_file,
    script_modules,
)
from whyrobust.study.heads_table import FITTED_HEADS
from whyrobust.study.plan import OWN, name_pattern
from whyrobust.study.slices import ShardError, shard_names, slices_of
from whyrobust.study.stages import STAGES
from whyrobust.study.checks import in_distribution_test_set, plan_study, used_sources
from whyrobust.study.config import check_keys_once, load_config
from whyrobust.study.data_kinds import DATA_KINDS, ICON_PARTS
from whyrobust.study.input_files import (
    downloadable_files,
    files_of,
    matching_files,
    missing_files,
    read_prompt_sets,
)
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import plain_values


def load_study():
    """Return the config as types and what it asks for; stop with one line where it is not valid."""
    try:
        for path in workflow.configfiles:
            check_keys_once(path)
        loaded = load_config(config)
        return loaded, plan_study(loaded, Path.cwd())
    except ConfigError as error:
        raise WorkflowError(str(error)) from error


CONFIG, PLAN = load_study()
# The same as plain values, for the params of rules.
config.update(plain_values(CONFIG))
config["data"].setdefault("repeat_similarity", None)
config["training"].setdefault("images_at_once", None)
RUNS = PLAN.runs
RUN_BY_NAME = {run.run: run for run in RUNS}
STUDY = config["study"]
# The conda environment of the rules that use a GPU where there is one.
GPU_ENVIRONMENT = (
    "../../envs/whyrobust-cpu.yaml"
    if config["training"]["device"] == "cpu"
    else "../../envs/whyrobust-cuda.yaml"
)
# From where a new conda environment installs the workflow's own package.
os.environ.update(WHYROBUST_REPOSITORY=str(Path(workflow.basedir).resolve()))
ARCHIVE = Path(config["downloads"], "iconify.tgz").as_posix()
# Files that can be downloaded: path -> name in the table of sources.
PINNED_FILES = downloadable_files(Path(config["sources_table"]), config["downloads"])
PINNED = {row.name: row for row in PINNED_FILES.values()}
DOWNLOADS = {path: row.name for path, row in PINNED_FILES.items()}
TEST_SETS = list(config["test_sets"])
IN_DISTRIBUTION = in_distribution_test_set(CONFIG.test_sets)


# Only what is used is built: a source without a run costs nothing.
SOURCES = used_sources(CONFIG, PLAN)
# Sources that are made of no other: all images come from these.
PLAIN_SOURCES = [name for name in SOURCES if not CONFIG.sources[name].row.derived]
DATASETS = {
    name: {"pose": "plain"} | facts
    for name, facts in (
        {name: config["sources"][name] for name in PLAIN_SOURCES} | config["test_sets"]
    ).items()
}
USED_DATASETS = [*PLAIN_SOURCES, *TEST_SETS]
PHOTO_DATASETS = [
    name for name in USED_DATASETS if DATA_KINDS[DATASETS[name]["kind"]].photographs
]
ICON_DATASETS = [name for name in USED_DATASETS if name not in PHOTO_DATASETS]
# Lists of addresses, whose images are fetched from the web.
FETCHED_DATASETS = [
    name
    for name in PHOTO_DATASETS
    if DATASETS[name]["kind"] == "yfcc15m" and "metadata" in DATASETS[name]
]
# Jobs that photographs are built by, by the names of their files: one a data set, or as many as it has slices.
PHOTO_SLICES = {
    part.name: part
    for name in PHOTO_DATASETS
    for part in slices_of(name, DATASETS[name].get("slices", 1))
}
# The same for the texts of sources.
TEXT_SLICES = {
    part.name: part
    for name in PLAIN_SOURCES
    for part in slices_of(name, DATASETS[name].get("slices", 1))
}
SLICED_SOURCES = sorted(
    {part.dataset for part in TEXT_SLICES.values() if part.count > 1}
)
# What a data set is for: source of training images, in-distribution test set or shift.
ROLES = {
    name: (
        "training_source"
        if name in PLAIN_SOURCES
        else config["test_sets"][name]["role"]
    )
    for name in USED_DATASETS
}
# Test sets whose accuracies together are the x axis of a second measurement, where the study asks for one.
SEVERAL = config["baseline"].get("several", {}).get("test_sets", [])
TRAINED = [run for run in RUNS if not run.published]
EVALUATED = [run for run in RUNS if run.evaluated]
# Sources of the runs of each size.
SOURCES_OF_SIZE = {}
for trained in TRAINED:
    SOURCES_OF_SIZE.setdefault(trained.train_images, set()).add(trained.source)


def dataset_of(name):
    """Return the settings of a source or test set."""
    return CONFIG.sources.get(name) or CONFIG.test_sets[name]


def alternatives(values):
    """Return a regular expression that matches these values and nothing else."""
    return "|".join(re.escape(str(value)) for value in sorted(values))


wildcard_constraints:
    run=name_pattern(RUN_BY_NAME),
    published=name_pattern(run.run for run in RUNS if run.published) or "none",
    downloaded=alternatives(
        Path(path).relative_to(config["downloads"]).as_posix() for path in DOWNLOADS
    ),
    source=alternatives(SOURCES),
    dataset=alternatives(USED_DATASETS),
    icon_dataset=alternatives(ICON_DATASETS) or "none",
    photo_dataset=alternatives(PHOTO_DATASETS) or "none",
    photo_slice=alternatives(PHOTO_SLICES) or "none",
    text_slice=alternatives(TEXT_SLICES) or "none",
    train_images=r"\d+",
    seed=r"\d+",


def code_of(script):
    """Return the version of the code and of the packages that a script uses, so that a change reruns the stage."""
    path = workflow.source_path(f"../scripts/{script}.py")
    return {"code": code_version(script_modules(path))} | environment_version(path)


def run_of(wildcards):
    """Return the facts of the run that a job makes."""
    return RUN_BY_NAME[wildcards.run].as_row()


def part_of(wildcards):
    """Return the part of the icons that a data set is made of."""
    return DATASETS[wildcards.icon_dataset]["part"]


def records_path(dataset):
    """Return the path of the records of a data set; those of icons are named by their part."""
    name = DATASETS[dataset].get("part", dataset)
    return f"<results>/records/{name}.parquet"


@cache
def shards_of(dataset):
    """Return the shards of a data set of photographs, and what each is called; none where they are still to be fetched."""
    facts = DATASETS[dataset]
    if dataset in FETCHED_DATASETS or "shards" not in facts:
        return [], []
    shards = matching_files(facts["shards"], Path.cwd())
    try:
        return shards, shard_names(shards)
    except ShardError as error:
        raise WorkflowError(f"config key shards of '{dataset}': {error}") from error


def slice_of(wildcards):
    """Return which slice of which data set of photographs a job builds."""
    return asdict(PHOTO_SLICES[wildcards.photo_slice])


def slice_files(wildcards, file):
    """Return a file of each slice of a data set of photographs, in order."""
    return [
        f"<results>/slices/{name}/{file}"
        for name, part in PHOTO_SLICES.items()
        if part.dataset == wildcards.photo_dataset
    ]


def photo_kind_of(wildcards):
    """Return the kind of the data set of photographs that a job prepares, or a slice of it."""
    name = getattr(wildcards, "photo_dataset", None) or slice_of(wildcards)["dataset"]
    return dataset_of(name).row


def reader_code_of(wildcards):
    """Return the version of the code and of the packages of the reader that a job loads by its name."""
    reader = photo_kind_of(wildcards).reader_module
    return {"code": code_version([reader])} | environment_version(module_file(reader))


def whole_size_of(wildcards):
    """Return how many images a test set of photographs should have (None where unknown), and whether fewer will do."""
    dataset = dataset_of(wildcards.photo_dataset)
    return {
        "expected": getattr(dataset, "whole_images", None),
        "allow_short": getattr(dataset, "allow_short", False),
    }


def photo_settings_of(wildcards):
    """Return what the config says of a data set of photographs; shards are those of the slice, as a list of files."""
    part = PHOTO_SLICES[wildcards.photo_slice]
    settings = {
        key: value for key, value in DATASETS[part.dataset].items() if key != "slices"
    }
    shards, names = map(part.share_of, shards_of(part.dataset))
    return settings | ({"shards": shards, "shard_names": names} if names else {})


def covered_classes():
    """Return which classes may be predicted on each test set, and the column of the class table that says so."""
    return {
        name: {
            "classes": facts["classes"],
            "covered": (
                facts["kind"]
                if facts["classes"] == "own"
                and DATA_KINDS[facts["kind"]].covered_classes_column
                else ""
            ),
        }
        for name, facts in config["test_sets"].items()
    }


def photo_files_of(wildcards):
    """Return the files and folders that a slice of a data set of photographs is read from."""
    part = PHOTO_SLICES[wildcards.photo_slice]
    # Of a list of addresses, the metadata is read when its images are fetched.
    fetched = ["metadata"] if part.dataset in FETCHED_DATASETS else []
    others = files_of(
        dataset_of(part.dataset), Path.cwd(), leave_out=["shards", *fetched]
    )
    return [*others, *part.share_of(shards_of(part.dataset)[0])]


def fetched_pairs_of(wildcards):
    """Return the table of fetched shards of a data set whose images are fetched from the web."""
    dataset = PHOTO_SLICES[wildcards.photo_slice].dataset
    return [f"<results>/pairs/{dataset}.csv"] if dataset in FETCHED_DATASETS else []


def download_name(wildcards):
    """Return the name of a downloaded file in the table of sources."""
    return DOWNLOADS[Path(config["downloads"], wildcards.downloaded).as_posix()]


def pinned_facts_of(wildcards):
    """Return what makes a downloaded file the right one; another address is no reason to fetch it again."""
    row = PINNED[download_name(wildcards)]
    return {"version": row.version, "checksum": row.checksum}


def download_minutes(wildcards):
    """Return how many minutes a download may take."""
    return PINNED[download_name(wildcards)].minutes


def slices_of_texts(wildcards):
    """Return by how many jobs the tables of a job are read, each its share; by one where there are no slices of texts."""
    name = getattr(wildcards, "text_slice", None)
    return TEXT_SLICES[name].count if name else 1


def memory_of(base_mb, times):
    """Return what gives a job memory for tables that it holds: so many times their size as (packed) Parquet, or its share."""
    return lambda wildcards, input: int(
        base_mb + times * input.size_mb / slices_of_texts(wildcards)
    )


def published_of(wildcards):
    """Return what the config says of a published model."""
    return next(
        entry
        for entry in config["pretrained"]
        if f"published-{entry['name']}" == wildcards.published
    )


def hyperparameters_of(wildcards):
    """Return how a run is trained: the settings of its objective, the augmentation and the samples seen."""
    run = RUN_BY_NAME[wildcards.run]
    chosen = CONFIG.training.hyperparameters_of(run.objective, bool(run.pretrained_run))
    return chosen | {"samples_seen": run.samples_seen}


def checkpoint_of(wildcards):
    """Return where a run is kept while it is trained: no output, since it must outlive a job that was stopped."""
    return Path("results", STUDY, "checkpoints", f"{wildcards.run}.pt").as_posix()


def prompts_of(wildcards):
    """Return the prompt sets that a run is embedded with: none where it has no text tower."""
    return PROMPTS if RUN_BY_NAME[wildcards.run].has_text_tower else {}


def subset_path(source, run):
    """Return the path of the subset of a source that has the size and the seed of a run."""
    return (
        f"<results>/subsets/{source}/{run.train_images}_images_seed_{run.seed}.parquet"
    )


def subset_of(wildcards):
    """Return the path of the subset that a run is trained on."""
    run = RUN_BY_NAME[wildcards.run]
    return subset_path(run.source, run)


def components_of(wildcards):
    """Return the plain sources that the images of a run come from."""
    return PLAN.components[RUN_BY_NAME[wildcards.run].source]


def matched_with(wildcards):
    """Return the sources whose subsets of this size are kept equal: those that have runs of it, where this is one."""
    across = config["data"].get("match_sizes", {}).get("across", [])
    with_size = SOURCES_OF_SIZE.get(int(wildcards.train_images), set())
    return (
        [name for name in across if name in with_size or name == wildcards.source]
        if wildcards.source in across
        else []
    )


def text_slices_of(source):
    """Return the jobs that the texts of a plain source are worked on by, each with its share of the records."""
    return slices_of(source, DATASETS[source].get("slices", 1))


def text_slice_of(wildcards):
    """Return which slice of the texts of which source a job works on."""
    return asdict(TEXT_SLICES[wildcards.text_slice])


def records_of_texts(wildcards):
    """Return the records of the source whose texts a job works on."""
    return records_path(TEXT_SLICES[wildcards.text_slice].dataset)


def kept_of_texts(wildcards):
    """Return the images of the source whose texts a job works on that no filter removed."""
    name = TEXT_SLICES[wildcards.text_slice].dataset
    return f"<results>/decontaminated/{name}.parquet"


def text_files(pattern, sources):
    """Return a file of each slice of the texts of plain sources; the slice's name stands in the place of {}."""
    return [
        f"<results>/{pattern.format(part.name)}"
        for source in sources
        for part in text_slices_of(source)
    ]


def named(key, names):
    """Return a parameter: the files of an input, one per name and in the order of the names, by name."""
    return lambda wildcards, input: dict(zip(names, input.get(key), strict=True))


def named_slices(key):
    """Return a parameter: the files of an input that lists all slices of texts (see `text_files`), by source."""
    return lambda wildcards, input: {
        source: [
            path
            for part, path in zip(TEXT_SLICES.values(), input.get(key), strict=True)
            if part.dataset == source
        ]
        for source in PLAIN_SOURCES
    }


def subset_threads(wildcards):
    """Return how many processes a subset is drawn by: photographs may be millions, icons are not."""
    return 2 if set(PLAN.components[wildcards.source]) & set(PHOTO_DATASETS) else 1


def captions_of(wildcards):
    """Return the captions that a run learns from, or nothing where it learns from none."""
    run = RUN_BY_NAME[wildcards.run]
    needed = components_of(wildcards) if run.caption else []
    return text_files("captions/{}.parquet", needed)


def matched_labels_of(wildcards):
    """Return the labels found in text that a run learns from, or nothing where it learns from none."""
    run = RUN_BY_NAME[wildcards.run]
    needed = components_of(wildcards) if run.labels == "text_match" else []
    return text_files("text_match/{}.parquet", needed)


def source_images_of(wildcards):
    """Return the image stores that a run is trained on."""
    return [f"<results>/images/{name}.arrow" for name in components_of(wildcards)]


def pretrained_of(wildcards):
    """Return the weights that a run starts from, or nothing where it starts from random ones."""
    name = RUN_BY_NAME[wildcards.run].pretrained_run
    return [f"<results>/runs/{name}/model.safetensors"] if name else []


def model_of(wildcards):
    """Return the model description of a run; a published model brings its own."""
    run = RUN_BY_NAME[wildcards.run]
    return [] if run.published else config["models"][run.model]


PROMPTS = read_prompt_sets(CONFIG.prompts, Path.cwd())


def downloads_used():
    """Return the downloadable files that the study reads."""
    paths = {ARCHIVE} if ICON_DATASETS else set()
    for name in PHOTO_DATASETS:
        paths |= {
            Path(path).as_posix() for path in files_of(dataset_of(name), Path.cwd())
        }
    return sorted(path for path in paths if path in DOWNLOADS)


# Their names in the table of sources.
DOWNLOADS_USED = sorted(DOWNLOADS[path] for path in downloads_used())


def asked_for(paths):
    """Return how to get each of these files that has no address, so that nobody can download it."""
    rows = {path: PINNED[DOWNLOADS[path]] for path in paths if path in DOWNLOADS}
    return {path: row.how_to_get for path, row in rows.items() if not row.addresses}


def check_asked_for():
    """Stop before any work where a file that a planned job would download has no address; called when a run starts."""
    planned_files = [
        str(path)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == "download_source"
        for path in job.output
    ]
    missing = missing_files(asked_for(planned_files), Path.cwd())
    if missing:
        raise WorkflowError(missing)


# A dry run shows the whole plan all the same.
if workflow.is_main_process and workflow.output_settings.dryrun:
    MISSING = missing_files(asked_for(downloads_used()), Path.cwd())
    if MISSING:
        logger.warning(MISSING)


def fitted_heads_of(run_name):
    """Return the heads of a run that are fitted on embeddings of training images."""
    return [head for head in PLAN.heads[run_name] if head.head in FITTED_HEADS]


def fitting_sources_of(run_name):
    """Return the sources that the fitted heads of a run are fitted on, by the name in the heads."""
    run = RUN_BY_NAME[run_name]
    named = dict.fromkeys(head.fitted_on for head in fitted_heads_of(run_name))
    return {name: run.source if name == OWN else name for name in named}


def fitting_subsets_of(wildcards):
    """Return the subsets that the fitted heads of a run are fitted on."""
    run = RUN_BY_NAME[wildcards.run]
    return [
        subset_path(source, run)
        for source in fitting_sources_of(wildcards.run).values()
    ]


def fitting_components_of(wildcards):
    """Return the plain sources that the fitted heads of a run need images of."""
    needed = fitting_sources_of(wildcards.run).values()
    return list(
        dict.fromkeys(part for name in needed for part in PLAN.components[name])
    )


def caption_variants_of(wildcards):
    """Return the caption variants that runs on a plain source learn from."""
    return sorted(
        {
            run.caption
            for run in RUNS
            if run.caption
            and not run.published
            and TEXT_SLICES[wildcards.text_slice].dataset in PLAN.components[run.source]
        }
    )


def resource_files():
    """Return the small files that the config names and that results depend on, for the record of the study."""
    data = config["data"]
    named = [data[key] for key in ("classes", "nouns", "sets") if key in data]
    named += [config["models"][run.model] for run in TRAINED]
    named += [value for value in config["prompts"].values() if isinstance(value, str)]
    named += [
        facts["class_table"] for facts in DATASETS.values() if "class_table" in facts
    ]
    return sorted(set(named))


RESOURCE_FILES = resource_files()


def stages_used():
    """Return the stages that the study goes through, in the order of the workflow."""
    left_out = set()
    if not ICON_DATASETS:
        left_out |= {"build_records", "build_images"}
    if not PHOTO_DATASETS:
        left_out |= {"build_photo_records", "index_images", "join_slices"}
    if not SLICED_SOURCES:
        left_out.add("compare_images")
    if not any(
        DATASETS[name]["kind"] == "yfcc15m" and "metadata" in DATASETS[name]
        for name in PHOTO_DATASETS
    ):
        left_out |= {"list_pairs", "fetch_pairs"}
    if not DOWNLOADS_USED:
        left_out.add("download_source")
    if not any(run.published for run in RUNS):
        left_out.add("import_pretrained")
    if not SEVERAL:
        left_out.add("measure_several")
    if not any(fitted_heads_of(run.run) for run in EVALUATED):
        left_out.add("fit_heads")
    return [stage.name for stage in STAGES if stage.name not in left_out]


STAGES_USED = stages_used()


def commands():
    """Return the commands that remake the study, with the config files as they were named."""
    named = [
        (
            os.path.relpath(path)
            if Path(path).is_relative_to(Path.cwd())
            else Path(path).name
        )
        for path in workflow.overwrite_configfiles
    ]
    configs = "".join(f" --configfile {path}" for path in named)
    first = (
        []
        if configs
        else ["make study                       # this page, from nothing"]
    )
    return [*first, f".venv/bin/snakemake --cores 2{configs}    # whatever has changed"]


COMMANDS = commands()


def show_summary():
    """Print the causes and the way to the report, where they are there."""
    summary = Path("results", STUDY, "summary.txt")
    page = Path("results", STUDY, "report.html")
    if summary.exists() and page.exists():
        logger.info(summary.read_text(encoding="utf-8") + f"\nReport: {page}")


onstart:
    check_asked_for()


onsuccess:
    show_summary()
