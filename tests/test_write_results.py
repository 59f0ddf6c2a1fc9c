"""The README's tables of results: filled from committed tables, which they must fit."""

from __future__ import annotations

import pandas as pd
import pytest

from tools.write_results import COMMITTED, MARKER, NAMES, PAGES, PARTS, STUDIES, copy_tables, fill, read_tables

EFFECTS = [
    ("training_distribution", "web instead of studio", "raises", 6.04, 2.0, 10.0, 0.012),
    ("training_set_size", "more images", "within ±2", 0.4, -0.9, 1.7, 0.9),
    ("language_at_training", "captions", "undecided", -1.0, -5.0, 3.0, 1.0),
    ("language_at_test", "names", "lowers", -4.0, -6.0, -2.0, 0.02),
    ("contrastive_loss", "supcon", "no interval", 1.0, float("nan"), float("nan"), float("nan")),
]


def part(name):
    return PARTS[name].make


def cause_rows(**changed):
    return [
        {
            "cause": cause, "comparison": comparison, "main": True, "shift": shift, "role": role, "verdict": verdict,
            "family": "primary" if shift == "mean" else "secondary", "effect_points": effect, "low_points": low,
            "high_points": high, "detectable_points": 3.21, "seeds": 5, "p_adjusted": p, "raw_id_points": -2.5,
            "raw_id_low_points": -3.5, "raw_id_high_points": -1.5, "equivalence_low_points": -0.5,
            "equivalence_high_points": 1.2, "p_equivalence": 0.032, "equivalence_power": 0.17,
            "kept_share": 0.126 if cause == "training_distribution" else float("nan"),
            "raw_shift_points": 1.5, "raw_shift_low_points": 0.5, "raw_shift_high_points": 2.5,
        } | changed
        for cause, comparison, verdict, effect, low, high, p in EFFECTS
        for shift, role in (("mean", "mean"), ("v2", "shift"), ("sketch", "case study"))
    ]  # fmt: skip


@pytest.fixture
def tables():
    lines = [
        row | {"x_test_set": name, "measurement": kind, "effect_points": effect, "low_points": 1.0, "high_points": 9.0}
        for name, kind, effect in (("web_test", "mirror", -7.0), ("mean", "mean", 3.0), ("studio_test", "paper", 8.0))
        for row in cause_rows(verdict="")
    ]
    shifts = [
        ("studio_test", "in_distribution", "", "studio", "", 3000, 1000, "team", 32, 0.01, 0.5, None),
        ("web_test", "in_distribution", "", "web", "", 5000, 1400, "team", 48, 0.01, 0.4, None),
        ("v2", "shift", "", "", "", 4000, 1900, "team", 12, 0.01, 0.45, 0.98),
        ("sketch", "case study", "3 teams", "", "web", 560, 550, "team", 3, 0.01, 0.2, 0.9),
    ]
    columns = ["test_set", "role", "reason", "source", "seen_in", "images", "drawings", "unit", "units", "chance"]
    columns.insert(7, "classes")
    shifts = [(*row[:7], 107, *row[7:]) for row in shifts]
    doses = [
        {"objective": objective, "share": share, "shift": "v2", "effect_points": 10 * share, "low_points": 0.1,
         "high_points": 9.0, "raw_shift_points": share, "kept_share": 0.15 + share / 5}
        for objective in ("cross_entropy", "clip") for share in (0.5, 1.0)
    ]  # fmt: skip
    trends = [
        {
            "objective": "cross_entropy",
            "shift": "v2",
            "trend_points": 5.0,
            "low_points": 1.0,
            "high_points": 9.0,
            "p": 0.004,
        }
    ]
    return {
        "causes": pd.DataFrame(cause_rows()),
        "causes_other_weights": pd.DataFrame(cause_rows(class_weights="images", verdict="lowers", effect_points=-2.3)),
        "causes_single_line": pd.DataFrame(lines),
        "shifts": pd.DataFrame(shifts, columns=[*columns, "median_accuracy", "r_squared"]).replace("", None),
        "dose_response": pd.DataFrame(doses),
        "dose_response_trends": pd.DataFrame(trends),
    }


