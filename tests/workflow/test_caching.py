"""What a change of code, input, environment or config runs again, stage by stage, on the DAG of a finished study."""

from __future__ import annotations

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.studies import short_config
from tests.workflow.test_dag import ICON_STAGES, SHARED_STAGES, planned_jobs
from tests.workflow.test_environments import rule_texts
from tests.workflow.test_shared_work import SOURCES, write_picture
from whyrobust.study.code_version import all_modules, environment_version, script_modules

STAGES = sorted(SHARED_STAGES | ICON_STAGES)

#: A file that is there was verified: no code fetches it again.
FETCHED = "download_source"

#: Stages tried in `make test`; the others, each some seconds, in `make soak`.
QUICK = ("build_records", "match_text", "train_run", "measure_robustness")


class Finished:
    """A smoke study whose files are all there (and empty), with a copy of the workflow that can be changed."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.code, self.study = folder / "workflow", folder / "a stüdy"
        self.code.mkdir()
        for name in ("workflow", "src", "resources", "envs", "profiles"):
            shutil.copytree(root / name, self.code / name)
        shutil.copy2(root / "Snakefile", self.code)
        self.study.mkdir()
        shutil.copytree(root / "resources", self.study / "resources")
        self.config = yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8"))
        self.write(self.config)
        listed = self.call("--summary")
        for row in listed.splitlines():
            place = self.study / row.split("\t")[0]
            if row.startswith(("results/", "downloads/")):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.mkdir() if not place.suffix else place.touch()
        self.touched = self.call("--touch", "--forceall", "--cores", "1")
        graph = self.call("--dag")
        # Job by job: a stage may need another for some of its runs only.
        self.stage_of = dict(re.findall(r'(\d+)\[label = "(\w+)', graph))
        self.edges = re.findall(r"(\d+) -> (\d+)", graph)

    def write(self, config) -> None:
        """Write the config."""
        (self.study / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def call(self, *arguments: str, path: str = "") -> str:
        """Call Snakemake with the copy of the workflow and return what it says."""
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(self.code / "Snakefile"), *arguments],
            cwd=self.study, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([path, str(self.code / "src")]).lstrip(os.pathsep)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout + done.stderr

    def planned(self, *arguments: str, path: str = "") -> set[str]:
        """Return the stages that would run."""
        self.said = self.call("--dry-run", *arguments, path=path)
        return set(planned_jobs(self.said)) - {"all"}

    def reason(self) -> str:
        """Return in what words the last plan said what would be done again; it is one line."""
        (line,) = [line for line in self.said.splitlines() if " finished jobs would be done again: " in line]
        return line

    def after(self, *stages: str) -> set[str]:
        """Return these stages and all that depend on them."""
        found, waiting = set(), [job for job, stage in self.stage_of.items() if stage in stages]
        while waiting:
            job = waiting.pop()
            if job not in found:
                found.add(job)
                waiting += [end for start, end in self.edges if start == job]
        return {self.stage_of[job] for job in found} - {"all"}


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    return Finished(root, tmp_path_factory.mktemp("caching"))


@pytest.fixture
def changed_file(finished):
    """Change a file of the copy by a line, and put it back afterwards with its old time."""
    before = {}

    def change(path, line):
        before.setdefault(path, (path.read_bytes(), path.stat()))
        path.write_bytes(path.read_bytes() + line.encode())

    yield change
    for path, (content, status) in before.items():
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_the_terminal_does_not_say_that_jobs_are_looked_for(finished):
    assert "Job stats:" in finished.touched and "steps (100%) done" in finished.touched
    assert "Select jobs" not in finished.touched and "Execute" not in finished.touched


def test_a_finished_study_has_nothing_to_do(finished):
    assert finished.planned() == set() and "done again" not in finished.said
    assert set(finished.stage_of.values()) - {"all"} == set(STAGES)


@pytest.mark.parametrize(
    "stage",
    [stage if stage in QUICK else pytest.param(stage, marks=pytest.mark.soak) for stage in STAGES if stage != FETCHED],
)
def test_a_changed_script_runs_its_stage_and_what_depends_on_it_again(finished, changed_file, stage):
    changed_file(finished.code / "workflow" / "scripts" / f"{stage}.py", "CHANGED = 1\n")
    assert finished.planned() == finished.after(stage)
    assert f"{stage}, since the code is another" in finished.reason()


@pytest.mark.parametrize("module", ["evaluation.embed", "report.charts.robustness"])
def test_a_changed_module_runs_the_stages_that_use_it_again(finished, changed_file, module):
    changed_file(finished.code / "src" / "whyrobust" / f"{module.replace('.', '/')}.py", "CHANGED = 1\n")
    scripts = finished.code / "workflow" / "scripts"
    using = [stage for stage in STAGES if module in all_modules(script_modules(scripts / f"{stage}.py"))]
    assert using and finished.planned() == finished.after(*using)


def test_a_changed_package_runs_the_stages_that_use_it_again(finished, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nold = m.version\n"
        "m.version = lambda name: 'other' if name == 'altair' else old(name)\n"
    )
    scripts = finished.code / "workflow" / "scripts"
    using = [stage for stage in STAGES if "altair" in environment_version(scripts / f"{stage}.py")]
    assert "train_run" not in using
    assert finished.planned(path=str(tmp_path)) == finished.after(*using)
    assert "since altair is other, was " in finished.reason()


@pytest.mark.parametrize(
    "file, stages",
    [
        ("resources/icons/sets.csv", ["build_records", "write_report"]),
        ("resources/icons/classes.csv", ["build_records"]),
        ("resources/reference/vlhub_top1.csv", ["measure_reference"]),
    ],
)
def test_a_changed_input_runs_its_readers_again(finished, changed_file, file, stages):
    changed_file(finished.study / file, "\n")
    assert finished.planned() == finished.after(*stages)


def test_what_changes_no_result_runs_nothing_again(finished, changed_file):
    """Comments and docstrings everywhere, how logs are written, how files are fetched that are there, new addresses."""
    package = finished.code / "src" / "whyrobust"
    for path in [*package.rglob("*.py"), *(finished.code / "workflow" / "scripts").glob("*.py")]:
        changed_file(path, '"""A docstring."""  # a comment\n')
    changed_file(package / "logs.py", "CHANGED = 1\n")
    changed_file(package / "data" / "downloads.py", "CHANGED = 1\n")
    changed_file(finished.study / "resources" / "sources.tsv", "x\t1\tx.zip\t\task\t\t\tMIT\t\tx\n")
    changed_file(finished.study / "resources" / "models" / "icon-resnet.json", "\n")
    (finished.study / "config.yaml").write_text(
        "# a comment\n" + (finished.study / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert finished.planned() == set()


@pytest.fixture
def changed_config(finished):
    """Change the config, and put it back afterwards."""
    yield lambda change: finished.write(change(copy.deepcopy(finished.config)))
    finished.write(finished.config)


def test_other_standard_models_and_another_caption_variant_train_no_run_again(finished, changed_config):
    """Another learning rate trains the runs again that have it, and those that start from them."""

    def change(config):
        config["baseline"]["standard"] = {"objective": "cross_entropy", "train_images": 300}
        (clip,) = [grid for grid in config["runs"] if grid["objective"] == "clip"]
        config["runs"].append(clip | {"caption": "title_tags", "source": "web", "seed": [1]})
        config["training"]["simclr"]["learning_rate"] /= 2
        return config

    changed_config(change)
    assert "measure_robustness" in finished.planned()
    jobs = planned_jobs(finished.said)
    assert jobs["assemble_captions"] == 1, "of the new run"
    assert jobs["train_run"] == 1 + 2, "the new run, SimCLR and what starts from it"
    assert "since its settings are others" in finished.reason()


def test_another_number_of_threads_trains_every_run_again(finished, changed_config):
    changed_config(lambda config: config | {"training": config["training"] | {"threads": 2}})
    finished.planned()
    trained = sum(stage == "train_run" for stage in finished.stage_of.values())
    assert planned_jobs(finished.said)["train_run"] == trained == 20


def test_another_number_of_runs_that_share_a_gpu_trains_and_measures_nothing_again(finished, changed_config):
    changed_config(lambda config: config | {"training": config["training"] | {"runs_per_gpu": 4}})
    assert finished.planned() == {"write_report"}, "it shows the config"


def test_a_fresh_clone_with_copied_results_has_nothing_to_do(finished, tmp_path):
    """Its own files are all newer than the results; the records of Snakemake are copied with these."""
    clone = copy.copy(finished)
    clone.study, clone.code = tmp_path / "study", tmp_path / "clone"
    shutil.copytree(finished.study, clone.study)
    shutil.rmtree(clone.study / "resources")
    shutil.copytree(finished.study / "resources", clone.study / "resources", copy_function=shutil.copy)
    shutil.copytree(finished.code, clone.code, copy_function=shutil.copy)
    with (clone.study / "resources" / "reference" / "vlhub_top1.csv").open("a") as table:
        table.write("\n")
    for name in ("similarity_bands.csv", "layout.txt"):
        (clone.study / "results" / "smoke" / name).unlink()
    assert clone.planned() == clone.after("measure_reference", "similarity_bands")
    assert "measure_reference, since a file that it reads is newer" in clone.reason()
    assert "results/smoke lacks files of similarity_bands" in clone.said
    assert "results/smoke is of an older layout" in clone.said


#: What rules on a GPU ask a machine for, with other values.
TAKEN = {
    "train_run": {
        "mem_mb": 9000, "runtime": 999, "processes": 2, "gpu": 2, "nodes": 2, "checkpoint_minutes": 1,
        "checkpoint_steps": 5, "loader_threads": 4, "runs_per_gpu": 4,
    },
    "embed_test_sets": {"mem_mb": 9000, "runtime": 999, "gpu": 2, "loader_threads": 4, "runs_per_gpu": 4},
    "fit_heads": {"mem_mb": 9000, "runtime": 999, "gpu": 2, "runs_per_gpu": 4},
}  # fmt: skip


def test_what_a_job_takes_of_a_machine_runs_nothing_again(root, finished):
    """Memory, time, GPUs, checkpoints and threads that read are resources: no part of a result."""
    for rule, values in TAKEN.items():
        named = rule_texts(root)[rule].split("    resources:\n")[1].split("    params:")[0]
        assert set(re.findall(r"^        (\w+)=", named, re.MULTILINE)) == set(values)
    given = [f"{rule}:{name}={value}" for rule, values in TAKEN.items() for name, value in values.items()]
    assert finished.planned("--set-resources", *given) == set()


def rooms_of(modules: set[str]) -> set[str]:
    """Return the packages that modules are in; the empty name for those in none."""
    return {module.rpartition(".")[0].partition(".")[0] for module in modules}


def test_training_and_evaluation_rebuild_no_data_and_no_model_twice(root):
    """Days of work hang on these: what reads photographs and captions knows nothing of what trains and evaluates."""
    scripts = root / "workflow" / "scripts"
    modules = {path.stem: set(all_modules(script_modules(path))) for path in scripts.glob("*.py")}
    for stage in (
        "build_photo_records", "index_images", "build_images", "assemble_captions", "match_text", "draw_subset",
        "compare_images", "decontaminate", "fetch_pairs", "list_pairs",
    ):  # fmt: skip
        assert rooms_of(modules[stage]) <= {"", "study", "data"}, stage
    assert rooms_of(modules["train_run"]) == {"", "study", "data", "training"}
    assert "report" not in rooms_of(modules["measure_robustness"])
    assert "snakemake" not in environment_version(scripts / "train_run.py")
    assert environment_version(scripts / "download_source.py") == {}


def test_a_stage_that_failed_is_told_from_one_whose_files_were_deleted(tmp_path, snakemake):
    write_picture(tmp_path / "test" / "cat" / "a.jpg", 0)
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n")
    (tmp_path / "mine.csv").write_text("file,class\na.jpg,cat,one too many\n")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(short_config(SOURCES, "test")))
    made = ["results/own/slices/mine/records.parquet", "results/own/slices/same/records.parquet"]
    assert snakemake(tmp_path, "--cores", "2", "--keep-going", "--", *made).returncode == 1
    (tmp_path / made[1]).unlink()
    said = snakemake(tmp_path, "-n", "--quiet", "all", "--", *made)
    lines = (said.stdout + said.stderr).splitlines()
    assert "build_photo_records failed the last time (the logs say why), and would be tried again" in lines, lines
    assert any(line.startswith("results/own lacks files of build_photo_records: deleted,") for line in lines), lines
