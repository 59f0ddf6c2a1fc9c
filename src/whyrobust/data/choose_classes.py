"""Choosing the classes of the icons study: candidate nouns that every part draws often enough.

This is done once and committed (``resources/icons/classes.csv``); `choose_icon_classes` repeats it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from whyrobust.data.icon_parts import build_icon_records
from whyrobust.data.label_matcher import CLASS_COLUMNS, other_nouns
from whyrobust.study.kind_settings import ICON_PARTS

#: Fewest drawings of a class, alike for both sources: enough to learn and test it in each, and on most shifts.
MINIMUM_DRAWINGS = {"studio": 10, "web": 10, "studio_test": 2, "web_test": 2, "v2": 1, "rendition": 5}


def choose_classes(
    records: Mapping[str, pd.DataFrame],
    nouns: pd.DataFrame,
    minimum: Mapping[str, int],
    count_parts: Sequence[str] = (),
) -> pd.DataFrame:
    """Choose the candidate nouns that every named part draws often enough.

    Distinct drawings (values of ``group``) are counted, not files, so that six styles of one drawing count once.

    Args:
        records: records by part, with ``label`` found among all candidate nouns.
        nouns: candidate nouns, a table of classes; where it has a column ``role``, only ``candidate`` rows can be
            chosen.
        minimum: fewest drawings wanted, by part. Parts without a minimum do not matter for the choice.
        count_parts: parts whose number of drawings is listed too.

    Returns:
        The chosen rows of ``nouns`` in alphabetical order: ``class``, ``synonyms``, ``excluded_phrases`` and one column
        of counts per part.

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


def choose_icon_classes(
    archive: Path | str, sets: pd.DataFrame, nouns: pd.DataFrame, held_out_share: float, seed: int
) -> pd.DataFrame:
    """Choose the classes of the icons study, and count the images of each class in each part.

    Args:
        archive: the .tgz of the npm package ``@iconify/json``.
        sets: the table of sets, see `whyrobust.data.icon_parts.read_sets`.
        nouns: candidate nouns, see `choose_classes`.
        held_out_share: share of the groups of studio and of web that is held out.
        seed: seed of that split.

    Returns:
        What `choose_classes` returns for `MINIMUM_DRAWINGS`, and a column ``<part>_images`` per part.
    """
    build = partial(build_icon_records, archive, sets, held_out_share=held_out_share, seed=seed)
    found, _ = build(nouns)
    classes = choose_classes({part: records for part, (records, _) in found.items()}, nouns, MINIMUM_DRAWINGS)
    # Images are counted again: with fewer classes, other icons have one label only.
    chosen, _ = build(classes, other_nouns(nouns, classes))
    for part in ICON_PARTS:
        images = chosen[part][0]["label"].value_counts()
        classes[f"{part}_images"] = [int(images.get(name, 0)) for name in classes["class"]]
    return classes