def test_the_pages_fit_the_committed_tables():
    committed = {study: read_tables(COMMITTED, study) for study in STUDIES}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert MARKER.search(text), f"{page.name} has no part"
        assert fill(text, committed) == text, f"{page.name}: run python -m tools.write_results"


def test_before_the_study_is_run_every_part_says_so(tmp_path):
    assert read_tables(tmp_path, "icons") is None
    for name, of in PARTS.items():
        page = f"a\n<!-- made by python -m tools.write_results: {name} -->\nold\n<!-- end -->\nb"
        filled = fill(page, dict.fromkeys(STUDIES))
        assert "*Not run yet" in filled and f"--study results/{of.studies[0]}`" in filled and "old" not in filled
    with pytest.raises(KeyError):
        fill("<!-- made by python -m tools.write_results: nothing -->\n<!-- end -->", dict.fromkeys(STUDIES))


def test_the_answer_states_raw_differences_then_all_test_sets_then_the_paper(tables):
    answer = part("answer")(tables, None)
    raw, beyond, paper, of_mean, weights = answer.strip().split("\n\n")
    assert "under shift, the mean over `v2`, by +1.5 (+0.5 to +2.5) points" in raw
    assert "(`studio_test`, `web_test`) by \N{MINUS SIGN}2.5 (\N{MINUS SIGN}3.5 to \N{MINUS SIGN}1.5) points." in raw
    assert "What raises it: training distribution (web instead of studio: +6.0 (+2.0 to +10.0))." in beyond
    assert f"What lowers it: language at test (names: {chr(8722)}4.0" in beyond
    assert "What is within ±2 points: training set size (more images: +0.4" in beyond
    assert "What is undecided: language at training (captions: " in beyond
    assert "Of contrastive loss (supcon): no interval. Secondary findings (false-discovery q): web instead" in beyond
    hidden = tables | {"causes": tables["causes"].replace("raises", "within ±2")}
    told = part("answer")(hidden, None).strip().split("\n\n")[1]
    assert (
        "is within ±2. **This says only that the source does no more" in told
        and "share of the training images 13 % would be left to be seen" in told
    )
    assert "+8.0 (+1.0 to +9.0) points beyond the line over `studio_test` (the paper's), \N{MINUS SIGN}7.0" in paper
    assert weights.startswith(
        "**Other weights of classes.** With accuracies over images instead, 4 of 5 verdicts would be others, and 5 "
    )
    assert weights.endswith("with accuracies over images, had been read.")
    assert (
        "`mean`" not in paper
        and of_mean.startswith("**Not tested: beyond the line over the mean")
        and "+3.0 (" in of_mean
    )


def test_tables_have_a_row_for_each_main_comparison_and_dose(tables):
    main = part("main_effects")(tables).splitlines()
    assert len(main) == 2 + len(EFFECTS)
    assert (
        "| +6.0 (+2.0 to +10.0) | 0.012 | raises | \N{MINUS SIGN}0.5 to +1.2; .03 | 17 % | 13 % | 3.2 | +8.0 ("
        in main[2]
    )
    assert "accuracies over images |" in main[0] and main[2].endswith("| \N{MINUS SIGN}2.3 (+2.0 to +10.0): lowers |")
    weights = part("other_weights")(tables).splitlines()
    assert weights[0].endswith("| accuracies of equal classes | accuracies over images |") and len(weights) == 2 + 15
    assert weights[2].endswith("| +6.0 (+2.0 to +10.0): raises | \N{MINUS SIGN}2.3 (+2.0 to +10.0): lowers |")
    by_shift = part("by_shift")(tables)
    assert "| comparison | v2 | sketch\\* |" in by_shift and "| **+6.0 (+2.0 to +10.0)** |" in by_shift
    assert "All 5 comparisons" in by_shift and "**+0.4" not in by_shift and "**\N{MINUS SIGN}4.0" in by_shift
    doses = part("dose_response")(tables).splitlines()
    assert doses[2:] == [
        "| 50 % | +0.5; +5.0 (+0.1 to +9.0) | 25 % |", "| 100 % | +1.0; +10.0 (+0.1 to +9.0) | 35 % |",
        "| trend | +5.0 (+1.0 to +9.0); p = 0.004 | - |",
    ]  # fmt: skip
    (row,) = part("what_in_it")(tables).splitlines()[2:]
    assert row.startswith(
        "| web instead of studio | 5 | \N{MINUS SIGN}2.5 | +1.5 (+0.5 to +2.5) | +6.0 (+2.0 to +10.0) | 0.012"
    )
    shifts = part("shifts")(tables)
    assert "| `sketch` | case study, style seen in web | 560 | 550 | 3 teams | 0.20 | 0.90 | 3 teams |" in shifts


