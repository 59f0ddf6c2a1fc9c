"""What the page says follows from the tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.pages import make_cause_row, make_causes, make_other_weights, make_single_causes
from whyrobust.report.findings import (
    EffectTerms,
    answer_sentences,
    compare_weights,
    effect_rows,
    evidence_rows,
    means_first,
    opposite_shifts,
    read_verdict,
    secondary_findings,
    weights_rows,
)
from whyrobust.report.headline import make_headline
from whyrobust.report.number_format import format_p, format_points_interval, join_words

TERMS = EffectTerms()


def headline(*tables):
    """Return the headline as one text."""
    made = make_headline(*tables)
    lines = [f"{line.cause}: {line.says}" for line in made.lines]
    return " ".join([made.lead, *lines, made.unit, *made.cautions, *made.tests])


def cause(name, effect, verdict, width=2.0, shifts=("v2", "sketch"), **changes):
    """Return the rows of the main comparison of a cause: the mean, and the shifts."""
    row = {"verdict": verdict} | changes
    return pd.DataFrame(
        [make_cause_row(name, f"more {name}", "mean", effect, width, **row)]
        + [make_cause_row(name, f"more {name}", shift, effect, width, **row) for shift in shifts]
    )


RAISED = cause("training_distribution", 5.6, "raises", p_adjusted=0.004)
SMALL = cause("language_at_test", 0.3, "within ±2", width=1.0)
UNDECIDED = cause("training_set_size", 1.0, "undecided", width=3.0, detectable_points=4.29)


def test_the_headline_names_what_is_found_with_its_numbers():
    text = headline(pd.concat([SMALL, RAISED, UNDECIDED]), TERMS)
    assert text.startswith(
        "Of 3 causes compared, 1 changes effective robustness: the training distribution raises it (more "
        "training_distribution: +5.6 points, +3.6 to +7.6; adjusted p .004)."
    )
    assert "Of the others 1 is shown to change it by less than 2 points and 1 is undecided." in text
    made = make_headline(pd.concat([SMALL, RAISED, UNDECIDED]), TERMS)
    # A line a cause, findings first: verdict, number and interval in plain words.
    assert [(line.cause, line.says) for line in made.lines] == [
        (
            "Training distribution",
            "raises it; more training_distribution: +5.6 points (+3.6 to +7.6); adjusted p .004.",
        ),
        ("Language at test", "within ±2 points; more language_at_test: +0.3 points (−0.7 to +1.3)."),
        ("Training set size", "undecided; more training_set_size: +1.0 points (−2.0 to +4.0)."),
    ]
    assert made.unit == "Effects on the mean over 2 shifts, in points at 50 % accuracy, with 95 % intervals."
    # What verdicts rest on stands apart.
    assert list(made.tests) == [
        "Training distribution: 90 % interval +4.0 to +7.2, p of equivalence .31.",
        "Language at test: 90 % interval −0.5 to +1.1, p of equivalence .03.",
        "Training set size: 90 % interval −1.4 to +3.4, p of equivalence .31; an effect of 4.3 points is found in 80 % "
        "of studies at level .017; one of zero is shown to be within the margin in 25 %.",
    ]


def test_an_undecided_effect_whose_interval_leaves_out_zero_says_why_it_is_no_finding():
    open_ = cause("language_at_test", 2.5, "undecided", width=2.3, p_adjusted=0.175)
    text = headline(pd.concat([open_, SMALL.assign(cause="contrastive_loss")]), TERMS)
    assert "(+0.2 to +4.8). Its interval leaves out zero, but among 2 tests that is no finding; adjusted p .17." in text
    holds = cause("language_at_test", 2.0, "undecided", width=2.3, p_adjusted=0.175)
    assert "leaves out zero" not in headline(pd.concat([holds, SMALL.assign(cause="contrastive_loss")]), TERMS)


def test_the_lead_tells_undecided_from_small():
    text = make_headline(pd.concat([SMALL, UNDECIDED, UNDECIDED.assign(cause="contrastive_loss")]), TERMS).lead
    assert text == (
        "Of 3 causes compared, none is shown to raise or lower effective robustness: 1 is shown to change it by less "
        "than 2 points and 2 are undecided."
    )


def test_a_study_without_an_informative_shift_says_that_it_has_no_answer_and_why():
    """Nothing was tested: no count of causes may pass for a finding."""
    both = pd.concat([SMALL, UNDECIDED])
    apart = both[both["shift"] == "v2"].assign(role="not informative", family="", verdict="", p_adjusted=np.nan)
    shifts = pd.DataFrame(
        [("studio_test", "in_distribution", np.nan), ("v2", "not informative", "R² 0.19, less than 0.5")],
        columns=["test_set", "role", "reason"],
    )
    made = make_headline(apart, TERMS, None, None, shifts)
    assert "No answer" in made.lead and "not informative (R² 0.19, less than 0.5)" in made.lead
    assert "studio" not in made.lead and "compared" not in made.lead and not made.lines and not made.tests
    declared = shifts.iloc[1:].assign(role="case study", reason="drawn twice")
    assert "train longer" in made.lead.lower()
    assert "train" not in make_headline(apart, TERMS, None, None, declared).lead.lower()


def test_the_headline_follows_verdicts_and_not_numbers():
    """Whatever interval and p say, the table's verdict is what counts."""
    clear = cause("training_distribution", 5.6, "undecided", p_adjusted=0.001)
    assert "none is shown to raise or lower" in headline(pd.concat([clear, SMALL]), TERMS)
    assert (
        "the training distribution lowers it" in headline(cause("training_distribution", 5.6, "lowers"), TERMS).lower()
    )


