"""What several tests need: the repository, its configs and a way to call Snakemake."""

from __future__ import annotations

import logging
import os
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import settings
from playwright.sync_api import Browser, Page, sync_playwright

from tests.studies import ALONE, Named, watched
from tools.browser import ALL_DRAWN, DRAW_ALL, find_browser

#: What `make soak` prints at its end.
SOAK_COUNTS: Counter[str] = Counter()

#: Files that take ten seconds or more, the longest first: the workers then end at about the same time. Without this
#: order the workers take files by their number of tests, and whole studies, which are few tests, come last.
LONG_FILES = (
    "workflow/test_paper_check.py",
    "workflow/test_smoke.py",
    "workflow/test_own_data.py",
    "workflow/test_benchmarks.py",
    "workflow/test_caching.py",
    "data/test_merge_slices.py",
    "analysis/test_coverage.py",
    "training/test_resume.py",
    "report/test_page.py",
    "training/test_job.py",
    "report/test_page_state.py",
    "workflow/test_profiles.py",
    "workflow/test_dag.py",
    "training/test_pretended_gpu.py",
    "training/test_gpu.py",
    "report/test_charts.py",
    "workflow/test_given_files.py",
    "data/test_drawing_faults.py",
    "workflow/test_scheduling.py",
    "workflow/test_disk_faults.py",
    "workflow/test_network.py",
    "workflow/test_environments.py",
    "analysis/test_simulated_causes.py",
    "report/test_published_page.py",
    "training/test_loop.py",
    "workflow/test_elsewhere.py",
    "data/test_img2dataset.py",
    "test_peek.py",
    "training/test_distributed.py",
    "data/test_phrase_search.py",
)

# A shared machine may pause for longer than a deadline; what must be fast has a test of its own.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

ROOT = Path(__file__).parent.parent

# A test's study makes everything itself, and leaves nothing for the studies of whoever runs the tests.
os.environ |= ALONE

# `make test` has more workers than there are cores, and studies of tests have jobs beside them: threads of one process
# would only wait for each other. Read when torch and numpy are imported: no test is before this. Snakemake sets it for
# its jobs.
os.environ |= {"OMP_NUM_THREADS": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of `LONG_FILES` first; the others stay in their order."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


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


@pytest.fixture
def config() -> dict[str, Any]:
    """Return the default config, as it is written."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


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


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Leave the package's log as it was: a stage that a test runs here starts one, and the next test would hear it."""
    log = logging.getLogger("whyrobust")
    level, handlers = log.level, list(log.handlers)
    yield
    for handler in [handler for handler in log.handlers if handler not in handlers]:
        log.removeHandler(handler)
        handler.close()
    log.setLevel(level)


@pytest.fixture
def stage(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a script as its rule does, with the files that are named."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)

    def run(
        script: str,
        wildcards: dict[str, str],
        inputs: dict[str, Any],
        outputs: dict[str, Any],
        threads: int = 1,
        **params: Any,
    ) -> None:
        given = SimpleNamespace(
            wildcards=Named(**wildcards),
            input=Named(**inputs),
            output=Named(**outputs),
            params=Named(**params),
            log=[str(tmp_path / "log" / f"{script}.log")],
            threads=threads,
        )
        path = root / "workflow" / "scripts" / f"{script}.py"
        runpy.run_path(str(path), init_globals={"snakemake": given}, run_name="__main__")

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start a browser once for all tests that open a page."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open HTML in a new window, wait for its charts and tables, and fail on any complaint of the browser.

    Charts are drawn as they come near, and most of them for print: unless ``all_charts`` is false, all are asked for.
    """
    complaints, windows = [], []

    def opened(html: str, width: int = 1280, scheme: str = "light", all_charts: bool = True) -> Page:
        path = tmp_path / f"page {len(windows)}.html"
        path.write_text(html, encoding="utf-8")
        window = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        windows.append(window)
        window.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
        window.on("pageerror", lambda error: complaints.append(str(error)))
        window.on("request", lambda request: complaints.append(request.url) if loads(request.url, path) else None)
        window.goto(path.as_uri())
        window.wait_for_selector("html[data-charts=drawn][data-tables=there]", timeout=60_000)
        if all_charts:
            window.evaluate(DRAW_ALL)
            window.wait_for_function(ALL_DRAWN, timeout=60_000)
        return window

    yield opened
    for window in windows:
        window.close()
    assert complaints == []


def loads(url: str, path: Path) -> bool:
    """Tell whether a request goes anywhere but to the page itself."""
    return not url.startswith(("data:", "blob:")) and url.split("#")[0] != path.as_uri()
