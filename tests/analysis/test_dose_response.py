"""Dose response: differences and slopes seed by seed, written out plainly, and a trend that is there or is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.dose_response import kept_share, measure_doses
from whyrobust.analysis.effects import Contrasts
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.study.comparisons import Comparison
from whyrobust.study.doses import DoseSeries

SHARES = {"studio": 0.0, "tenth": 0.1, "half": 0.5, "web": 1.0}
SERIES = DoseSeries("studio", "web", SHARES, {"view": 1.0})
FIELDS = {
    "objective": "cross_entropy", "supervision": "labels", "caption": "", "labels": "annotated", "pretrained_by": "",
    "model": "m", "samples_seen": 30, "train_images": 10, "main": True, "standard": True,
}  # fmt: skip


def make_runs(seeds=(0, 1, 2), **changed):
    rows = [FIELDS | changed | {"source": source, "seed": seed} for source in SHARES for seed in seeds]
    return pd.DataFrame(rows)


def make_shift(runs, slope=0.0, noise=0.1, rng=None, draws=None, role="case study"):
    rng = rng or np.random.default_rng(0)
    residuals = slope * runs["source"].map(SHARES).to_numpy() + rng.normal(0, noise, len(runs))
    spread = np.zeros((2, 1)) if draws is None else draws
    accuracies = rng.uniform(0.3, 0.6, (len(runs), 2))
    return MeasuredShift(
        residuals=residuals,
        draws=residuals + spread,
        extrapolated=(runs["source"] == "half").to_numpy() & (runs["seed"] == 1).to_numpy(),
        id_accuracies=accuracies,
        shift_accuracy=rng.uniform(0.2, 0.4, len(runs)),
        role=role,
    )


def measure(runs, shift, confidence=0.95):
    return measure_doses([SERIES], runs, {"v2": shift}, ["a", "b"], scale="logit", reference=0.5, confidence=confidence)


def test_each_dose_is_the_mean_over_seeds_of_its_difference_from_none():
    runs = make_runs()
    shift = make_shift(runs, slope=0.5)
    table = measure(runs, shift).effects.set_index("mixture")
    assert set(table["source"]) == {"web"} and set(table["instead_of"]) == {"studio"}
    assert table.index.tolist() == ["tenth", "half", "web"] and table["share"].tolist() == [0.1, 0.5, 1.0]

    def mean_difference(values, source):
        by = {(row.source, row.seed): value for row, value in zip(runs.itertuples(), values, strict=True)}
        return sum(by[source, seed] - by["studio", seed] for seed in (0, 1, 2)) / 3

    for source, row in table.iterrows():
        effect = mean_difference(shift.residuals, source)
        assert row["effect_logits"] == pytest.approx(effect)
        assert row["effect_points"] == pytest.approx(100 * (1 / (1 + math.exp(-effect)) - 0.5))
        assert row["raw_shift_points"] == pytest.approx(100 * mean_difference(shift.shift_accuracy, source))
        assert row["raw_b_points"] == pytest.approx(100 * mean_difference(shift.id_accuracies[:, 1], source))
        assert row["low_logits"] < effect < row["high_logits"] and row["seeds"] == 3
    assert table["extrapolated_pairs"].tolist() == [0, 1, 0]


def test_the_trend_is_the_mean_slope_of_lines_seed_by_seed_from_none_to_all():
    runs = make_runs()
    shift = make_shift(runs, slope=0.5)
    (row,) = measure(runs, shift).trends.to_dict("records")
    by_seed = []
    for seed in (0, 1, 2):
        chosen = (runs["seed"] == seed).to_numpy()
        by_seed.append(np.polyfit(runs["source"][chosen].map(SHARES), shift.residuals[chosen], 1)[0])
    assert row["trend_logits"] == pytest.approx(np.mean(by_seed))
    assert (row["doses"], row["seeds"], row["instead_of"], row["source"]) == (4, 3, "studio", "web")
    assert row["low_logits"] < row["trend_logits"] < row["high_logits"] and 0 < row["p"] < 0.05


def test_a_trend_by_itself_has_the_t_interval_over_its_seeds():
    """With two doses there are two contrasts, too few to moderate."""
    runs = make_runs()
    runs = runs[runs["source"].isin(["studio", "half"])]
    shift = make_shift(runs, slope=0.5)
    (row,) = measure(runs, shift, confidence=0.9).trends.to_dict("records")
    halves = shift.residuals[(runs["source"] == "half").to_numpy()]
    slopes = (halves - shift.residuals[(runs["source"] == "studio").to_numpy()]) / 0.5
    low, high = student.interval(0.9, 2, slopes.mean(), slopes.std(ddof=1) / math.sqrt(3))
    assert (row["low_logits"], row["high_logits"]) == pytest.approx((low, high))
    assert row["p"] == pytest.approx(2 * student.sf(abs(slopes.mean()) / (slopes.std(ddof=1) / math.sqrt(3)), 2))


def test_test_images_that_all_seeds_share_widen_intervals():
    runs = make_runs()
    common = np.random.default_rng(3).normal(0, 1.0, (400, 1)) * runs["source"].map(SHARES).to_numpy()
    narrow, wide = (measure(runs, make_shift(runs, draws=draws)).trends.iloc[0] for draws in (None, common))
    assert wide["trend_logits"] == pytest.approx(narrow["trend_logits"])
    assert wide["high_logits"] - wide["low_logits"] > 2 * (narrow["high_logits"] - narrow["low_logits"])


def test_without_a_trend_few_are_found_and_with_one_most():
    rng = np.random.default_rng(7)
    runs = make_runs(seeds=range(5))
    found = [
        [measure(runs, make_shift(runs, slope, 0.1, rng)).trends["p"].iloc[0] < 0.05 for _ in range(200)]
        for slope in (0.0, 0.3)
    ]
    assert np.mean(found[0]) < 0.1 and np.mean(found[1]) > 0.9


def test_runs_that_differ_in_more_are_other_curves_and_other_heads_are_left_out():
    runs = pd.concat([make_runs(), make_runs(objective="clip"), make_runs(main=False)], ignore_index=True)
    tables = measure(runs, make_shift(runs))
    assert tables.effects["objective"].tolist() == ["cross_entropy"] * 3 + ["clip"] * 3
    assert tables.trends["objective"].tolist() == ["cross_entropy", "clip"]
    shift = make_shift(runs)
    shift.residuals[~runs["main"].to_numpy() & (runs["source"] == "web").to_numpy()] = 100
    assert measure(runs, shift).effects["effect_logits"].abs().max() < 1


def test_seeds_without_every_dose_count_for_the_doses_they_have():
    runs = make_runs(seeds=(0, 1, 2, 3))
    runs = runs[~((runs["source"] == "tenth") & (runs["seed"] == 3))]
    tables = measure(runs, make_shift(runs))
    assert tables.effects["seeds"].tolist() == [3, 4, 4] and tables.trends["seeds"].tolist() == [3]
    runs = runs[~((runs["source"] == "studio") & (runs["seed"] == 0))]
    assert measure(runs, make_shift(runs)).effects["seeds"].tolist() == [2, 3, 3]


def test_the_share_that_a_plane_leaves_of_an_effect_is_what_a_fit_with_the_effect_finds():
    """An effect is added to accuracies that a plane explains, the plane is fitted again, and its residuals compared."""
    rng = np.random.default_rng(4)
    runs = make_runs(seeds=range(5))
    share = runs["source"].map(SHARES).to_numpy()
    a = rng.normal(0.0, 0.8, len(runs))
    x = np.column_stack([a - share + rng.normal(0, 0.3, len(runs)), a + share + rng.normal(0, 0.3, len(runs))])
    shift = replace(make_shift(runs), id_accuracies=1 / (1 + np.exp(-x)))
    kept = measure(runs, shift).effects.set_index("mixture")["kept_share"]
    y = 0.2 + 0.6 * x[:, 0] + 0.3 * x[:, 1] + 0.5 * share
    design = np.column_stack([np.ones(len(x)), x])
    residuals = y - design @ (np.linalg.inv(design.T @ design) @ design.T @ y)
    by_source = pd.Series(residuals).groupby(runs["source"]).mean()
    for mixture in ("tenth", "half", "web"):
        assert kept[mixture] == pytest.approx((by_source[mixture] - by_source["studio"]) / (0.5 * SHARES[mixture]))
    assert 0.02 < kept["web"] < 0.5


def test_accuracies_that_do_not_tell_sources_apart_leave_all_of_an_effect_and_those_that_do_nothing():
    runs = make_runs(seeds=range(5))
    share = runs["source"].map(SHARES).to_numpy()
    rng = np.random.default_rng(8)
    noise = rng.normal(0, 0.5, (len(runs), 2))
    noise -= noise.mean(axis=0)
    by_source = pd.DataFrame(noise).groupby(runs["source"]).transform("mean").to_numpy()
    told = {"nothing": noise - by_source, "all": np.column_stack([share, noise[:, 0]])}
    kept = {
        name: measure(runs, replace(make_shift(runs), id_accuracies=1 / (1 + np.exp(-x)))).effects["kept_share"]
        for name, x in told.items()
    }
    assert kept["nothing"].to_numpy() == pytest.approx(1.0) and kept["all"].to_numpy() == pytest.approx(0.0, abs=1e-9)


def test_without_standard_models_no_share_is_known():
    runs = make_runs(standard=False)
    assert measure(runs, make_shift(runs)).effects["kept_share"].isna().all()


def test_a_model_with_an_accuracy_of_zero_leaves_no_share():
    """Its logit is infinite: a share would be, too, and no page can write it."""
    x = np.random.default_rng(6).normal(0, 0.5, (8, 2))
    content, standard = np.arange(8.0) % 2, np.ones(8, dtype=bool)
    pair = Contrasts(np.array([[-1.0, 1.0, 0, 0, 0, 0, 0, 0]]), (0,), 0)
    assert np.isfinite(kept_share(x, standard, content, pair))
    for row in (0, 1):
        infinite = x.copy()
        infinite[row, 0] = -np.inf
        assert np.isnan(kept_share(infinite, standard, content, pair))


def test_the_mean_over_shifts_comes_before_them():
    runs = make_runs()
    shifts = [make_shift(runs, rng=np.random.default_rng(seed), role="shift") for seed in (1, 2)]
    tables = measure_doses(
        [SERIES], runs, {"v2": shifts[0], "x": shifts[1]}, ["a", "b"], scale="logit", reference=0.5, confidence=0.95
    )
    half = tables.effects[tables.effects["share"] == 0.5].set_index("shift")["effect_logits"]
    assert half.index.tolist() == ["mean", "v2", "x"] and half["mean"] == pytest.approx((half["v2"] + half["x"]) / 2)
    assert tables.trends["shift"].tolist() == ["mean", "v2", "x"]


def test_a_study_without_mixtures_has_empty_tables():
    runs = make_runs()
    runs = runs[runs["source"].isin(["studio", "web"])]
    tables = measure(runs, make_shift(runs))
    assert tables.effects.empty and tables.trends.empty and "raw_b_points" in tables.effects.columns
    assert measure_doses([], runs, {}, [], scale="logit", reference=0.5, confidence=0.95).effects.empty


def test_a_dose_that_a_comparison_has_too_has_its_interval():
    """One estimate has one interval: that of causes.csv, whose variance is moderated over all comparisons."""
    rng = np.random.default_rng(5)
    runs = make_runs()
    runs = runs.assign(**dict.fromkeys(("head", "prompts", "fitted_on"), ""))
    shift = make_shift(runs, slope=0.5, rng=rng, draws=rng.normal(0, 0.1, (40, len(runs))), role="shift")
    comparisons = [
        Comparison("training_distribution", f"{end} after {start}", {"source": start}, {"source": end}, {}, "all else")
        for start, end in (("studio", "half"), ("studio", "web"), ("tenth", "half"), ("half", "web"))
    ]
    measured = {"v2": replace(shift, units=9)}
    alone, shared = (
        measure_doses([SERIES], runs, measured, ["a", "b"], of, scale="logit", reference=0.5, confidence=0.95)
        for of in ((), comparisons)
    )
    causes = attribute_causes(comparisons, runs, measured, EffectSettings()).set_index(["comparison", "shift"])
    ends = ["effect_points", "low_points", "high_points"]
    by_dose = shared.effects.set_index(["mixture", "shift"])
    for name in ("half", "web"):
        for test_set in ("mean", "v2"):
            np.testing.assert_allclose(
                by_dose.loc[(name, test_set), ends].astype(float),
                causes.loc[(f"{name} after studio", test_set), ends].astype(float),
            )
    before = alone.effects.set_index(["mixture", "shift"])
    pd.testing.assert_series_equal(before["effect_points"], by_dose["effect_points"])
    pd.testing.assert_series_equal(before.loc["tenth", "low_points"], by_dose.loc["tenth", "low_points"])
    assert (before.loc["web", "low_points"] != by_dose.loc["web", "low_points"]).all()
    pd.testing.assert_frame_equal(alone.trends, shared.trends)
