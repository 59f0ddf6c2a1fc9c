# Adapters between Snakemake and the study: they answer what rules need by the wildcards of a job. Everything about the
# study itself is in `whyrobust.study.study`, independent of Snakemake.

import os
from functools import cache
from importlib import import_module
from pathlib import Path

from snakemake.exceptions import WorkflowError

from whyrobust import cores
from whyrobust.study.caption_build import missing_key
from whyrobust.study.code_version import module_versions, script_versions
from whyrobust.study.config_file import check_config_file
from whyrobust.study.kind_settings import ICON_PARTS
from whyrobust.study.finished_work import OFF, VARIABLE, chosen_folder
from whyrobust.study.input_versions import input_versions, listing_version
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import plain_values
from whyrobust.study.study import Study
from whyrobust.study.wildcards import trained_pattern, wildcard_patterns
from whyrobust.study.workflow_files import own_file, remake_commands

# The folder of the workflow; a study may be run in another one.
HOME = (
    Path(workflow.current_basedir.get_path_or_uri(secret_free=False))
    .resolve()
    .parents[1]
)


def load_study():
    """Return the study that the config asks for; stop with one line where it is not valid."""
    try:
        for path in workflow.configfiles:
            check_config_file(path)
        return Study.load(config, Path.cwd(), HOME)
    except ConfigError as error:
        raise WorkflowError(str(error)) from error


STUDY = load_study()
CONFIG, DATASETS = STUDY.config, STUDY.datasets
RESULTS = f"results/{STUDY.name}"
# Tables of published models.
REFERENCE = own_file("resources/reference", Path.cwd(), HOME)
# Where a subset is, by the wildcards of the rule that draws it.
SUBSET = "<results>/subsets/{source}/{train_images}_images_seed_{seed}.parquet"
# The names of rules: another workflow that uses this one may have its own names for the rules.
RULE_NAME = workflow.modifier.modify_rulename
# GPUs and conda environment of the rules that use a GPU if there is one.
GPUS = 1 if CONFIG.training.device == "cuda" else 0
# Jobs that may share a GPU of this machine; elsewhere a scheduler gives each its own.
RUNS_PER_GPU = (
    CONFIG.training.runs_per_gpu
    if workflow.local_exec and not workflow.remote_exec
    else 1
)
GPU_ENVIRONMENT = (
    "../../envs/whyrobust-cpu.yaml"
    if CONFIG.training.device == "cpu"
    else "../../envs/whyrobust-cuda.yaml"
)
# Of jobs that a chain of others waits for: where cores are few, one that starts last leaves the others idle.
LONGEST_CHAIN = 3
# Jobs keep the bytecode of what they import, even where the shell forbids it, as in many containers: torch alone has a
# thousand modules, and compiling them takes longer than importing them (docs/dev/optimisation.md).
os.environ.update(PYTHONDONTWRITEBYTECODE="")
# From where a new conda environment installs the workflow's own package.
os.environ.update(WHYROBUST_REPOSITORY=str(HOME))
# Where finished work is shared; not where each job has a disk of its own.
FINISHED_WORK = (
    None
    if workflow.storage_settings.default_storage_provider
    else chosen_folder(os.environ, CONFIG.finished_work, Path.cwd())
)
os.environ[VARIABLE] = str(FINISHED_WORK or OFF)
# Jobs share the cores of this machine with those of other studies; a cluster assigns its own.
if workflow.is_main_process and workflow.local_exec:
    os.environ.setdefault(cores.VARIABLE, cores.ON)


wildcard_constraints:
    **wildcard_patterns(STUDY),


def with_pattern(pattern, function):
    """Return a function of inputs that tells the pattern of its files, so that nobody has to call it to know whose they are."""
    function.pattern = pattern
    return function


def value(of, by="run"):
    """Return a parameter or an input: what a function returns for one wildcard of a job."""
    return lambda wildcards: of(getattr(wildcards, by))


def file(pattern, of, by="run"):
    """Return an input: the file that is named by what a function returns for one wildcard of a job."""
    return with_pattern(
        pattern, lambda wildcards: pattern.format(of(getattr(wildcards, by)))
    )


def files(pattern, of, by="run"):
    """Return an input: a file for each name that a function returns for one wildcard of a job."""
    return with_pattern(
        pattern,
        lambda wildcards: [pattern.format(name) for name in of(getattr(wildcards, by))],
    )


def fitting_subsets(wildcards):
    """Return an input: the subsets that the heads of the runs of a group are fitted on."""
    return [
        SUBSET.format(**subset) for subset in STUDY.fitting_subsets_of(wildcards.group)
    ]


def matched_with(wildcards):
    """Return the sources whose subsets are kept as large as the one that a job draws."""
    return STUDY.matched_with(wildcards.source, int(wildcards.train_images))


def by_name(key, names):
    """Return a parameter: the files of an input, one per name and in the order of the names, by name."""
    return lambda wildcards, input: dict(zip(names, input.get(key), strict=True))


def by_source(key):
    """Return a parameter: the files of an input that has one per slice of the texts of sources, by source."""
    return lambda wildcards, input: DATASETS.group_by_source(
        input.get(key), list(DATASETS.sources)
    )


def for_photographs(number, else_use):
    """Return a resource of a slice of texts: a number for a source of photographs, another for icons."""
    return lambda wildcards: (
        number if DATASETS.is_of_photographs(wildcards.text_slice) else else_use
    )


def memory_of(base_mb, times):
    """Return a memory function in MB: `base_mb` plus `times` the size of the inputs, divided by the slices of a source's texts."""

    def memory_mb(wildcards, input):
        name = getattr(wildcards, "text_slice", None)
        slices = DATASETS.text_slices[name].count if name else 1
        return int(base_mb + times * input.size_mb / slices)

    return memory_mb


def code_of(script):
    """Return a parameter: the versions of the code and packages that a script uses, and of the files that users give it.

    A change of any of them reruns the stage, whatever the times of the files.
    """
    code = script_versions(workflow.source_path(f"../scripts/{script}.py"))
    return lambda wildcards: code | versions_given(RULE_NAME(script), wildcards)


@cache
def inputs_that_count(rule):
    """Return the inputs of a rule that no rule makes, and functions of inputs, which may return such, in their order."""
    items = workflow.get_rule(rule).input
    counted = [i for i in items if not getattr(i, "flags", {}).get("ancient")]
    patterns = [getattr(i, "pattern", None) if callable(i) else i for i in counted]
    return [i for i, p in zip(counted, patterns) if p is None or STUDY.is_given(p)]


@cache
def version_of_given(paths):
    """Return the version of those of some inputs that no rule makes, empty where there are none."""
    return input_versions(map(Path, filter(STUDY.is_given, paths)))


def versions_given(rule, wildcards):
    """Return the version of a job's inputs that no rule makes and that count, nothing where there are none."""
    paths = []
    for item in inputs_that_count(rule):
        found = item(wildcards) if callable(item) else item
        paths += [found] if isinstance(found, str) else found
    version = version_of_given(tuple(paths))
    return {"inputs": version} if version else {}


@cache
def pictures_of(photo_slice):
    """Return the version of what a user gives of a slice of photographs, pictures that a table names among it."""
    given = filter(STUDY.is_given, DATASETS.files_of_slice(photo_slice))
    version = input_versions(map(Path, given))
    reader, _, function = DATASETS.kind_of_slice(photo_slice).pictures.partition(":")
    if reader:
        named = getattr(import_module(reader), function)
        version += f" {listing_version(named(DATASETS.slice_settings(photo_slice)))}"
    return version
