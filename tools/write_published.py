"""Fill the tables of docs/published-models.md: `python -m tools.write_published`.

Every table stands between ``<!-- made by python -m tools.write_published: NAME -->`` and ``<!-- end -->``; `PARTS` has
the names. Points are percentage points at the accuracy of the testbed's ResNet-50.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.published_effects import MEAN
from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE, TIMM_LINE
from whyrobust.analysis.published_study import make_tables
from whyrobust.analysis.verdicts import ONE_UNIT
from whyrobust.files import write_text

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "published-models.md"
MARKER = re.compile(r"(<!-- made by python -m tools\.write_published: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHORT = {"imagenet-v2": "V2", "imagenet-sketch": "Sketch", "imagenet-r": "R", MEAN: "mean"}
POOLS = ("CommonPool", "DataComp")
SECOND_AXES = ("mscoco_retrieval", "country211")


def fill(text: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the page with its tables made anew.

    Raises:
        KeyError: for a name that is not in `PARTS`.
    """
    return MARKER.sub(lambda match: match[1] + PARTS[match[2]](tables) + match[3], text)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


def _interval(row: Mapping[str, float]) -> str:
    if row["low_points"] != row["low_points"]:
        return f"{row['effect_points']:+.1f}"
    return f"{row['effect_points']:+.1f} ({row['low_points']:.1f} to {row['high_points']:.1f})"


def _rows(effects: pd.DataFrame) -> str:
    """Return comparisons: the mean over three shifts and each shift, beyond the testbed's line."""
    key = ["question", "control", "treatment", "prediction", "basis"]
    testbed = effects[effects["line"] == TESTBED_LINE]
    rows = []
    for values, group in testbed.groupby(key, sort=False):
        by_shift = {str(row["shift"]): row for row in group.to_dict("records")}
        if MEAN not in by_shift:
            continue
        mean = by_shift[MEAN]
        shown = [_interval({str(k): v for k, v in by_shift[shift].items()}) for shift in (MEAN, *MAIN_SHIFTS)]
        _, control, treatment, _, basis = (str(value) for value in values)
        name = f"{control} → {treatment}" + (f" ({basis})" if basis else "")
        count = f"{mean['architectures']} / {mean['pairs']}"
        raw = f"{mean['raw_id_points']:+.1f}; {mean['raw_shift_points']:+.1f}"
        beyond = f"{100 * mean['extrapolated_share']:.0f} %"
        verdict = "-" if mean["verdict"] == ONE_UNIT else mean["verdict"]
        rows.append([name, count, raw, *shown, verdict, beyond])
    head = ["comparison", "architectures / pairs", "raw: ImageNet; shifts", "mean", "V2", "Sketch", "R", "verdict"]
    return _table([*head, "extrapolated"], rows)


def _question(name: str) -> Callable[[Mapping[str, pd.DataFrame]], str]:
    def part(tables: Mapping[str, pd.DataFrame]) -> str:
        effects = tables["effects"]
        return _rows(effects[effects["question"] == name])

    return part


def _distribution(tables: Mapping[str, pd.DataFrame]) -> str:
    effects = tables["effects"]
    pools = effects["control"].str.startswith(POOLS) | effects["treatment"].str.startswith("CommonPool")
    one = pools & ~effects["treatment"].isin(["MetaCLIP", "WIT-400M (OpenAI)"])
    return _rows(
        effects[(effects["question"] == "distribution") & ~one & ~effects["control"].str.startswith("CommonP")]
    )


def _filters(tables: Mapping[str, pd.DataFrame]) -> str:
    effects = tables["effects"]
    both = effects["control"].str.startswith(POOLS) & effects["treatment"].str.startswith(POOLS)
    return _rows(effects[(effects["question"] == "distribution") & both])


