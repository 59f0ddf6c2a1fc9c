"""The headline of a study: its answer in a sentence, a line a cause, and what must be known of them.

It is about the primary family: the main comparison of each cause, in the mean over the shifts that take part in
verdicts. Verdicts, intervals and p come with the tables; a sentence only names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from whyrobust.analysis.measured import OF_MEAN
from whyrobust.analysis.shift_roles import explain_no_answer
from whyrobust.report.findings import (
    EffectTerms,
    compare_weights,
    hidden_sentence,
    is_hidden,
    main_comparisons,
    name_effect,
    opposite_shifts,
    primary_rows,
    read_verdict,
    secondary_findings,
    weights_lead,
)
from whyrobust.report.number_format import format_p, format_points, format_points_interval, join_words
from whyrobust.report.page_parts import holds_zero, table_rows
from whyrobust.study.display_names import (
    LOWERS,
    MEAN,
    MEAN_SEEN,
    NO_INTERVAL,
    NOT_MEASURED,
    RAISES,
    UNDECIDED,
    VERDICTS,
    WITHIN,
    capital,
    count_noun,
    name_cause,
    name_margin,
    verdict_key,
)
from whyrobust.study.table_cells import is_missing

NOTHING_MEASURED: Final = "No cause was measured: no comparison has a pair of runs with effective robustness."


@dataclass(frozen=True)
class Line:
    """A cause with the verdict on its main comparison and the effect: ``says`` follows the name of the cause."""

    cause: str
    says: str


@dataclass(frozen=True)
class Headline:
    """What the primary family shows.

    Attributes:
        lead: the answer.
        lines: a cause each, findings first, then effects shown to be small, then undecided ones.
        unit: what the numbers of the lines are.
        cautions: what a reader must know before quoting them.
        tests: equivalence and power behind the verdicts, a sentence each.
    """

    lead: str
    lines: Sequence[Line] = ()
    unit: str = ""
    cautions: Sequence[str] = ()
    tests: Sequence[str] = ()


def make_headline(
    causes: pd.DataFrame,
    terms: EffectTerms,
    single_causes: pd.DataFrame | None = None,
    other_weights: pd.DataFrame | None = None,
    shifts: pd.DataFrame | None = None,
) -> Headline:
    """Say what the primary family shows: which causes raise or lower it, which are small, and which are undecided.

    Args:
        causes: ``causes.csv``.
        terms: what an effect is stated in.
        single_causes: ``causes_single_line.csv``. Where it has a line over the mean of several in-distribution test
            sets, a caution says what the main measurement cannot show of a training source.
        other_weights: ``causes_other_weights.csv``.
        shifts: ``shifts.csv``, which says why no shift takes part in verdicts where none does.
    """
    main = main_comparisons(causes)
    if main.empty or main["effect_points"].isna().all():
        return Headline(NOTHING_MEASURED)
    rows = {row["cause"]: row for row in primary_rows(causes)}
    verdicts = {cause: read_verdict(rows[cause]) if cause in rows else NOT_MEASURED for cause in main["cause"]}
    groups = {cause: _group_of(verdict) for cause, verdict in verdicts.items()}
    in_order = sorted(groups, key=lambda cause: _GROUPS.index(groups[cause]))
    clear = [_clause(rows[cause], verdicts[cause]) for cause in in_order if groups[cause] in (RAISES, LOWERS)]
    lines = [
        Line(capital(name_cause(str(cause))), _line_of(rows.get(cause), groups[cause], terms, len(rows)))
        for cause in in_order
    ]
    weighted = compare_weights(causes, other_weights, terms.weights_note) if other_weights is not None else []
    cautions = [" ".join(weighted)] if weighted else []
    cautions += [told for row in rows.values() for told in opposite_shifts(causes, row)]
    if single_causes is not None and "training_distribution" in rows:
        cautions += _beyond_mean_of_test_sets(rows["training_distribution"], single_causes)
    seen = [f"{name_effect(row)} for the {name_cause(row['cause'])}" for row in _means_of_seen(main)]
    if seen:
        cautions.append(f"Counted apart, on shifts whose style a compared source contains: {join_words(seen)}.")
    cautions += secondary_findings(causes)
    if not rows:
        # Nothing was tested: a count of causes not shown to change anything would read as a finding.
        return Headline(explain_no_answer(_roles_of(shifts)), cautions=cautions)
    dependence = weights_lead(causes, other_weights) if other_weights is not None else ""
    lead = " ".join(filter(None, (_count_found(clear, Counter(groups.values()), terms), dependence)))
    tests = [told for cause in in_order if cause in rows for told in _tests_of(rows[cause], terms, len(rows))]
    return Headline(lead, lines, _name_unit(main, terms), cautions, tests)


_GROUPS: Final = (RAISES, LOWERS, WITHIN, UNDECIDED, NO_INTERVAL, NOT_MEASURED)
"""Verdicts, and what stands in place of one, in the order of the lines."""


def _roles_of(shifts: pd.DataFrame | None) -> list[tuple[str, str, str]]:
    """Return name, role and reason of each test set of ``shifts.csv``."""
    return [
        (str(row["test_set"]), str(row["role"]), "" if is_missing(row["reason"]) else str(row["reason"]))
        for row in (table_rows(shifts) if shifts is not None else [])
    ]


def _group_of(verdict: str) -> str:
    """Return which of `_GROUPS` a verdict is of."""
    key = verdict_key(verdict)
    return key if key in VERDICTS else verdict if verdict == NOT_MEASURED else NO_INTERVAL


def _count_found(clear: Sequence[str], groups: Mapping[str, int], terms: EffectTerms) -> str:
    """Say how many of the causes are shown to raise or lower effective robustness, and what is known of the others."""
    causes = sum(groups.values())
    if causes == 1:
        none = "One cause was compared, and it is not shown to raise or lower effective robustness."
        return f"{capital(clear[0])}." if clear else none
    words = {
        WITHIN: f"shown to change it by less than {terms.margin_points:g} points",
        UNDECIDED: "undecided",
        NO_INTERVAL: "not judged",
        NOT_MEASURED: "not measured",
    }
    counts = [(groups[group], told) for group, told in words.items() if groups[group]]
    others = join_words([f"{count} {'is' if count == 1 else 'are'} {told}" for count, told in counts])
    if not clear:
        return f"Of {causes} causes compared, none is shown to raise or lower effective robustness: {others}."
    verb = "changes" if len(clear) == 1 else "change"
    found = f"Of {causes} causes compared, {len(clear)} {verb} effective robustness: {join_words(clear)}."
    return f"{found} Of the others {others}." if others else found


def _clause(row: Mapping[str, Any], verdict: str) -> str:
    """Say what a cause does, as a clause with its numbers."""
    return f"the {name_cause(str(row['cause']))} {verdict} it ({row['comparison']}: {name_effect(row)}{_adjusted(row)})"


def _adjusted(row: Mapping[str, Any]) -> str:
    return "" if is_missing(row["p_adjusted"]) else f"; adjusted p {format_p(row['p_adjusted'])}"


def _line_of(row: Mapping[str, Any] | None, group: str, terms: EffectTerms, tests: int) -> str:
    """Say what is known of a cause by its main comparison: verdict, effect and interval, and what to read into it."""
    if row is None or group == NOT_MEASURED:
        return "not measured on a shift that takes part in verdicts."
    interval = format_points_interval(row["low_points"], row["high_points"])
    effect = f"{format_points(row['effect_points'])} points" + (f" ({interval})" if interval else "")
    words = {
        RAISES: "raises it",
        LOWERS: "lowers it",
        WITHIN: f"{name_margin(terms.margin_points)} points",
        UNDECIDED: "undecided",
        NO_INTERVAL: "not judged, since an interval takes two seeds",
    }[group]
    told = [f"{words}; {row['comparison']}: {effect}{_adjusted(row) if group in (RAISES, LOWERS) else ''}."]
    if group == UNDECIDED and not holds_zero(row["low_points"], row["high_points"]) and tests > 1:
        told.append(f"Its interval leaves out zero, but among {tests} tests that is no finding{_adjusted(row)}.")
    if is_hidden(row):
        told.append(hidden_sentence(row))
    return " ".join(told)


def _name_unit(main: pd.DataFrame, terms: EffectTerms) -> str:
    count = main.loc[~main["shift"].isin([MEAN, MEAN_SEEN]) & (main["role"] == "shift"), "shift"].nunique()
    over = f"the mean over {count_noun(count, 'shift')}" if count > 1 else "one shift"
    return f"Effects on {over}, in {terms.unit}, with {terms.interval}s."


def _tests_of(row: Mapping[str, Any], terms: EffectTerms, tests: int) -> list[str]:
    """Say what the verdict on a cause rests on, or could have shown; nothing where it has none."""
    told = [describe_equivalence(row, terms), *describe_power(row, terms, tests)]
    parts = [part for part in told if part]
    return [f"{capital(name_cause(str(row['cause'])))}: {'; '.join(parts)}."] if parts else []


def describe_equivalence(row: Mapping[str, Any], terms: EffectTerms) -> str:
    """Say what a verdict of equivalence rests on: ``90 % interval -1.9 to +0.8, p of equivalence .04``."""
    interval = format_points_interval(row["equivalence_low_points"], row["equivalence_high_points"])
    if not interval:
        return ""
    return (
        f"{100 * (2 * terms.confidence - 1):g} % interval {interval}, p of equivalence {format_p(row['p_equivalence'])}"
    )


def describe_power(row: Mapping[str, Any], terms: EffectTerms, tests: int) -> list[str]:
    """Say what an undecided main comparison could have shown, in clauses; nothing for another verdict.

    Args:
        row: of ``causes.csv``.
        terms: what an effect is stated in.
        tests: number of tests of the primary family.
    """
    if read_verdict(row) != UNDECIDED or is_missing(row["detectable_points"]):
        return []
    level = f"{(1 - terms.confidence) / max(tests, 1):.2g}".removeprefix("0")
    told = [f"an effect of {abs(row['detectable_points']):.1f} points is found in 80 % of studies at level {level}"]
    if not is_missing(row["equivalence_power"]):
        told.append(f"one of zero is shown to be within the margin in {100 * row['equivalence_power']:.0f} %")
    return told


def _beyond_mean_of_test_sets(row: Mapping[str, Any], single_causes: pd.DataFrame) -> list[str]:
    """Say what a source does in step with its own test set, which the plane over all test sets takes away."""
    same = (single_causes["comparison"] == row["comparison"]) & (single_causes["cause"] == row["cause"])
    of_mean = (single_causes["measurement"] == OF_MEAN) & (single_causes["shift"] == MEAN)
    return [
        f"Not tested: beyond the line over the mean of all test sets, {row['comparison']} gives {name_effect(found)}; "
        "this may be an effect of the source, or that the shifts are nearer to it."
        for found in table_rows(single_causes[same & of_mean])
    ]


def _means_of_seen(main: pd.DataFrame) -> list[dict[str, Any]]:
    rows = main[(main["shift"] == MEAN_SEEN) & main["effect_points"].notna()]
    return table_rows(rows)
