"""All messages that inputs from the field cause, on one page: `make messages`.

A plugin of pytest: it runs the tests that the table "Inputs from the field" of docs/reliability.md names, notes every
error of this repository that is made in them and every warning that is logged, and writes them by row of the table.
Messages in the terminals of other processes, such as Snakemake's, are not seen.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tools
import whyrobust

DOCS = Path(__file__).parent.parent / "docs" / "reliability.md"

#: Messages of one test that the page shows: tests of all mutations of a config make thousands.
MOST_MESSAGES = 25

#: What is of the test and not of the message: folders of pytest.
_OF_THE_TEST = re.compile(r"/\S*?/pytest-\d+/[^/\s]+(?:/popen-gw\d+)?")


def rows_of_table(text: str) -> dict[str, list[str]]:
    """Return the tests of each input in the table of inputs from the field."""
    section = text.split("## Inputs from the field", 1)[1].split("\n## ", 1)[0]
    cells = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: re.findall(r"`(test_\w+)`", row[2]) for row in cells[1:]}


class Messages(logging.Handler):
    """The messages of each test, by the name of its function."""

    def __init__(self, page: Path) -> None:
        super().__init__(logging.WARNING)
        self.page, self.test = page, ""
        self.rows = rows_of_table(DOCS.read_text(encoding="utf-8"))
        self.found: dict[str, dict[str, str]] = {}

    def add(self, message: str) -> None:
        """Note a message; of those that differ in numbers alone, the first."""
        shown = _OF_THE_TEST.sub("", message)
        self.found.setdefault(self.test, {}).setdefault(re.sub(r"\d+", "0", shown), shown)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a warning."""
        self.add(f"{record.levelname}: {record.getMessage()}")

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave the tests that the table names, and listen."""
        named = {name for tests in self.rows.values() for name in tests}
        left = [item for item in items if getattr(item, "originalname", "") not in named]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
        logging.getLogger("whyrobust").addHandler(self)
        for package in (whyrobust, tools):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                for kind in vars(importlib.import_module(module.name)).values():
                    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.name:
                        kind.__init__ = noting(kind.__init__, self.add)  # type: ignore[misc, assignment]

    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Remember which test makes the next messages."""
        self.test = getattr(item, "originalname", item.name)

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        lines = ["# Messages that inputs from the field cause", ""]
        for row, names in self.rows.items():
            lines += [f"## {row}", ""]
            for name in names:
                shapes = list(self.found.get(name, {}).values())
                # What is said again as a part of a longer message is left out.
                shown = [text for text in shapes if not any(text != other and text in other for other in shapes)]
                lines += [f"`{name}`" + ("" if shown else ": no message"), ""]
                lines += [f"- {text.strip()}" for text in shown[:MOST_MESSAGES]]
                lines += [f"- ... and {len(shown) - MOST_MESSAGES} more"] if len(shown) > MOST_MESSAGES else []
                lines += [""] if shown else []
        self.page.parent.mkdir(parents=True, exist_ok=True)
        self.page.write_text("\n".join(lines), encoding="utf-8")


def noting(made: Callable[..., None], note: Callable[[str], None]) -> Callable[..., None]:
    """Return a constructor of errors that notes their messages."""

    def init(self: Exception, *arguments: Any) -> None:
        made(self, *arguments)
        note(str(self))

    return init


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--messages", default="results/messages.md", help="the page to write")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Messages(config.rootpath / config.getoption("--messages")))
