"""Test sets of photographs that a source holds out: whose they are, which ones, and whether there are any.

They are read from the source's own files, which may have been fetched from the web, and get the labels that are found
in their texts: a test set in distribution for a source that nobody annotated.
"""

from __future__ import annotations

from collections.abc import Mapping

from whyrobust.study.dataset_settings import Dataset, Source, TestSet
from whyrobust.study.setting_checks import ConfigError


def source_of_held_out(dataset: Dataset) -> str:
    """Return the source that holds the photographs of a data set out, "" for every other data set."""
    return (dataset.source or "") if isinstance(dataset, TestSet) and dataset.row.held_out else ""


def held_out_range(source: Source) -> tuple[float, float] | None:
    """Return the numbers, from the first to below the second, of the photographs that a source leaves out.

    None where its ``drawn_between`` leaves out nothing, or something at both ends.
    """
    start, end = getattr(source, "drawn_between", None) or (0.0, 1.0)
    if (start > 0) == (end < 1):
        return None
    return (0.0, start) if start > 0 else (end, 1.0)


def check_held_out(test_sets: Mapping[str, TestSet], sources: Mapping[str, Source]) -> None:
    """Check that the source of every test set that is held out of one leaves photographs out.

    Args:
        test_sets: by name, each with a source that is there.
        sources: by name.

    Raises:
        ConfigError: the first problem.
    """
    for name, test_set in test_sets.items():
        source = source_of_held_out(test_set)
        if not source:
            continue
        if not hasattr(sources[source], "drawn_between"):
            raise ConfigError(
                f"config key test_sets.{name}.source is '{source}', of kind '{sources[source].kind}', which holds "
                "nothing out: allowed is a source of a kind with the key drawn_between (docs/config.md)"
            )
        if held_out_range(sources[source]) is None:
            given = getattr(sources[source], "drawn_between", None)
            raise ConfigError(
                f"config key sources.{source}.drawn_between is {list(given) if given else 'missing'}, but "
                f"test_sets.{name} has what it leaves out: allowed are two numbers of which either the first is 0 or "
                "the second is 1, such as [0.01, 1]"
            )
