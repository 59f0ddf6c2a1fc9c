"""Choosing the classes of a study: candidate nouns that every part draws often enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from whyrobust.data.label_matcher import CLASS_COLUMNS


def choose_classes(
    records: Mapping[str, pd.DataFrame],
    nouns: pd.DataFrame,
    minimum: Mapping[str, int],
    count_parts: Sequence[str] = (),
) -> pd.DataFrame:
    """Choose the classes of a study: the candidate nouns that every named part draws often enough.

    Distinct drawings (values of ``group``) are counted, not files, so that six styles of one drawing count
    once.

    Args:
        records: records by part, with ``label`` found among all candidate nouns.
        nouns: candidate nouns, a table of classes; where it has a column ``role``, only ``candidate`` rows
            can be chosen.
        minimum: fewest drawings wanted, by part. Parts without a minimum do not matter for the choice.
        count_parts: parts whose number of drawings is listed too.

    Returns:
        The chosen rows of ``nouns`` in alphabetical order: ``class``, ``synonyms``, ``excluded_phrases`` and
        one column of counts a part.

    Raises:
        ValueError: a part has no records table, or no noun is left.
    """
    parts = list(dict.fromkeys([*minimum, *count_parts]))
    absent = [part for part in parts if part not in records]
    if absent:
        raise ValueError(f"no records for the parts {absent}; there are {sorted(records)}")
    table = nouns[nouns["role"] == "candidate"] if "role" in nouns.columns else nouns
    chosen = table[list(CLASS_COLUMNS)].copy()
    for part in parts:
        frame = records[part]
        drawings = frame[frame["label"].notna()].groupby("label")["group"].nunique()
        chosen[part] = [int(drawings.get(name, 0)) for name in chosen["class"]]
    for part, fewest in minimum.items():
        chosen = chosen[chosen[part] >= fewest]
    if chosen.empty:
        raise ValueError(f"no noun has the fewest drawings wanted, {dict(minimum)}; lower them or add records")
    return chosen.sort_values("class", ignore_index=True)
