"""Tables of captions: one per variant and slice of a source, so that a further variant leaves the others alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whyrobust.study.dataset_settings import Source


def caption_names(variant: str, text_slices: Iterable[str]) -> list[str]:
    """Return the names of the tables of a variant, one per slice."""
    return [f"{variant}/{name}" for name in text_slices]


def learns_from_columns(learnt: Iterable[tuple[str, str]], sources: Mapping[str, Source]) -> bool:
    """Tell whether a source and variant that runs learn from are captions in a column of the source's own."""
    return any(variant in sources[name].caption_columns for name, variant in learnt)


def group_captions(
    names: Mapping[tuple[str, str], Sequence[str]], files: Iterable[str]
) -> dict[str, dict[str, list[str]]]:
    """Return files by source and variant.

    Args:
        names: names of tables by source and variant.
        files: one per name, in their order.
    """
    waiting, grouped = iter(files), dict[str, dict[str, list[str]]]()
    for (source, variant), named in names.items():
        grouped.setdefault(source, {})[variant] = [next(waiting) for _ in named]
    return grouped


def caption_settings(variant: str, template: str, seed: int) -> dict[str, Any]:
    """Return those of the settings that the captions of a variant depend on."""
    used: dict[str, dict[str, Any]] = {"template": {"template": template}, "shuffled": {"seed": seed}}
    return used.get(variant, {})