def test_the_headline_follows_the_main_comparisons_on_the_mean_alone():
    other = cause("training_distribution", 50.0, "raises").assign(comparison="a side issue", main=False)
    on_a_shift = UNDECIDED.assign(verdict=["undecided", "raises", "raises"])
    text = headline(pd.concat([on_a_shift, other]), TERMS)
    first = text.partition("Secondary findings")[0]
    assert "a side issue" not in first and "raises it" not in first and "Training set size: undecided" in first


def test_secondary_findings_are_named_and_none_is_said():
    found = cause("training_distribution", 5.6, "raises", p_adjusted=0.0334).assign(main=False, comparison="doses")
    found.loc[2, "verdict"] = "undecided"
    assert secondary_findings(pd.concat([UNDECIDED, found])) == [
        "Secondary findings (false-discovery q): doses raises it on v2 (+5.6 points, +3.6 to +7.6; q .03)."
    ]
    assert secondary_findings(UNDECIDED) == ["Secondary findings (false-discovery q): none."]
    assert secondary_findings(UNDECIDED.iloc[:1]) == []


def test_a_verdict_that_the_plane_would_give_anyhow_is_no_evidence():
    hidden = cause("training_distribution", 0.0, "within ±2", width=1.0, kept_share=0.126)
    text = headline(pd.concat([hidden, SMALL]), TERMS)
    rest = text.partition("Training distribution: ")[2]
    assert rest.startswith("within ±2 points; more training_distribution: 0.0 points (") and ". This says only" in rest
    assert (
        "share of the training images 13 % would be left to be seen, so that this is no evidence against such" in rest
    )
    kept = cause("training_distribution", 0.0, "within ±2", width=1.0, kept_share=0.9)
    assert "no evidence" not in headline(kept, TERMS) and "no evidence" not in headline(
        RAISED.assign(kept_share=0), TERMS
    )


def test_a_mean_of_opposite_shifts_is_called_so():
    rows = cause("training_set_size", -0.5, "within ±2", width=1.0, shifts=("v2", "rendition", "symbols", "sketch"))
    ends = {"v2": (-1.0, 1.0), "rendition": (0.1, 8.1), "symbols": (-6.3, -0.3), "sketch": (-9.0, -8.0)}
    for shift, (low, high) in ends.items():
        rows.loc[rows["shift"] == shift, ["low_points", "high_points", "effect_points"]] = [low, high, (low + high) / 2]
    rows.loc[rows["shift"] == "sketch", "role"] = "case study"
    (told,) = opposite_shifts(rows, rows.iloc[0])
    assert told.endswith("up on rendition +4.1 points, +0.1 to +8.1; down on symbols −3.3 points, −6.3 to −0.3.")
    assert told in headline(rows, TERMS)
    assert opposite_shifts(rows, dict(rows.iloc[0]) | {"verdict": "raises"}) == []
    rows.loc[rows["shift"] == "rendition", "low_points"] = -0.1
    assert opposite_shifts(rows, rows.iloc[0]) == []


