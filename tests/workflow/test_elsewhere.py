"""A study in a folder of its own, by a workflow in another one: as it is, and as a module of another workflow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_dag import ICON_STAGES, SHARED_STAGES, planned_jobs

USED_AS_MODULE = """
configfile: "my.yaml"


module robustness:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from robustness as why_*
"""


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of every file and folder below a folder."""
    found = {str(path): path.stat() for path in sorted(folder.rglob("*"))}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


@pytest.fixture
def clone(root, tmp_path):
    """Return a copy of the workflow that a test must leave as it is."""
    folder = tmp_path / "a clone"
    for name in ("workflow", "resources", "envs", "profiles"):
        shutil.copytree(root / name, folder / name)
    shutil.copy2(root / "Snakefile", folder)
    before = listing(folder)
    yield folder
    assert listing(folder) == before


def call(folder: Path, *arguments: str, **environment: str) -> str:
    """Call Snakemake in a folder and return what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_a_study_is_run_in_another_folder_than_the_workflows_and_leaves_that_as_it_is(root, clone, tmp_path):
    config = yaml.safe_load((root / "config" / "smoke.yaml").read_text(encoding="utf-8")) | {"study": "mine"}
    study = tmp_path / "mine"
    study.mkdir()
    (study / "my.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    # In the folder of the study lies a table of its own, which is used instead of the workflow's.
    sets = clone / "resources" / "icons" / "sets.csv"
    (study / "resources" / "icons").mkdir(parents=True)
    shutil.copy2(sets, study / "resources" / "icons")
    planned = call(
        tmp_path, "--snakefile", str(clone / "Snakefile"), "--directory", str(study),
        "--configfile", str(study / "my.yaml"), "--dry-run", "--quiet", "host",
    )  # fmt: skip
    assert set(planned_jobs(planned)) - {"all"} == SHARED_STAGES | ICON_STAGES
    (inputs,) = [line for line in planned.splitlines() if "input: downloads/iconify.tgz" in line]
    assert f", resources/icons/sets.csv, {clone}/resources/icons/classes.csv" in inputs
    assert list(tmp_path.glob("results")) == []

    (study / "Snakefile").write_text(USED_AS_MODULE.format(snakefile=clone / "Snakefile"), encoding="utf-8")
    target = "results/reference/baselines.csv"
    bytecode = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(tmp_path / "bytecode")}
    done = call(study, "--cores", "1", "--", target, **bytecode)
    assert planned_jobs(done) == {"why_measure_reference": 1} and (study / target).stat().st_size > 100
    assert list((tmp_path / "bytecode").rglob("whyrobust/analysis/*.pyc")), "the next job compiles all of it again"


def test_what_an_earlier_call_found_is_not_shown_as_what_this_one_did(workspace, snakemake):
    """This one makes a file that the page is not made of, or an older config made the page."""
    results = workspace / "results" / "icons"
    results.mkdir(parents=True)
    for name in ("summary.txt", "report.html"):
        (results / name).write_text("of an earlier call", encoding="utf-8")
    done = snakemake(workspace, "--cores", "1", "--", "results/reference/baselines.csv")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "of an earlier call" not in done.stdout + done.stderr
    assert "report.html" not in done.stdout + done.stderr


def test_letters_that_a_locale_lacks_are_written_by_their_numbers(workspace, root):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    said = call(
        workspace, "--snakefile", str(root / "Snakefile"), "--cores", "1", "--", "results/reference/baselines.csv",
        WHYROBUST_FINISHED_WORK=str(workspace / "gr\u00f6\u00dfer"), **ascii_only,
    )  # fmt: skip
    assert "Kept for other studies" in said and "\\udcc3" in said
    assert "Logging error" not in said and "UnicodeEncodeError" not in said
