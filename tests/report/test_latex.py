"""What the LaTeX tables say, read back from the text."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pages import make_cause_row
from whyrobust.report.findings import EffectTerms
from whyrobust.report.latex import causes_table, effective_robustness_table, escape_latex, format_effect, main_table

LINES = (
    ("training_set_size", "5,000 instead of 50 % & more", "mean", 1.26, 0.2, 2.3, "raises"),
    ("training_set_size", "5,000 instead of 50 % & more", "imagenet_r", -3.04, -5.0, -1.1, "undecided"),
    ("training_distribution", "web_a instead of #1", "imagenet_r", math.nan, math.nan, math.nan, "not measured"),
    ("training_distribution", "web_a instead of #1", "mean", 0.01, -1.0, 1.0, "within ±2"),
    ("training_distribution", "a single seed", "mean", 2.0, math.nan, math.nan, "no interval"),
)
CAUSES = pd.DataFrame(
    make_cause_row(cause, comparison, shift, effect, 1.0, low_points=low, high_points=high, verdict=verdict)
    | {"main": comparison != "a single seed"}
    for cause, comparison, shift, effect, low, high, verdict in LINES
)
SINGLE = CAUSES.assign(x_test_set="studio_test", measurement="paper", effect_points=CAUSES["effect_points"] + 5)


def body(text):
    """Return the rows between the rules as lists of cells."""
    inside = text.split("\\midrule")[1].split("\\bottomrule")[0]
    return [re.split(r"(?<!\\)&", line.removesuffix("\\\\").strip()) for line in inside.splitlines() if "&" in line]


def balanced(text):
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    return depth == 0


def test_causes_have_a_row_a_comparison_and_a_cell_a_shift():
    text = causes_table(CAUSES, "my_study", EffectTerms())
    rows = [[cell.strip() for cell in row] for row in body(text)]
    assert [row[0] for row in rows] == [r"5,000 instead of 50 \% \& more", r"web\_a instead of \#1", "a single seed"]
    assert {len(row) for row in rows} == {3}
    # Bold is what the verdict says, though the second interval excludes zero.
    assert rows[0][1] == r"\robustnesseffect{$\mathbf{+1.3}$}{$[0.2, 2.3]$}"
    assert rows[0][2] == r"\robustnesseffect{$-3.0$}{$[-5.0, -1.1]$}"
    assert rows[1][1:] == [r"\robustnesseffect{$0.0$}{$[-1.0, 1.0]$}", "--"]
    assert rows[2][1:] == ["$+2.0$", "--"]
    assert re.findall(r"\\textit\{(.*?)\}", text) == ["Training set size", "Training distribution"]
    assert r"\label{tab:causes}" in text and r"95 \%" in text and r"my\_study" in text
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule")) and balanced(text)


def test_the_main_comparisons_come_in_the_order_of_evidence():
    text = main_table(CAUSES, SINGLE, "s", EffectTerms())
    rows = [[cell.strip() for cell in row] for row in body(text)]
    assert len(rows) == 2 and {len(row) for row in rows} == {8}
    assert rows[0][:3] == [
        r"Training set size: 5,000 instead of 50 \% \& more", "$-5.7$", r"\robustnesseffect{$+3.4$}{+1.2 to +5.6}",
    ]  # fmt: skip
    assert rows[0][3].startswith(r"\robustnesseffect{$+1.3$}") and rows[0][4].startswith(r"\robustnesseffect{$+6.3$}")
    assert rows[1][-1] == r"within $\pm$2" and balanced(text) and "\N{MINUS SIGN}" not in text


def test_effective_robustness_is_the_mean_over_runs_with_their_number():
    points = pd.DataFrame(
        [("a", "CLIP & more", "v2", 1.0), ("b", "CLIP & more", "v2", 2.0), ("a", "CLIP & more", "sketch", -0.04),
         ("b", "CLIP & more", "sketch", math.nan), ("c", "other", "v2", -1.0)],
        columns=["run", "kind", "shift", "effective_robustness_points"],
    )  # fmt: skip
    text = effective_robustness_table(points, "s")
    assert [[cell.strip() for cell in row] for row in body(text)] == [
        [r"CLIP \& more", "2", "$+1.5$", "$0.0$"],
        ["other", "1", "$-1.0$", "--"],
    ]
    assert balanced(text)


@given(st.text())
def test_nothing_that_latex_reads_as_a_command_is_left(text):
    escaped = escape_latex(text)
    assert balanced(escaped) and len(re.findall(r"(?<!\\)\$", escaped)) % 2 == 0
    assert not re.search(r"(?<!\\)[%&#_]", escaped) and "\N{MINUS SIGN}" not in escaped and "\n" not in escaped


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("50 % of a_b & #1", r"50 \% of a\_b \& \#1"),
        ("\u22122", "$-$2"),
        ("a\\b", r"a\textbackslash{}b"),
        ("{x}", r"\{x\}"),
        ('"q"', "``q''"),
        ('a "q r", ("s")', "a ``q r'', (``s'')"),
    ],
)
def test_known_escapes(plain, latex):
    assert escape_latex(plain) == latex


def test_numbers_have_a_sign_and_no_negative_zero():
    assert [format_effect(value) for value in (1.25, -0.04, -2.0, math.nan)] == ["$+1.2$", "$0.0$", "$-2.0$", "--"]


def test_what_cannot_be_a_table_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no row"):
        causes_table(CAUSES.iloc[:0], "s", EffectTerms())
    with pytest.raises(ValueError, match="two rows for training_set_size"):
        causes_table(pd.concat([CAUSES, CAUSES.iloc[:1]]), "s", EffectTerms())
    with pytest.raises(ValueError, match="no row"):
        effective_robustness_table(pd.DataFrame(columns=["run", "kind", "shift", "effective_robustness_points"]), "s")