def test_one_cause_and_one_shift_are_told_in_the_singular():
    one = headline(cause("training_distribution", 5.6, "raises", shifts=("v2",)), TERMS)
    assert one.startswith("The training distribution raises it") and "Effects on one shift, in" in one
    open_ = headline(UNDECIDED, TERMS)
    assert open_.startswith("One cause was compared, and it is not") and "Training set size: undecided;" in open_
    two = headline(pd.concat([RAISED, cause("contrastive_loss", -4.0, "lowers")]), TERMS)
    assert two.startswith("Of 2 causes compared, 2 change effective robustness: the training distribution raises it")
    assert "and the contrastive loss lowers it" in two


def test_a_study_without_intervals_is_not_judged():
    missing = {"low_points": np.nan, "high_points": np.nan, "p": np.nan, "p_adjusted": np.nan}
    single = cause("training_distribution", 5.6, "no interval", detectable_points=np.nan, **missing)
    text = headline(single, TERMS)
    assert "Training distribution: not judged, since an interval takes two seeds;" in text
    assert ": +5.6 points. " in text and "nan" not in text
    ((_, (sentence,)),) = answer_sentences(single).items()
    assert "+5.6 points, no interval" in sentence


def test_what_is_not_measured_is_said():
    lost = cause("contrastive_loss", np.nan, "not measured")
    assert "No cause was measured" in headline(lost, TERMS)
    assert "No cause was measured" in headline(lost.iloc[:0], TERMS)
    text = headline(pd.concat([RAISED, lost]), TERMS)
    assert "Contrastive loss: not measured on a shift that takes part in verdicts." in text
    assert "Of the others 1 is not measured." in text
    # A cause whose shifts are all case studies has no mean.
    apart = RAISED[RAISED["shift"] != "mean"].assign(cause="contrastive_loss", role="case study", verdict="")
    assert "Contrastive loss: not measured on a shift that takes" in headline(pd.concat([RAISED, apart]), TERMS)


def test_shifts_of_a_seen_style_are_counted_apart():
    seen = make_cause_row("training_distribution", "more training_distribution", "mean_seen", 41.0, 3.0)
    text = headline(pd.concat([RAISED, pd.DataFrame([seen])]), TERMS)
    assert (
        "Counted apart, on shifts whose style a compared source contains: +41.0 points, +38.0 to +44.0 for the "
        "training distribution." in text
    )
    assert "+41.0" not in text.partition("Counted apart")[0]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"verdict": "raises"}, "raises"),
        ({"verdict": "", "role": "case study"}, "case study"),
        ({"verdict": np.nan, "role": "not informative"}, "not informative"),
        ({"verdict": np.nan, "role": "shift"}, "no interval"),
        ({"verdict": "raises", "effect_points": np.nan}, "not measured"),
    ],
)
def test_a_row_without_a_verdict_says_why(row, words):
    assert read_verdict({"effect_points": 1.0, "role": "shift"} | row) == words


def test_all_effects_have_their_numbers():
    rows = effect_rows(make_causes())
    assert len(rows) == 4 * 3 and [row["shift"] for row in rows[:3]] == ["mean over shifts", "v2", "sketch"]
    web = rows[3]
    assert (web["cause"], web["verdict"], web["effect"], web["interval"]) == (
        "Training distribution", "raises", "+9.8", "+7.8 to +11.8",
    )  # fmt: skip
    assert (web["raw_id"], web["raw_shift"], web["raw_interval"]) == ("−5.7", "+3.4", "+1.2 to +5.6")
    assert (web["p"], web["adjusted"], web["detectable"], web["extrapolated"]) == (".001", ".004", "2.9", "0 of 4")
    assert rows[5]["verdict"] == "case study" and rows[5]["p"] == rows[5]["adjusted"] == ""
    assert rows[4]["comparison"] == "" and rows[-1]["extrapolated"] == "3 of 4"


def test_the_main_comparisons_have_the_papers_measurement_and_its_mirror():
    causes = make_causes()
    rows = evidence_rows(causes, make_single_causes(causes), make_other_weights(causes))
    assert [row["cause"] for row in rows] == ["Training set size", "Training distribution", "Language at training"]
    assert list(rows[1]["lines"]) == ["the paper's: studio test", "mirror: web test"]
    assert rows[2]["other"]["effect"] == "+7.3" and rows[2]["other"]["verdict"] == "raises"
    assert rows[1]["effect"] == "+9.8" and rows[1]["lines"]["mirror: web test"]["effect"] == "+5.4"