def _indirect(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables["indirect"]
    chosen = (table["line"] == TESTBED_LINE) & table["shift"].isin([MEAN, *MAIN_SHIFTS])
    chosen &= (table["first"] == "captions") & (table["control"] == "labels of ImageNet-1k")
    rows = []
    for second, group in table[chosen].groupby("second", sort=False):
        by_shift = {row["shift"]: row for row in group.to_dict("records")}
        values = [_interval({str(k): v for k, v in by_shift[shift].items()}) for shift in (MEAN, *MAIN_SHIFTS)]
        rows.append([str(second), *values, str(by_shift[MEAN]["verdict"])])
    return _table(["against captions", "mean", "V2", "Sketch", "R", "verdict"], rows)


def _contrasts(tables: Mapping[str, pd.DataFrame]) -> str:
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
    return _table(["against captions of LAION, logits", "V2", "Sketch", "R"], rows)


def _lines(tables: Mapping[str, pd.DataFrame]) -> str:
    names = {TESTBED_LINE: "testbed, to 2020", TIMM_LINE: "timm, to 2026"}
    rows = [
        [
            str(row["shift"]),
            str(row["x_test_set"]).replace("imagenet@", "classes of "),
            names[str(row["line"])] + ("" if row["part"] == "all" else f", {row['part']}".replace("_pivot", "")),
            str(row["models"]),
            *(f"{row[column]:.3f}" for column in ("slope", "intercept", "r_squared", "residual_sd")),
        ]
        for row in tables["lines"].to_dict("records")
    ]
    return _table(["shift", "x axis", "line", "models", "slope", "intercept", "R²", "spread (logits)"], rows)


def _depends(tables: Mapping[str, pd.DataFrame]) -> str:
    claims = tables["claims_by_line"]
    rows = [
        [
            f"{row['control']} → {row['treatment']}",
            SHORT[str(row["shift"])],
            *(f"{row[f'effect_points_{line}']:+.1f}, {row[f'verdict_{line}']}" for line in (TESTBED_LINE, TIMM_LINE)),
        ]
        for row in claims[claims["depends_on_line"] & (claims["shift"] == MEAN)].to_dict("records")
    ]
    return _table(["comparison", "shift", "testbed's line", "timm's line"], rows)


def _second_axes(tables: Mapping[str, pd.DataFrame]) -> str:
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
    return _table(["captions of", "models", "Sketch", "R", "ObjectNet"], rows)


def _disagreements(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables["disagreements"]
    rows = []
    for (other, counted), group in table.groupby(["other_collection", "collection"]):
        apart = group.assign(apart=group["difference_points"].abs()).groupby("accuracy")["apart"]
        values = [
            f"{apart.median().get(name, float('nan')):.2f}; {apart.max().get(name, float('nan')):.2f}"
            for name in ("imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_r")
        ]
        rows.append([f"{other}, {counted}", str(group["other_name"].nunique()), *values])
    return _table(["tables", "models", "ImageNet", "V2", "Sketch", "R"], rows)


def _undocumented(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables["undocumented"]
    rows = [
        [str(collection), f"`{key}`", str(len(group)), str(empty), str(group["note"].iloc[0])]
        for (collection, key, empty), group in table.groupby(["collection", "key", "empty"], sort=False)
    ]
    return _table(["table", "tag or group", "models", "not documented", "note"], rows)


PARTS: dict[str, Callable[[Mapping[str, pd.DataFrame]], str]] = {
    "distribution": _distribution,
    "filters": _filters,
    "size": _question("size"),
    "language_training": _question("language_training"),
    "language_test": _question("language_test"),
    "contrastive_loss": _question("contrastive_loss"),
    "indirect": _indirect,
    "contrasts": _contrasts,
    "lines": _lines,
    "depends": _depends,
    "second_axes": _second_axes,
    "disagreements": _disagreements,
    "undocumented": _undocumented,
}

if __name__ == "__main__":
    write_text(PAGE, fill(PAGE.read_text(encoding="utf-8"), make_tables(ROOT / "resources" / "reference")))