def test_tables_are_copied_whole_and_a_missing_one_is_named(tables, tmp_path):
    study, folder = tmp_path / "icons", tmp_path / "committed"
    study.mkdir()
    for name in NAMES[:-1]:
        tables[name].to_csv(study / f"{name}.csv", index=False)
    with pytest.raises(SystemExit, match=NAMES[-1]):
        copy_tables(study, folder)
    tables[NAMES[-1]].to_csv(study / f"{NAMES[-1]}.csv", index=False)
    copy_tables(study, folder)
    read = read_tables(folder, "icons")
    assert read is not None and part("answer")(read, None) == part("answer")(tables, None)
    assert part("main_effects")(read) == part("main_effects")(tables)
    assert part("shifts")(read) == part("shifts")(tables)


def test_a_repetition_says_which_verdicts_it_gives_too(tables):
    """A verdict that other seeds do not give is claimed for neither."""
    same = part("repeated")(tables, tables)
    assert "5 of 5 verdicts are the same, but 1 of them is undecided in both" in same and "claimed" not in same
    assert "Of 4 secondary findings 4 are found again." in same and "others there" not in same and "New" not in same
    causes = tables["causes"].replace("undecided", "raises").assign(effect_points=9.0)
    other = part("repeated")(tables, tables | {"causes": causes})
    assert "4 of 5 verdicts are the same; language at training is raises (+9.0 (" in other
    assert "in place of undecided, so that no verdict is claimed for these." in other
    lost = tables["causes"].replace("lowers", "undecided")
    fewer = part("repeated")(tables, tables | {"causes": lost})
    assert "Of 4 secondary findings 2 are found again. The others there: names on v2 \N{MINUS SIGN}4.0 (" in fewer
    assert "; names on sketch" in fewer and "web instead" not in fewer and "New" not in fewer
    assert "New: names on v2" in part("repeated")(tables | {"causes": lost}, tables)
    rows = part("other_seeds")(tables, tables | {"causes": causes}).splitlines()
    assert len(rows) == 2 + len(EFFECTS)
    assert rows[4].endswith(": undecided | +9.0 (\N{MINUS SIGN}5.0 to +3.0): raises |")


def test_the_lead_counts_findings_and_the_verdicts_that_other_seeds_give(tables):
    lead = part("lead")(tables, None)
    assert lead.startswith("**Of 5 causes compared, 2 change effective robustness: ") and "other seeds" not in lead
    other = tables | {"causes": tables["causes"].replace("undecided", "raises")}
    told = part("lead")(tables, other)
    assert told.endswith("With other seeds 4 of 5 verdicts are the same; none is claimed for language at training.**\n")
    assert "the same, but 1 of them is undecided" in part("lead")(tables, tables)


def test_a_verdict_that_a_repetition_does_not_give_is_marked_where_it_stands(tables):
    assert "not confirmed" not in part("answer")(tables, None) + part("answer")(tables, tables)
    lost = tables["causes"].replace({"verdict": {"lowers": "undecided", "within ±2": "raises"}})
    beyond = part("answer")(tables, tables | {"causes": lost}).split("\n\n")[1]
    mark = "; **not confirmed with other seeds: "
    assert f"(names: {chr(8722)}4.0 ({chr(8722)}6.0 to {chr(8722)}2.0){mark}undecided**)" in beyond
    assert f"to +1.7){mark}raises**)" in beyond and f"q .02{mark}undecided**)" in beyond
    # Two means, and the findings of one comparison on two shifts; what is given again has no mark.
    assert beyond.count(mark) == 4 and f"(+2.0 to +10.0){mark}" not in beyond
    page = "<!-- made by python -m tools.write_results: answer -->\n<!-- end -->"
    studies = dict.fromkeys(STUDIES) | {"icons": tables}
    assert mark not in fill(page, studies)
    assert mark in fill(page, studies | {"icons_seeds_5": tables | {"causes": lost}})
