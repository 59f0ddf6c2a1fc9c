"""Tables of the published models as text, for the page of `make published` and for docs/published-models.md.

Each function takes the tables of `whyrobust.analysis.published_study.TABLES` by name and returns a `Table`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE, TIMM_LINE
from whyrobust.study.display_names import MEAN

SHORT = {"imagenet-v2": "V2", "imagenet-sketch": "Sketch", "imagenet-r": "R", MEAN: "mean"}
LINE_WORDS = {TESTBED_LINE: "testbed, to 2020", TIMM_LINE: "timm, to 2026"}
SECOND_AXES = ("mscoco_retrieval", "country211")


@dataclass(frozen=True)
class Table:
    """A table of text: names of the columns, and rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def interval_text(row: Mapping[str, float]) -> str:
    """Return an effect in points with its interval, where it has one."""
    if row["low_points"] != row["low_points"]:
        return f"{row['effect_points']:+.1f}"
    return f"{row['effect_points']:+.1f} ({row['low_points']:.1f} to {row['high_points']:.1f})"


def indirect_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Treatments of no common architecture against captions, through labels of ImageNet-1k."""
    table = tables["indirect"]
    chosen = (table["line"] == TESTBED_LINE) & table["shift"].isin([MEAN, *MAIN_SHIFTS])
    chosen &= (table["first"] == "captions") & (table["control"] == "labels of ImageNet-1k")
    rows = []
    for second, group in table[chosen].groupby("second", sort=False):
        by_shift = {row["shift"]: row for row in group.to_dict("records")}
        values = [interval_text({str(k): v for k, v in by_shift[shift].items()}) for shift in (MEAN, *MAIN_SHIFTS)]
        rows.append([str(second), *values, str(by_shift[MEAN]["verdict"])])
    return Table(["against captions", "mean", "V2", "Sketch", "R", "verdict"], rows)


def contrasts_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """The regression's differences against captions of LAION, in logits."""
    table = tables["regression_contrasts"]
    chosen = (table["line"] == TESTBED_LINE) & (table["first"] == "captions of LAION")
    chosen &= table["second"].str.contains("hashtag|YFCC|WIT|MetaCLIP|DataComp|DFN")
    rows = []
    for second, group in table[chosen].groupby("second", sort=False):
        by_shift = {row["shift"]: row for row in group.to_dict("records")}
        values = [
            "{effect_logits:+.2f} ({low_logits:.2f} to {high_logits:.2f})".format_map(by_shift[shift])
            for shift in MAIN_SHIFTS
        ]
        rows.append([str(second), *values])
    return Table(["against captions of LAION, logits", "V2", "Sketch", "R"], rows)


def lines_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Both baselines of every shift and x axis."""
    rows = [
        [
            str(row["shift"]),
            str(row["x_test_set"]).replace("imagenet@", "classes of "),
            LINE_WORDS[str(row["line"])] + ("" if row["part"] == "all" else f", {row['part']}".replace("_pivot", "")),
            str(row["models"]),
            *(f"{row[column]:.3f}" for column in ("slope", "intercept", "r_squared", "residual_sd")),
        ]
        for row in tables["lines"].to_dict("records")
    ]
    return Table(["shift", "x axis", "line", "models", "slope", "intercept", "R²", "spread (logits)"], rows)


def depends_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Comparisons of which the verdict, or the sign, depends on whose line is used, in the mean over shifts."""
    claims = tables["claims_by_line"]
    rows = [
        [
            f"{row['control']} → {row['treatment']}",
            SHORT[str(row["shift"])],
            *(f"{row[f'effect_points_{line}']:+.1f}, {row[f'verdict_{line}']}" for line in (TESTBED_LINE, TIMM_LINE)),
        ]
        for row in claims[claims["depends_on_line"] & (claims["shift"] == MEAN)].to_dict("records")
    ]
    return Table(["comparison", "shift", "testbed's line", "timm's line"], rows)


def second_axes_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Mean residuals of zero-shot models: beyond ImageNet; beyond it and each of `SECOND_AXES`."""
    table = tables["second_axis_residuals"]
    table = table[table["second_axis"].isin(SECOND_AXES)]
    rows = []
    for data, group in table.groupby("data"):
        values = []
        for shift in ("imagenet-sketch", "imagenet-r", "objectnet"):
            here = group[group["shift"] == shift]
            planes = here.groupby("second_axis")["beyond_plane"].mean()
            values.append(
                f"{here['beyond_line'].mean():+.2f}; " + "; ".join(f"{planes[one]:+.2f}" for one in SECOND_AXES)
            )
        rows.append([str(data), str(group["model"].nunique()), *values])
    return Table(["captions of", "models", "Sketch", "R", "ObjectNet"], rows)


def disagreements_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """By how many points two tables differ on one model: median; largest."""
    table = tables["disagreements"]
    rows = []
    for (other, counted), group in table.groupby(["other_collection", "collection"]):
        apart = group.assign(apart=group["difference_points"].abs()).groupby("accuracy")["apart"]
        values = [
            f"{apart.median().get(name, float('nan')):.2f}; {apart.max().get(name, float('nan')):.2f}"
            for name in ("imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_r")
        ]
        rows.append([f"{other}, {counted}", str(group["other_name"].nunique()), *values])
    return Table(["tables", "models", "ImageNet", "V2", "Sketch", "R"], rows)


def undocumented_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Models with an empty field, by tag or group."""
    table = tables["undocumented"]
    rows = [
        [str(collection), f"{key}", str(len(group)), str(empty), str(group["note"].iloc[0])]
        for (collection, key, empty), group in table.groupby(["collection", "key", "empty"], sort=False)
    ]
    return Table(["table", "tag or group", "models", "not documented", "note"], rows)


def left_out_table(tables: Mapping[str, pd.DataFrame]) -> Table:
    """Rows of the published tables that do not count, by reason; those that count under another name together."""
    table = tables["left_out"]
    other_name = table["why"].str.startswith("counts as ")
    why = table["why"].where(~other_name, "the same weights count under another name")
    rows = [
        [str(collection), str(len(group)), str(reason), "; ".join(group["model"].iloc[:3])]
        for (collection, reason), group in table.groupby(["collection", why], sort=False)
    ]
    return Table(["table", "rows", "why", "for example"], rows)


def sources_table(pretraining: pd.DataFrame) -> Table:
    """What each kind of pretraining is, and where it can be looked up; the last column is an address."""
    fields = ("collection", "key", "data", "supervision", "objective", "teacher", "predicts", "source", "url")
    table = pretraining[list(fields)].drop_duplicates()
    return Table(
        ["table", "tag or group", *(field.replace("_", " ") for field in fields[2:])],
        [[str(cell) or "not documented" for cell in row] for row in table.to_numpy(dtype=object).tolist()],
    )
