"""The table of causes: means over shifts, families of tests, points, raw differences, and the test of architectures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import t as student

from tests.analysis.test_effects import make_comparison, make_runs
from whyrobust.analysis.attribution import (
    ARCHITECTURE_COLUMNS,
    CAUSE_COLUMNS,
    EffectSettings,
    add_means,
    attribute_causes,
    attribute_on_line,
    compare_architectures,
    shifts_of_means,
)
from whyrobust.analysis.cause_tables import OtherWeights, make_cause_tables, summarise_causes
from whyrobust.analysis.effects import contrast_pairs, match_comparisons, measure_effects
from whyrobust.analysis.hypothesis_tests import detectable_effect
from whyrobust.analysis.measured import CASE_STUDY, NOT_INFORMATIVE, SHIFT, MeasuredShift
from whyrobust.analysis.scales import to_scale
from whyrobust.study.comparisons import Comparison, Pair
from whyrobust.study.display_names import MEAN, MEAN_SEEN
from whyrobust.study.doses import DoseSeries

SETTINGS = EffectSettings()


def make_shift(residuals, *, noise: float = 0.0, seed: int = 0, role: str = SHIFT, **others) -> MeasuredShift:
    """A shift of these residuals, with noise of each model, and accuracies that follow from nothing."""
    rng = np.random.default_rng(seed)
    residuals = np.asarray(residuals, dtype=float)
    residuals = residuals + rng.normal(0, noise, residuals.size)
    accuracies = rng.uniform(0.3, 0.6, (residuals.size, 3))
    return MeasuredShift(
        residuals=residuals,
        draws=residuals + rng.normal(0, noise / 2, (80, residuals.size)),
        extrapolated=np.zeros(residuals.size, dtype=bool),
        id_accuracies=accuracies[:, :2],
        shift_accuracy=accuracies[:, 2],
        role=role,
        units=9,
        **others,
    )


def make_study(noise: float = 0.1) -> tuple[pd.DataFrame, dict[str, MeasuredShift], list[Comparison]]:
    """Web raises all shifts by .5 logits, CLIP instead of cross-entropy none; five shifts of all roles."""
    runs = make_runs().reset_index(drop=True)
    web = 0.5 * (runs["source"] == "web").to_numpy()
    measured = {
        "v2": make_shift(web, noise=noise, seed=1),
        "rendition": make_shift(2 * web, noise=noise, seed=2),
        "cartoon": make_shift(9 * web, noise=noise, seed=3, seen_in=("web",)),
        "sketch": make_shift(web, noise=noise, seed=4, role=CASE_STUDY, reason="drawn twice"),
        "objects": make_shift(web, noise=noise, seed=5, role=NOT_INFORMATIVE, reason="R² 0.19, less than 0.5"),
    }
    clip = Comparison(
        cause="language_at_training",
        name="captions",
        start={"objective": "cross_entropy", "labels": "annotated", "caption": "", "head": "classifier", "prompts": ""},
        end={"objective": "clip", "labels": "", "caption": "title", "head": "zero_shot", "prompts": "ensemble"},
        where={"fitted_on": ""},
        holds_fixed="images",
    )
    of_clip = replace(make_comparison("web, through CLIP", "web"), where={"head": "zero_shot"})
    return runs, measured, [make_comparison("web", "web"), of_clip, clip]


def row_of(table: pd.DataFrame, comparison: str, shift: str) -> pd.Series:
    (position,) = np.flatnonzero((table["comparison"] == comparison) & (table["shift"] == shift))
    return table.iloc[position]


def test_means_are_over_the_shifts_that_count_seen_styles_apart():
    _, measured, _ = make_study()
    with_means = add_means(measured)
    assert list(with_means) == [MEAN, MEAN_SEEN, *measured]
    mean = with_means[MEAN]
    # Nine units: the draws of a shift have eight ninths of the variance that other units would make.
    for name, shift in measured.items():
        np.testing.assert_allclose(with_means[name].draws.var(axis=0), 9 / 8 * shift.draws.var(axis=0))
        np.testing.assert_allclose(with_means[name].draws.mean(axis=0), shift.draws.mean(axis=0))
    for name in ("residuals", "id_accuracies", "shift_accuracy"):
        expected = (getattr(measured["v2"], name) + getattr(measured["rendition"], name)) / 2
        np.testing.assert_allclose(getattr(mean, name), expected)
    np.testing.assert_allclose(mean.draws, (with_means["v2"].draws + with_means["rendition"].draws) / 2)
    assert (mean.role, mean.units) == (MEAN, 17)
    np.testing.assert_allclose(with_means[MEAN_SEEN].residuals, measured["cartoon"].residuals)
    beyond = np.arange(len(mean.residuals)) == 3
    changed = add_means(measured | {"v2": replace(measured["v2"], extrapolated=beyond)})
    assert changed[MEAN].extrapolated.tolist() == beyond.tolist()
    studies = {"sketch": measured["sketch"], "objects": measured["objects"]}
    assert list(add_means(studies)) == ["sketch", "objects"]


def test_every_comparison_has_a_row_for_every_shift_even_without_pairs():
    runs, measured, _ = make_study(0.0)
    comparisons = [make_comparison("web", "web"), make_comparison("moon", "moon")]
    table = attribute_causes(comparisons, runs, measured, SETTINGS)
    assert tuple(table.columns) == CAUSE_COLUMNS
    shifts = [MEAN, MEAN_SEEN, *measured]
    assert table[["comparison", "shift"]].to_numpy().tolist() == [
        [name, shift] for name in ("web", "moon") for shift in shifts
    ]
    assert table["effect_logits"][:4].tolist() == pytest.approx([0.75, 4.5, 0.5, 1.0])
    assert table["effect_points"][0] == pytest.approx(100 * (expit(0.75) - 0.5))
    assert table["pairs"].tolist() == [6] * 7 + [0] * 7 and table["seeds"].tolist() == [3] * 7 + [0] * 7
    assert table["main"].tolist() == [True] * 7 + [False] * 7
    numbers = ["effect_logits", "low_points", "p", "detectable_points", "raw_shift_points", "raw_shift_low_points"]
    assert table.loc[7:, numbers].isna().all(axis=None)
    assert table["verdict"][7:].tolist() == ["not measured"] * 5 + [""] * 2
    with pytest.raises(ValueError, match="36 residuals for 35 rows"):
        attribute_causes(comparisons, runs.iloc[1:], measured, SETTINGS)
    with pytest.raises(ValueError, match="'web'"):
        attribute_causes(comparisons, runs.drop(columns="source"), measured, SETTINGS)


def test_the_primary_family_is_the_main_comparisons_on_the_mean():
    runs, measured, comparisons = make_study()
    table = attribute_causes(comparisons, runs, measured, SETTINGS)
    primary = table[table["family"] == "primary"]
    assert primary[["comparison", "shift"]].to_numpy().tolist() == [["web", MEAN], ["captions", MEAN]]
    ordered = sorted(primary["p"])
    by_holm = {ordered[0]: 2 * ordered[0], ordered[1]: max(2 * ordered[0], ordered[1])}
    assert primary["p_adjusted"].tolist() == pytest.approx([by_holm[p] for p in primary["p"]])
    assert primary["verdict"].tolist()[0] == "raises" and primary["verdict"].tolist()[1] != "raises"
    secondary = table[table["family"] == "secondary"]
    assert set(secondary["shift"]) == {MEAN, MEAN_SEEN, "v2", "rendition", "cartoon"} and len(secondary) == 13
    ranked = np.sort(secondary["p"])
    for row in secondary.itertuples():
        expected = min(13 * p / (rank + 1) for rank, p in enumerate(ranked) if p >= row.p)
        assert row.p_adjusted == pytest.approx(min(1.0, expected))
    others = table[table["family"] == ""]
    assert set(others["role"]) == {CASE_STUDY, NOT_INFORMATIVE}
    assert others[["p", "p_adjusted"]].isna().all(axis=None) and others["verdict"].eq("").all()
    assert others[["low_points", "high_points", "detectable_points"]].notna().all(axis=None)


def test_a_row_is_what_its_numbers_say():
    runs, measured, comparisons = make_study()
    table = attribute_causes(comparisons, runs, measured, SETTINGS)
    rows = runs.to_dict("records")
    pairs = [
        Pair((first,), second, one["seed"])
        for first, one in enumerate(rows)
        for second, other in enumerate(rows)
        if (one["source"], other["source"]) == ("studio", "web")
        and one["head"] == other["head"] == "classifier"
        and (one["train_images"], one["seed"]) == (other["train_images"], other["seed"])
    ]
    row, shift = row_of(table, "web", "v2"), measured["v2"]

    def mean(values):
        by_seed = {seed: [values[p.end] - values[p.starts[0]] for p in pairs if p.seed == seed] for seed in (1, 2, 3)}
        return np.mean([np.mean(some) for some in by_seed.values()])

    assert row["effect_logits"] == pytest.approx(mean(shift.residuals))
    assert row["raw_id_points"] == pytest.approx(100 * mean(shift.id_accuracies.mean(axis=1)))
    assert row["raw_shift_points"] == pytest.approx(100 * mean(shift.shift_accuracy))
    assert row["raw_shift_low_points"] < row["raw_shift_points"] < row["raw_shift_high_points"]
    # The error follows from the interval, and p and what could be detected from the error.
    for name in ("effect", "low", "high"):
        assert row[f"{name}_points"] == pytest.approx(100 * (expit(row[f"{name}_logits"]) - 0.5))
    of_all = [contrast_pairs(some, np.zeros(len(runs))) for some in pairs_of_all(comparisons, runs)]
    effect = measure_effects(of_all, shift.residuals, add_means(measured)["v2"].draws, 8.0)[0]
    assert row["high_logits"] - row["effect_logits"] == pytest.approx(effect.error * student.ppf(0.975, effect.freedom))
    assert row["p"] == pytest.approx(2 * student.sf(row["effect_logits"] / effect.error, effect.freedom))
    smallest = detectable_effect(effect.error, effect.freedom, 0.05)
    assert row["detectable_points"] == pytest.approx(100 * (expit(smallest) - 0.5))
    # The primary family has two tests: the strictest of them is at half the level.
    mean_shift = add_means(measured)[MEAN]
    effect = measure_effects(of_all, mean_shift.residuals, mean_shift.draws, 16.0)[0]
    smallest = detectable_effect(effect.error, effect.freedom, 0.025)
    assert row_of(table, "web", MEAN)["detectable_points"] == pytest.approx(100 * (expit(smallest) - 0.5))


def pairs_of_all(comparisons, runs):
    return match_comparisons(comparisons, runs).values()


def test_points_are_those_of_the_scale_at_the_reference_accuracy():
    runs, measured, comparisons = make_study()
    low = attribute_causes(comparisons, runs, measured, EffectSettings(reference_accuracy=0.2))
    row = row_of(low, "web", "v2")
    assert row["effect_points"] == pytest.approx(100 * (expit(np.log(0.25) + row["effect_logits"]) - 0.2))
    linear = attribute_causes(comparisons, runs, measured, EffectSettings(scale="linear"))
    row = row_of(linear, "web", "v2")
    assert row["effect_points"] == pytest.approx(100 * row["effect_logits"])


def test_a_small_effect_is_within_the_margin_where_two_one_sided_tests_say_so():
    runs, measured, comparisons = make_study(0.02)
    verdicts = {
        margin: row_of(
            attribute_causes(comparisons, runs, measured, EffectSettings(margin_points=margin)), "captions", MEAN
        )["verdict"]
        for margin in (0.1, 5.0)
    }
    assert verdicts == {0.1: "undecided", 5.0: "within ±5"}


def test_extrapolated_pairs_are_counted_and_one_seed_has_no_interval():
    runs, measured, comparisons = make_study()
    beyond = ((runs["source"] == "web") & (runs["train_images"] == 1000)).to_numpy()
    shifts = measured | {"v2": replace(measured["v2"], extrapolated=beyond)}
    table = attribute_causes(comparisons, runs, shifts, SETTINGS)
    assert row_of(table, "web", "v2")["extrapolated_pairs"] == 3 == row_of(table, "web", MEAN)["extrapolated_pairs"]
    assert row_of(table, "web", "rendition")["extrapolated_pairs"] == 0
    chosen = (runs["seed"] == 1).to_numpy()
    one = {
        name: replace(
            shift,
            **{
                field: getattr(shift, field)[chosen]
                for field in ("residuals", "extrapolated", "id_accuracies", "shift_accuracy")
            },
            draws=shift.draws[:, chosen],
        )
        for name, shift in measured.items()
    }
    table = attribute_causes(comparisons, runs[chosen], one, SETTINGS)
    assert table["effect_logits"].notna().all() and table[["low_logits", "p", "detectable_points"]].isna().all(
        axis=None
    )
    assert set(table.loc[table["role"].isin([SHIFT, MEAN]), "verdict"]) == {"no interval"}


def test_a_single_line_has_p_as_it_is_and_no_verdict():
    runs, measured, comparisons = make_study()
    line, main = (make(comparisons, runs, measured, SETTINGS) for make in (attribute_on_line, attribute_causes))
    counted = main["family"] != ""
    np.testing.assert_allclose(line.loc[counted, "p"], main.loc[counted, "p"])
    assert line["verdict"].eq("").all() and line["family"].eq("").all() and line["p_adjusted"].isna().all()


def test_architectures_are_compared_by_differences_of_differences():
    rng = np.random.default_rng(0)
    seeds = np.arange(5)
    rows = [
        {"source": source, "model": model, "seed": seed, "train_images": 1000, "objective": "cross_entropy"}
        | {"supervision": "labels", "caption": "", "labels": "annotated", "pretrained_by": "", "samples_seen": 10}
        | {"head": "classifier", "prompts": "", "fitted_on": "", "main": True, "standard": False}
        | {"run": f"{source}-{model}-{seed}"}
        for source in ("studio", "web")
        for model in ("cnn", "vit")
        for seed in seeds
    ]  # fmt: skip
    runs = pd.DataFrame(rows)
    web = (runs["source"] == "web").to_numpy()
    values = rng.normal(0, 0.1, len(runs)) + web * np.where(runs["model"] == "vit", 1.0, 0.3)
    shift = replace(make_shift(values), draws=np.tile(values, (4, 1)))
    table = compare_architectures([make_comparison("web", "web")], runs, {"v2": shift}, SETTINGS)
    assert tuple(table.columns) == ARCHITECTURE_COLUMNS and table["shift"].tolist() == [MEAN, "v2"]
    row = table.iloc[1]
    of = {
        model: [
            values[((runs["model"] == model) & (runs["seed"] == seed) & web).to_numpy()][0]
            - values[((runs["model"] == model) & (runs["seed"] == seed) & ~web).to_numpy()][0]
            for seed in seeds
        ]
        for model in ("cnn", "vit")
    }
    difference = np.subtract(of["vit"], of["cnn"])
    assert (row["model_a"], row["model_b"], row["seeds"]) == ("cnn", "vit", 5)
    assert (row["effect_a_logits"], row["effect_b_logits"]) == pytest.approx((np.mean(of["cnn"]), np.mean(of["vit"])))
    expected = student.interval(0.95, 4, difference.mean(), difference.std(ddof=1) / 5**0.5)
    assert (row["low"], row["high"]) == pytest.approx(expected)
    assert row["p"] == pytest.approx(2 * student.sf(difference.mean() / (difference.std(ddof=1) / 5**0.5), 4))
    # A comparison that names one model is tested on the others too, on the seeds and objectives that both have.
    named = replace(make_comparison("web", "web"), where={"head": "classifier", "model": "cnn"})
    fewer = (runs["model"] == "cnn").to_numpy() | (runs["seed"] < 3).to_numpy()
    few = make_shift(values[fewer])
    unequal = compare_architectures([named], runs[fewer], {"v2": few}, SETTINGS).iloc[1]
    assert unequal["seeds"] == 3 and unequal["difference_logits"] == pytest.approx(np.mean(difference[:3]))
    assert unequal["effect_a_logits"] == pytest.approx(np.mean(of["cnn"][:3]))
    other = runs.assign(objective=np.where(runs["model"] == "cnn", "cross_entropy", "supcon"))
    assert compare_architectures([named], other, {"v2": shift}, SETTINGS).empty
    alone = (runs["model"] == "cnn").to_numpy()
    one = compare_architectures(
        [make_comparison("web", "web")], runs[alone], {"v2": make_shift(values[alone])}, SETTINGS
    )
    assert one.empty and tuple(one.columns) == ARCHITECTURE_COLUMNS


def test_all_tables_of_a_study_are_made_together():
    runs, measured, comparisons = make_study()
    names = ["run", "head", "prompts", "fitted_on", "main", "standard"]
    rows = [
        runs[names].assign(
            shift=shift, mean_id_accuracy=one.id_accuracies.mean(axis=1), shift_accuracy=one.shift_accuracy
        )
        for shift, one in measured.items()
    ]
    effective = pd.concat(rows, ignore_index=True)
    table_of_runs = runs.drop(columns=["head", "prompts", "fitted_on", "main"]).drop_duplicates("run").fillna("")
    elsewhere = {name: replace(one, residuals=one.residuals**2) for name, one in measured.items()}
    lines = {"studio_test": measured, "web_test": elsewhere, "mean": elsewhere}
    expected = attribute_causes(comparisons, runs, measured, SETTINGS)
    turned = expected[expected["main"]].assign(class_weights="images", verdict="lowers")
    other = OtherWeights(turned, "Chosen late.")
    tables = make_cause_tables(effective, measured, lines, table_of_runs, comparisons, SETTINGS, other)
    pd.testing.assert_frame_equal(tables.causes[list(CAUSE_COLUMNS)], expected)
    assert {"share", "share_low", "gap_points", "most_robust", "note"} <= set(tables.causes)
    assert tables.single_lines.groupby("x_test_set")["measurement"].first().to_dict() == {
        "studio_test": "paper",
        "web_test": "mirror",
        "mean": "mean",
    }
    # Seed by seed beyond the paper's line, which is the first.
    assert tables.by_seed["paper_logits"].equals(tables.by_seed["effect_logits"]) and len(tables.by_seed) > 0
    assert set(tables.regression["shift"]) == set(measured)
    # Only the comparison of two sources has a share that the plane leaves of an effect in step with the source.
    source = (runs["source"] == "web").to_numpy(dtype=float)
    standard = (
        table_of_runs.set_index("run")["standard"].loc[runs["run"]].to_numpy(dtype=bool) & runs["main"].to_numpy()
    )
    for name in ("v2", "sketch"):
        x = np.column_stack([np.ones(len(runs)), to_scale(measured[name].id_accuracies, "logit")])
        left = source - x @ np.linalg.lstsq(x[standard], source[standard], rcond=None)[0]
        pairs = match_comparisons(comparisons[:1], runs)[0]
        by_seed = pd.Series([left[pair.end] - left[pair.starts[0]] for pair in pairs]).groupby(
            [pair.seed for pair in pairs]
        )
        found = row_of(tables.causes, "web", name)["kept_share"]
        assert found == pytest.approx(by_seed.mean().mean())
    assert tables.causes.loc[tables.causes["comparison"] == "captions", "kept_share"].isna().all()
    summary = tables.summary.splitlines()
    first = summary.index("    " + next(line.strip() for line in summary if line.startswith("    raises")))
    assert summary[first - 1] == "  training distribution: web"
    assert "detectable" in summary[first] and "p adjusted" in summary[first] and "6 pairs, 3 seeds" in summary[first]
    assert summary.index("All comparisons, p adjusted by Benjamini and Hochberg") > first
    sensitivity = summary.index("Sensitivity analysis: the same with accuracies over images")
    assert summary[sensitivity + 1] == "  Chosen late." and summary[sensitivity + 3].startswith("    lowers; ")
    # A row of each comparison, and why the shift takes part in no verdict.
    assert sum("  sketch" in line and "case study; " in line for line in summary) == 3
    apart = next(line for line in summary if line.startswith("In no verdict: "))
    assert "sketch is a case study (drawn twice)" in apart.lower() and "v2" not in apart
    without = {name: measured[name] for name in ("sketch", "objects")}
    nothing = attribute_causes(comparisons, runs, without, SETTINGS)
    told = summarise_causes(nothing, SETTINGS, OtherWeights(turned.iloc[:0]), without)
    before = told[: told.index("All comparisons")]
    assert "No answer" in before and "not informative (R² 0.19" in before and "another shift" in before
    # What has no effect has neither a number nor a sign of zero.
    bare = nothing.iloc[[0]].assign(role=CASE_STUDY, verdict="", effect_points=np.nan, pairs=1, seeds=1)
    assert "case study; not measured" in summarise_causes(bare, SETTINGS, OtherWeights(turned.iloc[:0]), without)
    zero = nothing.iloc[[0]].assign(effect_points=-0.01, low_points=-0.04, high_points=0.03, pairs=1, seeds=1)
    told = summarise_causes(zero, SETTINGS, OtherWeights(turned.iloc[:0]), without)
    assert "-0.0" not in told and "1 pair, 1 seed" in told
    dropped = effective.drop(index=len(runs))
    with pytest.raises(ValueError, match="other runs or heads on rendition"):
        make_cause_tables(dropped, measured, lines, table_of_runs, comparisons, SETTINGS, other)


def test_a_kept_share_counts_mixtures_by_their_share_and_is_of_comparisons_of_sources_alone():
    """With and without a series that says what is in a mixture, against a plain fit of the dose itself."""
    runs, measured, comparisons = make_study()
    mixed = np.flatnonzero((runs["source"] == "web").to_numpy())
    rows = np.r_[np.arange(len(runs)), mixed]
    added = runs.iloc[mixed].assign(source="half", run=runs["run"].iloc[mixed] + "-half")
    runs = pd.concat([runs, added], ignore_index=True)
    runs["standard"] = (runs["head"] == "classifier").to_numpy()
    arrays = ("residuals", "extrapolated", "shift_accuracy")
    jitter = np.random.default_rng(0).uniform(0.9, 1.1, (len(rows), 2))
    measured = {
        name: replace(
            one, **{key: getattr(one, key)[rows] for key in arrays},
            id_accuracies=one.id_accuracies[rows] * jitter, draws=one.draws[:, rows],
        )
        for name, one in measured.items()
    }  # fmt: skip
    both = replace(comparisons[2], name="both", start=comparisons[2].start | {"source": "studio"},
                   end=comparisons[2].end | {"source": "web"})  # fmt: skip
    series = DoseSeries("studio", "web", {"studio": 0.0, "half": 0.5, "web": 1.0}, {})
    names = ["run", "head", "prompts", "fitted_on", "main", "standard"]
    effective = pd.concat([
        runs[names].assign(shift=name, mean_id_accuracy=one.id_accuracies.mean(axis=1), shift_accuracy=0.5)
        for name, one in measured.items()
    ], ignore_index=True)  # fmt: skip
    table_of_runs = runs.drop(columns=["head", "prompts", "fitted_on", "main"]).drop_duplicates("run").fillna("")
    none = OtherWeights(attribute_causes(comparisons, runs, measured, SETTINGS).iloc[:0].assign(class_weights=""), "")
    of_web = match_comparisons(comparisons[:1], runs)[0]
    for given, content in (([series], {"studio": 0.0, "half": 0.5, "web": 1.0}), ([], {"studio": 0.0, "web": 1.0})):
        tables = make_cause_tables(
            effective, measured, {"web_test": measured}, table_of_runs, [comparisons[0], both], SETTINGS, none, given
        )
        dose = runs["source"].map(content).to_numpy(dtype=float)
        known = (runs["standard"] & runs["main"]).to_numpy(dtype=bool) & np.isfinite(dose)
        x = np.column_stack([np.ones(len(runs)), to_scale(measured["v2"].id_accuracies, "logit")])
        left = dose - x @ np.linalg.lstsq(x[known], dose[known], rcond=None)[0]
        by_seed = pd.Series([left[pair.end] - left[pair.starts[0]] for pair in of_web])
        expected = by_seed.groupby([pair.seed for pair in of_web]).mean().mean()
        assert row_of(tables.causes, "web", "v2")["kept_share"] == pytest.approx(expected)
        of_both = tables.causes[tables.causes["comparison"] == "both"]
        assert (of_both["pairs"] > 0).all() and of_both["kept_share"].isna().all()


def test_equivalence_and_raw_intervals_stand_in_the_table():
    runs, measured, comparisons = make_study()
    table = attribute_causes(comparisons, runs, measured, replace(SETTINGS, margin_points=9.0))
    judged = table[table["role"].isin(["mean", "shift"])]
    within = (judged["equivalence_low_points"] > -9) & (judged["equivalence_high_points"] < 9)
    assert (within == (judged["p_equivalence"] < 0.05)).all() and 0 < within.sum() < len(judged)
    assert judged["equivalence_power"].between(0, 1).all()
    assert table.loc[~table.index.isin(judged.index), "p_equivalence"].isna().all()
    # A wide margin is surely kept where there is no effect, a narrow one never; more spread, less power.
    narrow = attribute_causes(comparisons, runs, measured, replace(SETTINGS, margin_points=1e-3))
    power, none = (each["equivalence_power"].loc[judged.index] for each in (table, narrow))
    assert (none < 1e-6).all() and (power > none).all()
    spread = (judged["high_logits"] - judged["low_logits"]).rank()
    assert power.rank().corr(spread) < -0.9
    ends = EffectSettings(reference_accuracy=0.3, margin_points=5).margin
    assert expit(np.log(0.3 / 0.7) + np.array(ends)) == pytest.approx([0.25, 0.35])
    row = row_of(table, "web", "v2")
    points = 100 * measured["v2"].id_accuracies.mean(axis=1)
    of_all = [contrast_pairs(pairs, np.zeros(len(runs))) for pairs in match_comparisons(comparisons, runs).values()]
    low, high = measure_effects(of_all, points)[0].interval()
    assert (row["raw_id_low_points"], row["raw_id_high_points"]) == pytest.approx((low, high))
    assert low < row["raw_id_points"] < high


def test_raw_differences_have_intervals_over_seeds_and_test_images():
    """Those of effects, of accuracies: the draws of a test set of u units widened by u / (u - 1), u - 1 its freedom."""
    runs, measured, comparisons = make_study()
    units, rng = (4, 9), np.random.default_rng(8)

    def with_draws(shift):
        # Models of one source have what test images do in common, so that seeds share it.
        common = rng.normal(0, 0.04, (80, 3, 1)) * (runs["source"] == "web").to_numpy()
        drawn = common + rng.normal(0, 0.01, (80, 3, len(runs)))
        drawn += np.stack([*shift.id_accuracies.T, shift.shift_accuracy])
        return replace(shift, id_draws=drawn[:, :2].transpose(0, 2, 1), shift_draws=drawn[:, 2], id_units=units)

    measured = {name: with_draws(shift) for name, shift in measured.items()}
    table = attribute_causes(comparisons, runs, measured, SETTINGS)
    of_all = [contrast_pairs(pairs, np.zeros(len(runs))) for pairs in match_comparisons(comparisons, runs).values()]

    def widened(draws, count):
        return draws.mean(axis=0) + np.sqrt(count / (count - 1)) * (draws - draws.mean(axis=0))

    v2, row = measured["v2"], row_of(table, "web", "v2")
    plain = attribute_causes(
        comparisons, runs, {n: replace(s, id_draws=None, shift_draws=None) for n, s in measured.items()}, SETTINGS
    )
    expected = {
        "raw_id": (
            100 * v2.id_accuracies.mean(axis=1),
            100 * np.mean([widened(v2.id_draws[..., n], count) for n, count in enumerate(units)], axis=0),
            sum(units) - 2.0,
        ),
        "raw_shift": (100 * v2.shift_accuracy, 100 * widened(v2.shift_draws, v2.units), v2.units - 1.0),
    }
    for name, (values, draws, freedom) in expected.items():
        low, high = measure_effects(of_all, values, draws, freedom)[0].interval()
        assert (row[f"{name}_low_points"], row[f"{name}_high_points"]) == pytest.approx((low, high))
        seeds_alone = row_of(plain, "web", "v2")
        assert high - low > 1.2 * (seeds_alone[f"{name}_high_points"] - seeds_alone[f"{name}_low_points"])
    # The mean over the shifts that count: of their draws, and of in-distribution test sets that all of them share.
    counted = [measured[name] for name in shifts_of_means(measured)["mean"]]
    drawn = np.mean([widened(shift.shift_draws, shift.units) for shift in counted], axis=0)
    accuracies = np.mean([shift.shift_accuracy for shift in counted], axis=0)
    freedom = float(sum(shift.units - 1 for shift in counted))
    low, high = measure_effects(of_all, 100 * accuracies, 100 * drawn, freedom)[0].interval()
    mean = row_of(table, "web", "mean")
    assert (mean["raw_shift_low_points"], mean["raw_shift_high_points"]) == pytest.approx((low, high))


def test_intervals_of_differences_of_accuracy_are_possible():
    """With one degree of freedom and accuracies far apart, t intervals reach beyond what accuracies can differ by."""
    runs, measured, comparisons = make_study()
    few = runs[runs["seed"].isin(sorted(runs["seed"].unique())[:2])].index
    runs = runs.loc[few].reset_index(drop=True)
    wild = np.where(np.arange(len(runs)) % 2, 0.02, 0.98)
    shift = measured["v2"]
    shift = replace(
        shift,
        residuals=shift.residuals[few],
        draws=shift.draws[:, few],
        extrapolated=shift.extrapolated[few],
        id_accuracies=np.stack([wild, wild], axis=1),
        shift_accuracy=np.where(runs["seed"] == runs["seed"].min(), wild, 1 - wild),
    )
    table = attribute_causes(comparisons, runs, {"v2": shift}, SETTINGS)
    ends = ["raw_id_low_points", "raw_id_high_points", "raw_shift_low_points", "raw_shift_high_points"]
    found = table[ends].to_numpy(dtype=float)
    assert np.nanmax(np.abs(found)) == 100.0
    assert not np.isnan(found).all()
