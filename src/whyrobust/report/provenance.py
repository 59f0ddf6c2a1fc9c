"""The record of a finished study: commit, machine, times of its stages, and its config without passwords."""

from __future__ import annotations

import csv
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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


def stage_times(folder: Path) -> dict[str, dict[str, float]]:
    """Sum Snakemake's benchmark files by stage: jobs, wall seconds and largest memory in MB."""
    stages: dict[str, dict[str, float]] = {}
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter="\t"))
        stage = stages.setdefault(
            path.relative_to(folder).parts[0].removesuffix(".tsv"),
            {"jobs": 0, "seconds": 0.0, "memory_mb": 0.0},
        )
        for row in rows:
            stage["jobs"] += 1
            stage["seconds"] = round(stage["seconds"] + float(row["s"]), 1)
            stage["memory_mb"] = max(
                stage["memory_mb"], float(row["max_rss"]) if row["max_rss"] not in ("", "-", "NA") else 0.0
            )
    return stages
