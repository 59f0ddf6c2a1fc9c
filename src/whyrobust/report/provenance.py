"""The record of a finished study: code, machine, inputs, outputs, times of its stages, licences, and its config.

Passwords of the config are left out.
"""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from whyrobust.files import checksum
from whyrobust.study.code_version import PACKAGE_FOLDER, package_versions
from whyrobust.study.finished_work import sum_taken
from whyrobust.study.stages import all_needs

if TYPE_CHECKING:
    from whyrobust.study.pinned_sources import PinnedSource

PACKAGES: Final = (
    "torch",
    "open_clip_torch",
    "timm",
    "numpy",
    "pandas",
    "pyarrow",
    "scipy",
    "altair",
    "resvg-py",
    "snakemake",
)
"""Packages whose versions are on record."""


def record_study(
    study: str,
    config: Mapping[str, Any],
    downloads: Sequence[PinnedSource],
    sizes: pd.DataFrame,
    removed: pd.DataFrame,
    tables: Sequence[Path | str],
    inputs: Sequence[Path | str],
    folder: Path,
) -> dict[str, Any]:
    """Return the record of a finished study, as ``provenance.json`` holds it.

    Args:
        study: its name.
        config: its config.
        downloads: the downloaded files that it used.
        sizes: ``decontaminated/sizes.csv``.
        removed: ``decontaminated/counts.csv``.
        tables: its main tables, whose checksums are recorded by file name.
        inputs: the small files that it read, whose checksums are recorded by path; those below the workflow's folder
            start there.
        folder: of its results, with Snakemake's ``benchmarks`` and the jobs' ``logs``. Stages that may still run are
            left out: those that the page does not wait for.
    """
    ended = all_needs()["write_report"]
    times, taken = stage_times(folder / "benchmarks", ended), sum_taken(folder / "logs")
    return {
        "study": study,
        "commit": git_commit(PACKAGE_FOLDER),
        "machine": machine(),
        "packages": package_versions(PACKAGES),
        "downloads": {row.name: {"version": row.version, "checksum": row.checksum} for row in downloads},
        "images": sizes.to_dict("records"),
        "training_images_removed": removed.to_dict("records"),
        "checksums_sha256": {Path(path).name: checksum(path) for path in tables},
        "seconds_by_stage": times,
        "taken_from_finished_work": {stage: work for stage, work in taken.items() if stage in ended},
        "inputs_sha256": {_shown(path): checksum(path) for path in inputs},
        "config": without_secrets(config),
    }


def _shown(path: Path | str) -> str:
    workflow = PACKAGE_FOLDER.parents[1]
    return str(Path(path).relative_to(workflow) if Path(path).is_relative_to(workflow) else path)


def count_images(
    samples_seen: int, accuracy: pd.DataFrame, test_sets: Sequence[str], sizes: pd.DataFrame, evaluated_runs: int
) -> dict[str, int]:
    """Return how many images each stage that processes images went through.

    Args:
        samples_seen: training images shown to all runs together, repeats included.
        accuracy: ``accuracy.csv``.
        test_sets: the test sets that every run is evaluated on.
        sizes: ``decontaminated/sizes.csv``.
        evaluated_runs: number of runs.
    """
    test_images = accuracy.drop_duplicates("test_set").set_index("test_set")["images"]
    decoded = int(sizes["decoded"].sum())
    return {
        "train_run": samples_seen,
        "embed_test_sets": int(test_images[list(test_sets)].sum()) * evaluated_runs,
        "build_images": decoded,
        "index_images": decoded,
        "decontaminate": decoded,
    }


def list_licences(downloads: Sequence[PinnedSource], icon_sets: pd.DataFrame | None) -> pd.DataFrame:
    """Return the licence of everything that a study uses.

    Args:
        downloads: the downloaded files that it used.
        icon_sets: the table of icon sets (``set, team, part, licence``), where it uses icons.

    Returns:
        ``name, by, part, licence``.
    """
    columns = ["name", "by", "part", "licence"]
    files = [(row.name, row.citation, "downloaded", row.licence) for row in downloads]
    tables = [pd.DataFrame(files, columns=columns)] if files else []
    if icon_sets is not None:
        used = icon_sets[icon_sets["part"] != "excluded"]
        tables.append(used.rename(columns={"set": "name", "team": "by"}))
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns)


def without_secrets(config: Any) -> Any:  # noqa: ANN401 - a config value
    """Return a config with its passwords left out: a record is shown to others, and so is the page."""
    if isinstance(config, Mapping):
        return {
            str(name): "(not shown)" if name == "password" else without_secrets(value) for name, value in config.items()
        }
    return [without_secrets(value) for value in config] if isinstance(config, list | tuple) else config


def git_commit(folder: Path) -> str:
    """Return the commit of a checkout, with '+changes' when files differ from it, or 'unknown'."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine() -> dict[str, str | int]:
    """Return what the study ran on: processor, cores, memory in GB, system, Python."""
    import psutil

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return {
        "processor": name,
        "cores": psutil.cpu_count() or 0,
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def stage_times(folder: Path, ended: Container[str]) -> dict[str, dict[str, float]]:
    """Sum Snakemake's benchmark files by stage: jobs, wall seconds and largest memory in MB.

    Only files of stages that have ended are read: those of others may go at any moment.
    """
    stages: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        name = path.relative_to(folder).parts[0].removesuffix(".tsv")
        if name not in ended:
            continue
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        stage = stages.setdefault(name, {"jobs": 0, "seconds": 0.0, "memory_mb": 0.0})
        for row in rows:
            stage["jobs"] += 1
            stage["seconds"] = round(stage["seconds"] + float(row["s"]), 1)
            stage["memory_mb"] = max(
                stage["memory_mb"], float(row["max_rss"]) if row["max_rss"] not in ("", "-", "NA") else 0.0
            )
    return stages