def test_the_main_comparisons_have_the_average_of_accuracies_beside_the_mean_of_effects():
    causes = make_causes()
    apart = causes[causes["shift"] == "sketch"].assign(shift="average", role="average", effect_points=1.25)
    both = pd.concat([causes, apart], ignore_index=True)
    single = make_single_causes(both)
    plain, rows = evidence_rows(causes, make_single_causes(causes)), evidence_rows(both, single)
    assert [row["average"] for row in plain] == [{}, {}, {}]
    assert {name: cell["effect"] for name, cell in rows[1]["average"].items()} == {
        "average accuracy over shifts, beyond all": "+1.2",
        # 5.6 above: see make_single_causes.
        "average accuracy over shifts, the paper's": "+6.8",
    }
    assert [row["effect"] for row in rows] == [row["effect"] for row in plain]
    assert [row["lines"] for row in rows] == [row["lines"] for row in plain]


def test_means_come_first_and_what_is_in_no_verdict_last():
    roles = {"sketch": "case study", "average": "average", "v2": "shift", "mean": "mean"}
    table = pd.DataFrame({"shift": roles.keys(), "role": roles.values()})
    assert list(means_first(table)["shift"]) == ["mean", "v2", "average", "sketch"]


def test_probabilities_and_lists_as_text():
    near = [format_p(p) for p in (0.0496, 0.05003, 0.0452, 0.0549, 0.05)]
    assert near == [".0496", ".05003", ".045", ".055", ".050"]
    assert format_points_interval(0.04, -0.004) == "+0.04 to −0.004" and format_points_interval(0, 2) == "0.0 to +2.0"
    assert [format_p(p) for p in (0.0001, 0.0042, 0.0123, 0.5, 1.0, np.nan)] == [
        "< .001",
        ".004",
        ".01",
        ".50",
        "1.00",
        "",
    ]
    assert [join_words(list("abc")[:number]) for number in (1, 2, 3)] == ["a", "a and b", "a; b; and c"]


def test_the_headline_says_what_the_plane_takes_away_of_a_source():
    line = make_cause_row("training_distribution", "more training_distribution", "mean", 2.8, 2.3)
    single = pd.DataFrame([line | {"measurement": kind, "effect_points": 2.8 if kind == "mean" else 8.1} for kind in
                           ("paper", "mirror", "mean")])  # fmt: skip
    text = headline(pd.concat([RAISED, UNDECIDED]), TERMS, single)
    assert "Not tested: beyond the line over the mean of all test sets, more training_distribution gives +2.8" in text
    assert (
        "+2.8 points, +0.5 to +5.1; this may be an effect of the source, or that the shifts are nearer" in text
        and "8.1" not in text
    )
    # With one in-distribution test set there is no such line, and other causes are not concerned.
    assert "Not tested" not in headline(RAISED, TERMS, single[single["measurement"] == "paper"])
    assert "Not tested" not in headline(UNDECIDED, TERMS, single)


def test_verdicts_that_hang_on_how_classes_are_weighted_are_named():
    causes = make_causes()
    other = make_other_weights(causes)
    told, note = compare_weights(causes, other, "It was chosen late.")
    assert note == "It was chosen late." and told.startswith(
        "Sensitivity analysis: with accuracies over images instead, 1 of 3 verdicts would differ: language at "
    )
    assert "training (raises in place of undecided)." in told and "distribution" not in told
    assert told in headline(causes, TERMS, None, other)
    # The answer itself says how many verdicts hang on it.
    lead = "With accuracies over images instead, 1 of these verdicts would differ."
    assert make_headline(causes, TERMS, None, other).lead.endswith(lead)
    same = causes[causes["main"]].assign(class_weights="equal")
    assert compare_weights(causes, same) == [
        "Sensitivity analysis: with accuracies of equal classes instead, none of 3 verdicts would differ."
    ]
    assert make_headline(causes, TERMS, None, same).lead == make_headline(causes, TERMS).lead
    assert compare_weights(causes, other.iloc[:0]) == compare_weights(causes.iloc[:0], other) == []
    rows = weights_rows(causes, other)
    assert len(rows) == 3 * 3 and [bool(row["comparison"]) for row in rows[:4]] == [True, False, False, True]
    assert (rows[6]["own"]["effect"], rows[6]["other"]["effect"]) == ("\N{MINUS SIGN}1.2", "+7.3")
