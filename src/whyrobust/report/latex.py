"""The main results as LaTeX tables that a paper can include unchanged; they need the packages array and booktabs."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

import pandas as pd

from whyrobust.report.findings import EffectTerms, evidence_rows, means_first
from whyrobust.study.display_names import AVERAGE, LOWERS, NO_INTERVAL, RAISES, capital, name_cause, name_test_set

_ESCAPES: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\N{MINUS SIGN}": "$-$",
        "±": r"$\pm$",
        "\N{MULTIPLICATION SIGN}": r"$\times$",
        "\N{SUPERSCRIPT TWO}": "$^2$",
        "\N{NO-BREAK SPACE}": "~",
        "\N{EN DASH}": "--",
        "\N{EM DASH}": "---",
        "\N{LEFT SINGLE QUOTATION MARK}": "`",
        "\N{RIGHT SINGLE QUOTATION MARK}": "'",
        "\N{HORIZONTAL ELLIPSIS}": r"\dots{}",
    }
)

MINUS: Final = "\N{MINUS SIGN}"

MISSING: Final = "--"
"""Text of a cell without a value."""

#: An effect above its interval, so that a page has room for about seven shifts.
_EFFECT_COMMAND: Final = (
    r"\providecommand{\robustnesseffect}[2]"
    r"{\begin{tabular}[t]{@{}c@{}}#1\\[-2pt]{\scriptsize #2}\end{tabular}}"
)


def escape_latex(text: str) -> str:
    """Return a text as LaTeX prints it: %, _, &, # and the like escaped, quotes paired, a minus sign as ``$-$``."""
    # A straight quote opens at the start of a word, and closes elsewhere.
    quoted = re.sub(r'(?<![^\s([{/-])"(?=\S)', "``", text).replace('"', "''")
    return " ".join(quoted.translate(_ESCAPES).split())


def format_effect(points: float, *, bold: bool = False) -> str:
    """Return a number of points with its sign and one decimal in LaTeX's mathematics, ``--`` if there is none."""
    if not math.isfinite(points):
        return MISSING
    rounded = round(points, 1) + 0.0  # + 0.0 turns -0.0 into 0.0
    number = f"{rounded:+.1f}" if rounded else "0.0"
    return f"$\\mathbf{{{number}}}$" if bold else f"${number}$"


def format_interval(low: float, high: float) -> str:
    """Return an interval as ``$[-1.0, 2.5]$``."""
    ends = ", ".join(f"{round(end, 1) + 0.0:.1f}" for end in (low, high))
    return f"$[{ends}]$"


def causes_table(causes: pd.DataFrame, study: str, terms: EffectTerms) -> str:
    """Return the effects of all causes: one row per comparison, grouped by cause, one column per shift and mean.

    Args:
        causes: ``causes.csv``, in the order of its rows. Effects are in percentage points.
        study: Name of the study, for the caption.
        terms: What effects are stated in.

    Returns:
        A ``table*`` with a caption and the label ``tab:causes``; effects are bold where the verdict is that they raise
        or lower effective robustness; one without an interval (a single seed) has none below it.

    Raises:
        ValueError: The table has no row, or a comparison has two rows for one shift.
    """
    if causes.empty:
        raise ValueError("the table of causes has no row: attribute at least one cause before writing it in LaTeX")
    twice = causes.duplicated(["cause", "comparison", "shift"])
    if twice.any():
        row = causes[twice].iloc[0]
        raise ValueError(
            f"the table of causes has two rows for {row['cause']}, {row['comparison']!r} on {row['shift']}: leave one"
        )
    shifts = list(dict.fromkeys(means_first(causes)["shift"]))
    lines: list[str] = []
    for cause in dict.fromkeys(causes["cause"]):
        words = name_cause(cause)
        heading = rf"\multicolumn{{{len(shifts) + 1}}}{{@{{}}l}}{{\textit{{{escape_latex(capital(words))}}}}} \\"
        lines += [r"\addlinespace", heading] if lines else [heading]
        of_cause = causes[causes["cause"] == cause]
        for comparison in dict.fromkeys(of_cause["comparison"]):
            rows = of_cause[of_cause["comparison"] == comparison].set_index("shift")
            cells = [_effect_cell(rows, shift) for shift in shifts]
            lines.append(" & ".join([escape_latex(comparison), *cells]) + r" \\")
    apart = causes.loc[causes["role"].isin(["case study", "not informative", AVERAGE]), "shift"]
    named = ", ".join(name_test_set(name) for name in dict.fromkeys(apart))
    caption = (
        f"Effect of each cause on effective robustness beyond all in-distribution test sets in the study {study}, in "
        f"{terms.unit}, with {terms.interval}s over seeds and test images. Bold: raises or lowers, by the adjusted p "
        "(Holm over the main comparisons on the mean, false-discovery rate elsewhere). Without an interval: a single "
        f"seed.{f' In no verdict: {named}.' if named else ''}"
    )
    share = max(0.25, 0.62 - 0.08 * len(shifts))
    return _table(
        lines,
        ["Comparison", *(capital(name_test_set(shift)) for shift in shifts)],
        rf"@{{}}>{{\raggedright\arraybackslash}}p{{{share:.2f}\linewidth}}" + "c" * len(shifts) + "@{}",
        caption,
        "tab:causes",
    )


