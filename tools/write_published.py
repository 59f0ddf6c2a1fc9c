"""Fill the tables of docs/published-models.md and of README.md on published models: `python -m tools.write_published`.

Every table stands between ``<!-- made by python -m tools.write_published: NAME -->`` and ``<!-- end -->``; `PARTS` has
the names. Points are percentage points at the accuracy of the testbed's ResNet-50.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE
from whyrobust.analysis.published_study import make_tables
from whyrobust.files import write_text
from whyrobust.report.published_findings import QUESTIONS, answers
from whyrobust.report.published_rows import (
    Table,
    contrasts_table,
    depends_table,
    disagreements_table,
    indirect_table,
    interval_text,
    lines_table,
    second_axes_table,
    undocumented_table,
)
from whyrobust.study.display_names import MEAN, NO_INTERVAL

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "docs" / "published-models.md", ROOT / "README.md")
MARKER = re.compile(r"(<!-- made by python -m tools\.write_published: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
POOLS = ("CommonPool", "DataComp")


def fill(text: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return the page with its tables up to date.

    Raises:
        KeyError: for a name that is not in `PARTS`.
    """
    return MARKER.sub(lambda match: match[1] + PARTS[match[2]](tables) + match[3], text)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"


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
        shown = [interval_text({str(k): v for k, v in by_shift[shift].items()}) for shift in (MEAN, *MAIN_SHIFTS)]
        _, control, treatment, _, basis = (str(value) for value in values)
        name = f"{control} → {treatment}" + (f" ({basis})" if basis else "")
        count = f"{mean['architectures']} / {mean['pairs']}"
        raw = f"{mean['raw_id_points']:+.1f}; {mean['raw_shift_points']:+.1f}"
        beyond = f"{100 * mean['extrapolated_share']:.0f} %"
        verdict = "-" if mean["verdict"] == NO_INTERVAL else mean["verdict"]
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


def _markdown(make: Callable[[Mapping[str, pd.DataFrame]], Table]) -> Callable[[Mapping[str, pd.DataFrame]], str]:
    def part(tables: Mapping[str, pd.DataFrame]) -> str:
        table = make(tables)
        return _table(list(table.head), [list(row) for row in table.rows])

    return part


def _both_answers(tables: Mapping[str, pd.DataFrame]) -> str:
    """Return what the default study compares for each cause, beside what published models answer."""
    causes = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["causes"]
    rows = []
    for one in answers(tables["effects"], tables["indirect"]):
        compared = causes[QUESTIONS[one.question][0]][0]["comparison"]
        # A comparison of one architecture has no interval and is left to the page.
        told = [sentence for sentence in one.sentences if "no interval" not in sentence][:2]
        rows.append([one.title.lower(), compared, " ".join(told)])
    head = ["cause", "models trained here: compared", "models published: effect on effective robustness"]
    return _table(head, rows)


PARTS: dict[str, Callable[[Mapping[str, pd.DataFrame]], str]] = {
    "both_answers": _both_answers,
    "distribution": _distribution,
    "filters": _filters,
    "size": _question("size"),
    "language_training": _question("language_training"),
    "language_test": _question("language_test"),
    "contrastive_loss": _question("contrastive_loss"),
    "indirect": _markdown(indirect_table),
    "contrasts": _markdown(contrasts_table),
    "lines": _markdown(lines_table),
    "depends": _markdown(depends_table),
    "second_axes": _markdown(second_axes_table),
    "disagreements": _markdown(disagreements_table),
    "undocumented": _markdown(undocumented_table),
}

if __name__ == "__main__":
    made = make_tables(ROOT / "resources" / "reference")
    for page in PAGES:
        write_text(page, fill(page.read_text(encoding="utf-8"), made))
