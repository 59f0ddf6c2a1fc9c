"""How near training images come to test images, and what a source adds on those that it comes nearer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from whyrobust.report.number_format import format_percent, format_points, format_points_interval
from whyrobust.report.page_parts import holds_zero, table_rows
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import count_noun, name_objective, spaced

#: A band of fewer test images is marked: one image moves its accuracy by several points. A rule of thumb of our own.
FEWEST_IMAGES: Final = 30


@dataclass(frozen=True)
class BandTable:
    """One comparison in bands of similarity.

    Attributes:
        title: the comparison and the objective.
        summary: what the shifts that take part in verdicts show, in a sentence.
        test_sets: in the order of the columns.
        rows: ``words`` (the band) and ``cells``: by test set ``effect, interval, images`` and ``few``: whether
            these are.
        warning: how many cells rest on few images; nothing where none does.
    """

    title: str
    summary: str
    test_sets: list[str]
    rows: list[dict[str, Any]]
    warning: str


def similarity_section(study: StudyTables) -> dict[str, Any] | None:
    """Return the values of the part on similarity, or None where a study has no such table."""
    if study.nearest_sources.empty:
        return None
    bands = study.similarity_bands
    counted = study.shifts.loc[study.shifts["role"] == "shift", "test_set"]
    groups = bands.groupby(["comparison", "objective"], sort=False) if len(bands) else ()
    return {
        "sources": list(dict.fromkeys(study.nearest_sources["source"])),
        "nearest": nearest_rows(study.nearest_sources),
        "bands": [band_table(part, list(counted)) for _, part in groups],
    }


def nearest_rows(nearest: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row per test set: by source the median similarity and the share of images that it is nearest to."""
    rows = []
    for test_set, part in nearest.groupby("test_set", sort=False):
        of_test_set = table_rows(part)
        rows.append(
            {
                "test_set": str(test_set),
                "images": int(of_test_set[0]["images"]),
                "cells": {
                    str(row["source"]): {
                        "similarity": f"{row['median_similarity']:.2f}",
                        "nearest": format_percent(row["nearest_share"]),
                    }
                    for row in of_test_set
                },
                "equal": format_percent(1 - sum(float(row["nearest_share"]) for row in of_test_set)),
            }
        )
    return rows


def band_table(bands: pd.DataFrame, counted: list[str]) -> BandTable:
    """Return one comparison in bands as a table.

    Args:
        bands: rows of ``similarity_bands.csv`` of one comparison and objective.
        counted: the shifts that take part in verdicts.
    """
    first = table_rows(bands)[0]
    start, end = spaced(str(first["from"])), spaced(str(first["to"]))
    rows = []
    for _, part in bands.groupby(["band_low", "band_high"]):
        low, high = (float(part[name].iloc[0]) for name in ("band_low", "band_high"))
        cells = {
            str(row["test_set"]): {
                "effect": format_points(row["difference_points"]),
                "interval": format_points_interval(row["low_points"], row["high_points"]),
                "images": count_noun(int(row["images"]), "image"),
                "few": bool(row["images"] < FEWEST_IMAGES),
            }
            for row in table_rows(part)
        }
        rows.append({"words": name_band(low, high, start, end), "cells": cells})
    title = (
        f"{first['comparison']}, {name_objective(str(first['objective']))}, {count_noun(int(first['pairs']), 'pair')}"
    )
    of_shifts = bands[bands["test_set"].isin(counted)]
    few = int((bands["images"] < FEWEST_IMAGES).sum())
    warning = (
        f"{few} of {count_noun(len(bands), 'cell')} {'rests' if few == 1 else 'rest'} on fewer than {FEWEST_IMAGES} "
        "images, marked with ⚠: too few to say anything by themselves."
    )
    test_sets = list(dict.fromkeys(bands["test_set"]))
    return BandTable(title, summarise_bands(of_shifts, end), test_sets, rows, warning if few else "")


def name_band(low: float, high: float, start: str, end: str) -> str:
    """Name a band of the difference of two similarities, "to" minus "from": ``web nearer by .03 to .10``."""
    if low < 0 < high:
        return "equally near"
    source, near, far = (end, low, high) if low >= 0 else (start, -high, -low)
    least, most = (f"{value:.2f}".removeprefix("0") for value in (near, far))
    # Correlations differ by 2 at most.
    return f"{source} nearer by {least} " + ("or more" if far >= 2 else f"to {most}")


def summarise_bands(bands: pd.DataFrame, end: str) -> str:
    """Say between what the differences lie on images equally near to both sources, and on those nearest to one.

    Args:
        bands: rows of the shifts that take part in verdicts.
        end: the source whose runs come second.
    """
    equal = bands[(bands["band_low"] < 0) & (bands["band_high"] > 0)]
    nearest = bands[(bands["band_low"] > 0) & (bands["band_high"] >= 2)]
    parts = [(equal, "On images equally near to both"), (nearest, f"on those that {end} comes clearly nearer to")]
    told = [f"{words}, {_range_of(table_rows(part))}" for part, words in parts if len(part)]
    return f"{'; '.join(told)}." if told else ""


def _range_of(rows: list[dict[str, Any]]) -> str:
    values = [float(row["difference_points"]) for row in rows]
    apart = sum(not holds_zero(row["low_points"], row["high_points"]) for row in rows)
    ends = " to ".join(dict.fromkeys(format_points(value) for value in (min(values), max(values))))
    return f"{ends} points on {count_noun(len(rows), 'shift')} ({apart} of {len(rows)} intervals leave out zero)"
