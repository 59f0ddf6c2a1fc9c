"""Planning a study against planning as many jobs that do nothing.

Ours is ``snakemake --dry-run`` of the paper's study, which needs none of its archives, and of a study of thousands of
runs; the peer is a dry run of as many independent one-line jobs, the least that Snakemake can be asked for.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import yaml

from benchmarks.rows import Aim, CannotMeasureError, Measured, Row, Setting

ROOT = Path(__file__).parent.parent

TRIVIAL = 'rule all:\n    input: expand("made/{{number}}", number=range({jobs}))\n' \
          'rule make:\n    output: "made/{{number}}"\n    shell: "touch {{output}}"\n'  # fmt: skip


def many_runs(runs: int) -> dict[str, object]:
    """Return a config of this many runs on icons, a tenth of them on subsets of their own."""
    config: dict[str, object] = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    grid = {
        "objective": "cross_entropy", "source": ["studio", "web"], "train_images": [500, 1000, 1500, 2000, 2500],
        "model": "icon_cnn", "samples_seen": [1000 * step for step in range(1, 11)],
    }  # fmt: skip
    comparison = {"comparison": "more images", "from": {"train_images": 500}, "to": {"train_images": 1000},
                "holds_fixed": "all else"}  # fmt: skip
    return config | {
        "study": "many_runs", "runs": [grid], "seeds": list(range(max(1, runs // 100))), "heads": [],
        "baseline": {"standard": {"objective": "cross_entropy"}, "scale": "logit"},
        "causes": {"training_set_size": [comparison]},
    }  # fmt: skip


def prepare(setting: Setting, runs: int) -> None:
    """Make a folder to plan in, with the config; nothing that the study reads is there."""
    (setting.folder / "resources").symlink_to(ROOT / "resources")
    paper = (ROOT / "config" / "paper.yaml").read_text(encoding="utf-8")
    text = yaml.safe_dump(many_runs(setting.size(runs, 100)), sort_keys=False) if runs else paper
    (setting.folder / "study.yaml").write_text(text, encoding="utf-8")


def plan(folder: Path, *arguments: str) -> tuple[float, str]:
    """Return the seconds that a dry run takes, and what it prints."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "rules", *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        raise CannotMeasureError(f"the dry run failed: {(done.stdout + done.stderr).strip()[-300:]}")
    return took, done.stdout + done.stderr


def ours(setting: Setting) -> Measured:
    """Plan the study; the number of its jobs is kept for the peer."""
    took, output = plan(setting.folder, "--snakefile", str(ROOT / "Snakefile"), "--configfile", "study.yaml")
    jobs = int(re.findall(r"^total +(\d+)", output, re.MULTILINE)[-1])
    (setting.folder / "jobs.txt").write_text(str(jobs), encoding="utf-8")
    return Measured(took, {"jobs": jobs})


def peer(setting: Setting) -> Measured:
    """Plan as many jobs that do nothing."""
    jobs = int((setting.folder / "jobs.txt").read_text(encoding="utf-8"))
    (setting.folder / "Trivial").write_text(TRIVIAL.format(jobs=jobs - 1), encoding="utf-8")
    took, _ = plan(setting.folder, "--snakefile", "Trivial")
    return Measured(took)


def _row(name: str, what: str, runs: int) -> Row:
    return Row(
        name=name,
        what=what,
        unit="s",
        ours=ours,
        peer="snakemake -n of as many jobs that do nothing",
        measure_peer=peer,
        aims={"cpu": (Aim(least=0.5),)},
        better="lower",
        prepare=partial(prepare, runs=runs),
        limit="Snakemake's own work for each job, and the start of Python",
        rounds=2 if runs else 3,
        devices=("cpu",),
    )


ROWS = (
    _row("plan_paper", "planning the paper's study", 0),
    _row("plan_many_runs", "planning a study of 10,000 runs", 10_000),
)