def main_table(causes: pd.DataFrame, single: pd.DataFrame, study: str, terms: EffectTerms) -> str:
    """Return the main comparison of each cause in the order of evidence, one row each.

    Args:
        causes: ``causes.csv``.
        single: ``causes_single_line.csv``.
        study: Name of the study, for the caption.
        terms: What effects are stated in.

    Returns:
        A ``table*`` with the label ``tab:main-comparisons``: differences of accuracy in distribution and on the shifts,
        effective robustness beyond all in-distribution test sets and by the paper's measurement, what could have been
        detected, the adjusted p and the verdict.
    """
    lines = []
    for row in evidence_rows(causes, single):
        paper = next(iter(row["lines"].values()), {"effect": "", "interval": ""})
        numbers = (
            ("raw_id", ""), ("raw_shift", "raw_interval"), ("effect", "interval"),
        )  # fmt: skip
        cells = [_text_cell(row[name], row[interval] if interval else "") for name, interval in numbers]
        cells += [_text_cell(paper["effect"], paper["interval"])]
        cells += [escape_latex(row[name]) or MISSING for name in ("detectable", "adjusted", "verdict")]
        lines.append(" & ".join([escape_latex(f"{row['cause']}: {row['comparison']}"), *cells]) + r" \\")
    caption = (
        f"The main comparison of each cause in the study {study}, means over the shifts that take part in verdicts: "
        "differences of accuracy in percentage points, and effects on effective robustness beyond all in-distribution "
        f"test sets and by the paper's measurement (one of them), in {terms.unit}, with {terms.interval}s; the effect "
        "that could have been detected with a power of 80 %; p adjusted by Holm; the verdict "
        f"(margin ±{terms.margin_points:g} points)."
    )
    head = ["Comparison", "In distribution", "On the shifts", "Beyond all", "The paper's", "Detectable", "p", "Verdict"]
    columns = r"@{}>{\raggedright\arraybackslash}p{0.28\linewidth}ccccccl@{}"
    return _table(lines, head, columns, caption, "tab:main-comparisons")


def _text_cell(value: str, interval: str) -> str:
    """Return a number above its interval, both as text of the page."""
    if not value or value == "n/a":
        return MISSING
    number = f"${value.replace(MINUS, '-')}$"
    if not interval or interval == NO_INTERVAL:
        return number
    return rf"\robustnesseffect{{{number}}}{{{escape_latex(interval)}}}"


def effective_robustness_table(points: pd.DataFrame, study: str) -> str:
    """Return the mean effective robustness: one row per kind of training, one column per shift.

    Args:
        points: Rows of ``effective_robustness.csv``, one per run and shift, with the column ``kind``, the kind of
            training in plain words. Points without an effective robustness are left out of the mean.
        study: Name of the study, for the caption.

    Returns:
        A ``table*`` with a caption and the label ``tab:effective-robustness``. Runs are counted per kind.

    Raises:
        ValueError: The table has no row.
    """
    if points.empty:
        raise ValueError("the effective robustness table has no row: measure at least one run on one shift")
    shifts = list(dict.fromkeys(points["shift"]))
    means = points.groupby(["kind", "shift"], sort=False)["effective_robustness_points"].mean()
    runs = points.groupby("kind", sort=False)["run"].nunique()
    lines = []
    for kind in runs.index:
        cells = [format_effect(float(means.get((kind, shift), math.nan))) for shift in shifts]
        lines.append(" & ".join([escape_latex(str(kind)), str(runs[kind]), *cells]) + r" \\")
    caption = (
        f"Mean effective robustness in the study {study}, in percentage points, by kind of training: accuracy under "
        "shift beyond what standard models of the same accuracies on all in-distribution test sets have. Sizes of the "
        "training set and seeds are averaged."
    )
    return _table(
        lines,
        ["Training", "Runs", *(capital(name_test_set(shift)) for shift in shifts)],
        r"@{}>{\raggedright\arraybackslash}p{0.36\linewidth}r" + "c" * len(shifts) + "@{}",
        caption,
        "tab:effective-robustness",
    )


def _effect_cell(rows: pd.DataFrame, shift: str) -> str:
    if shift not in rows.index:
        return MISSING
    row = rows.loc[[shift]].to_dict("records")[0]
    effect, low, high = (float(row[name]) for name in ("effect_points", "low_points", "high_points"))
    if not math.isfinite(effect):
        return MISSING
    if not (math.isfinite(low) and math.isfinite(high)):
        return format_effect(effect)
    bold = row["verdict"] in (RAISES, LOWERS)
    return rf"\robustnesseffect{{{format_effect(effect, bold=bold)}}}{{{format_interval(low, high)}}}"


def _table(lines: Sequence[str], head: Sequence[str], columns: str, caption: str, label: str) -> str:
    """Return rows as a table across both columns of a page."""
    return "\n".join(
        [
            r"% Needs \usepackage{array,booktabs}. Written by the workflow: copy it before you change it.",
            r"\begin{table*}",
            r"  \centering",
            r"  \footnotesize",
            rf"  \caption{{{escape_latex(caption)}}}",
            rf"  \label{{{label}}}",
            *([f"  {_EFFECT_COMMAND}"] if any("robustnesseffect" in line for line in lines) else []),
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            "    " + " & ".join(escape_latex(name) for name in head) + r" \\",
            r"    \midrule",
            *(f"    {line}" for line in lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table*}",
            "",
        ]
    )
