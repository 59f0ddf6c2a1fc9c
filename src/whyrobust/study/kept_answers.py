"""Answers that take long to find and follow from file contents alone, kept from one start of Snakemake to the next."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from whyrobust.files import write_text

#: Answers that are kept: some times those of one plan, so that studies with other stages do not push each other out.
MOST = 2_000

T = TypeVar("T")


class KeptAnswers:
    """Answers by their questions, in a file beside Python's bytecode.

    A question holds checksums of all that its answer follows from, so an answer never gets old. Nothing depends on the
    file: one that is missing, damaged or of another maker holds no answers, and where it cannot be written, or Python
    keeps no bytecode, they are found again. Processes may read and write it at once, since it is replaced as a whole.

    Args:
        path: of the file.
        maker: a version of what finds the answers.
    """

    def __init__(self, path: Path, maker: str) -> None:
        self.path, self.maker = path, maker
        self._used: dict[str, object] = {}
        self._has_new = False

    def _read(self) -> dict[str, object]:
        with suppress(OSError, ValueError, TypeError, KeyError):
            read = json.loads(self.path.read_text(encoding="utf-8"))
            if read["maker"] == self.maker:
                return dict(read["answers"])
        return {}

    @cached_property
    def _kept(self) -> dict[str, object]:
        return self._read()

    def answer(self, question: str, find: Callable[[], T]) -> T:
        """Return the kept answer to a question, else the one that ``find`` returns, a value that JSON can hold."""
        if question not in self._used:
            self._has_new |= question not in self._kept
            self._used[question] = self._kept[question] if question in self._kept else find()
        found: T = self._used[question]  # type: ignore[assignment]  # as ``find`` returned it, or its like
        return found

    def save(self) -> None:
        """Write the answers if there are new ones, those that were used before others, with what others wrote since."""
        if self._has_new and not sys.dont_write_bytecode:
            answers = dict(list((self._used | self._read()).items())[:MOST])
            with suppress(OSError):
                write_text(self.path, json.dumps({"maker": self.maker, "answers": answers}))
                self._has_new = False
