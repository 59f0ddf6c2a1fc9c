"""What several tests need: the repository, its configs and a way to call Snakemake."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from whyrobust.settings import with_defaults

#: What `make soak` prints at its end.
SOAK_COUNTS: Counter[str] = Counter()

ROOT = Path(__file__).parent.parent


@pytest.fixture
def soak_counts() -> Counter[str]:
    """Return the counts that `make soak` prints at its end."""
    SOAK_COUNTS.update(dict.fromkeys(("kills survived", "faults injected", "bad inputs tried", "differences found"), 0))
    return SOAK_COUNTS


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for name, count in SOAK_COUNTS.items():
        terminalreporter.write_line(f"{name}: {count}")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "workflow" / "schemas" / "defaults.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def config(defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the default config, complete: what it leaves out is filled."""
    return with_defaults(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")), copy.deepcopy(defaults))


def watched(folder: Path) -> dict[str, str]:
    """Return an environment in which every address that Python asks for is written to ``asked.txt`` in a folder."""
    paths = [str(ROOT / "tests" / "watch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "WHYROBUST_WATCH": str(folder / "asked.txt")}


@pytest.fixture(scope="session")
def snakemake() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Call Snakemake in a folder with the repository's Snakefile."""

    def call(folder: Path, *arguments: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=watched(folder) | {"COLUMNS": "200"},
        )

    return call


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return an empty folder that has the repository's resources and default config."""
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path
