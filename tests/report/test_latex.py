"""What the LaTeX tables say, read back from the text."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.report.latex import causes_table, effective_robustness_table, escape_latex, format_effect

CAUSES = pd.DataFrame(
    [
        ("training_set_size", "5,000 instead of 50 % & more", "v2", 1.26, 0.2, 2.3),
        ("training_set_size", "5,000 instead of 50 % & more", "imagenet_r", -3.04, -5.0, -1.1),
        ("training_distribution", "web_a instead of #1", "v2", 0.01, -1.0, 1.0),
        ("training_distribution", "web_a instead of #1", "imagenet_r", math.nan, math.nan, math.nan),
        ("training_distribution", "a single seed", "v2", 2.0, math.nan, math.nan),
    ],
    columns=["cause", "comparison", "shift", "effect_points", "low_points", "high_points"],
)


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
    text = causes_table(CAUSES, "my_study", 0.95)
    rows = [[cell.strip() for cell in row] for row in body(text)]
    assert [row[0] for row in rows] == [r"5,000 instead of 50 \% \& more", r"web\_a instead of \#1", "a single seed"]
    assert {len(row) for row in rows} == {3}
    assert rows[0][1] == r"\robustnesseffect{$\mathbf{+1.3}$}{$[0.2, 2.3]$}"
    assert rows[0][2] == r"\robustnesseffect{$\mathbf{-3.0}$}{$[-5.0, -1.1]$}"
    assert rows[1][1:] == [r"\robustnesseffect{$0.0$}{$[-1.0, 1.0]$}", "--"]
    assert rows[2][1:] == ["$+2.0$", "--"]
    assert re.findall(r"\\textit\{(.*?)\}", text) == ["Training set size", "Training distribution"]
    assert r"\label{tab:causes}" in text and r"95 \%" in text and r"my\_study" in text
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule")) and balanced(text)


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
    ],
)
def test_known_escapes(plain, latex):
    assert escape_latex(plain) == latex


def test_numbers_have_a_sign_and_no_negative_zero():
    assert [format_effect(value) for value in (1.25, -0.04, -2.0, math.nan)] == ["$+1.2$", "$0.0$", "$-2.0$", "--"]


def test_what_cannot_be_a_table_is_an_error_that_says_so():
    with pytest.raises(ValueError, match="no row"):
        causes_table(CAUSES.iloc[:0], "s", 0.95)
    with pytest.raises(ValueError, match="two rows for training_set_size"):
        causes_table(pd.concat([CAUSES, CAUSES.iloc[:1]]), "s", 0.95)
    with pytest.raises(ValueError, match="no row"):
        effective_robustness_table(pd.DataFrame(columns=["run", "kind", "shift", "effective_robustness_points"]), "s")
