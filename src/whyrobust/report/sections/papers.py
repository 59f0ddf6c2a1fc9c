"""For papers: the figures in files, and LaTeX tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def papers_section(figures: Sequence[str], latex: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the section: the endings of each figure by name, and LaTeX tables by file name."""
    formats: dict[str, list[str]] = {}
    for name in sorted(figures):
        formats.setdefault(Path(name).stem, []).append(Path(name).suffix.removeprefix("."))
    return {"formats": formats, "latex": latex}
