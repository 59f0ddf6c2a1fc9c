"""Running whole studies in folders of their own, and what two of them must have in common byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import ItemsView
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from whyrobust.files import checksum
from whyrobust.study.finished_work import OFF, VARIABLE

ROOT = Path(__file__).parent.parent

#: What tells of the run and not of the study: times, machines, and pages and pictures that show them.
OF_THE_RUN = ("logs", "benchmarks", "report.html", "provenance.json")

#: What lets a study make everything itself.
ALONE = {VARIABLE: OFF}

#: Endings of tables, subsets, images, embeddings and checkpoints; of figures, the tables that they are drawn from.
COMPARED = (".csv", ".parquet", ".arrow", ".npy", ".npz", ".safetensors", ".json", ".txt")


def make_folder(folder: Path, config_name: str = "smoke.yaml") -> Path:
    """Make a folder in which a study can be run; downloads are shared."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "resources").exists():
        (folder / "resources").symlink_to(ROOT / "resources")
    config = yaml.safe_load((ROOT / "config" / config_name).read_text(encoding="utf-8"))
    config["downloads"] = str(ROOT / "downloads")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def watched(folder: Path) -> dict[str, str]:
    """Return an environment in which every address that Python asks for is written to ``asked.txt`` in a folder."""
    paths = [str(ROOT / "tests" / "watch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return ALONE | os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WHYROBUST_WATCH": str(folder / "asked.txt")}


def snakemake_command(*arguments: str) -> list[str]:
    """Return the call of Snakemake with this repository's workflow."""
    return [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments]


def run_study(folder: Path, cores: int) -> None:
    """Run a study to its end."""
    done = subprocess.run(
        snakemake_command("--cores", str(cores), "--rerun-incomplete", "--quiet", "all"),
        cwd=folder, capture_output=True, text=True, check=False, env=watched(folder) | {"COLUMNS": "200"},
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"the study in {folder} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")


def digests(folder: Path) -> dict[str, str]:
    """Return the checksum of every table, subset, store of images and checkpoint under ``results``, by its path.

    What a killed job was about to write has a hidden temporary name, and is no result.
    """
    results = folder / "results"
    parts_of = {path: path.relative_to(results).parts for path in sorted(results.rglob("*"))}
    return {
        "/".join(parts): checksum(path)
        for path, parts in parts_of.items()
        if path.is_file()
        and path.suffix in COMPARED
        and not set(parts) & set(OF_THE_RUN)
        and not any(part.startswith(".") for part in parts)
    }


def differences(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Return the paths that only one has, or that differ."""
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def short_config(sources: dict[str, Any], test_folder: str) -> dict[str, Any]:
    """Return the shortest config of a study of photographs: two sizes of its first source, two test sets."""
    folder = {"kind": "image_folder", "folder": test_folder}
    return {
        "study": "own",
        "data": {"classes": "classes.csv", "image_size": 64},
        "sources": sources,
        "test_sets": {
            "same": folder | {"role": "in_distribution", "classes": "all"},
            "other": folder | {"role": "shift", "classes": "own"},
        },
        "runs": [{"objective": "cross_entropy", "source": next(iter(sources)), "train_images": [2, 4]}],
        "training": {"samples_seen": 100},
        "baseline": {"standard": {"objective": "cross_entropy"}},
        "causes": {
            "training_set_size": [
                {"comparison": "x", "from": {"train_images": 2}, "to": {"train_images": 4}, "holds_fixed": "y"}
            ]
        },
    }


class Named(SimpleNamespace):
    """Inputs, outputs or parameters by name, as Snakemake gives them to a script."""

    def items(self) -> ItemsView[str, Any]:
        """Return the pairs of name and value."""
        return vars(self).items()
