"""The gap between the most robust and the standard models, and the share of it that an effect closes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from tests.analysis.test_attribution import make_shift
from tests.analysis.test_effects import make_comparison, make_runs
from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.gap_shares import SHARE_COLUMNS, gap_shares, measure_gaps
from whyrobust.analysis.measured import CASE_STUDY, MeasuredShift
from whyrobust.study.comparisons import Comparison

SETTINGS = EffectSettings()


def shift_of(points: np.ndarray, draws: np.ndarray) -> MeasuredShift:
    return replace(make_shift(points), residuals=points, draws=draws)


def shares_of(comparisons, runs, measured) -> pd.DataFrame:
    causes = attribute_causes(comparisons, runs, measured, SETTINGS)
    return gap_shares(causes, comparisons, runs, measured, SETTINGS)


def make_measurements(runs: pd.DataFrame, by_kind: dict[tuple[str, str], float], noise: float, rng) -> dict:
    """Residuals of main heads: so many logits a (source, objective) plus noise of each run."""
    true = np.array([by_kind.get(key, 0.0) for key in zip(runs["source"], runs["objective"], strict=True)])
    measured = {}
    for shift in ("v2", "sketch"):
        points = true + rng.normal(0, noise, len(runs))
        measured[shift] = shift_of(points, points + rng.normal(0, noise / 3, (200, len(runs))))
    return measured


def test_a_gap_is_between_the_best_kind_and_the_standard_models():
    runs = make_runs()
    rng = np.random.default_rng(0)
    measurements = make_measurements(runs, {("web", "clip"): 10.0, ("web", "cross_entropy"): 6.0}, 0.0, rng)
    gaps = measure_gaps(runs, measurements)
    assert list(gaps) == ["v2", "sketch"]
    gap = gaps["v2"]
    assert gap.most_robust == "clip, captions, title, web, icon_cnn"
    assert gap.differences.seeds == (1, 2, 3) and gap.differences.by_seed == pytest.approx(10.0)
    assert gap.differences.by_draw.shape == (200, 3)
    # The best kind's largest size counts, its main head, and never a standard model.
    smaller = ((runs["train_images"] == 1000) | ~runs["main"] | runs["standard"]).to_numpy()
    raised = {
        shift: replace(one, residuals=np.where(runs["standard"], 0, one.residuals + 50 * smaller))
        for shift, one in measurements.items()
    }
    assert measure_gaps(runs, raised)["v2"].differences.by_seed == pytest.approx(10.0)


@pytest.mark.filterwarnings("error")
def test_a_draw_without_a_standard_model_is_missing():
    runs = make_runs()
    measured = make_measurements(runs, {("web", "clip"): 10.0}, 0.1, np.random.default_rng(7))
    draws = measured["v2"].draws.copy()
    draws[3, runs["standard"].to_numpy()] = np.nan
    some = np.flatnonzero(runs["standard"])[0]
    draws[4, some] = np.nan
    by_draw = measure_gaps(runs, measured | {"v2": replace(measured["v2"], draws=draws)})["v2"].differences.by_draw
    before = measure_gaps(runs, measured)["v2"].differences.by_draw
    assert np.isnan(by_draw[3]).all() and np.isfinite(by_draw[4]).all()
    same = ~np.isin(np.arange(len(draws)), [3, 4])
    np.testing.assert_array_equal(by_draw[same], before[same])


def test_a_case_study_has_no_say_in_which_kind_is_the_best():
    runs = make_runs()
    measured = make_measurements(runs, {("web", "clip"): 10.0}, 0.1, np.random.default_rng(6))
    studio = 99.0 * ((runs["source"] == "studio") & (runs["objective"] == "clip")).to_numpy()
    measured["objects"] = replace(shift_of(studio, np.tile(studio, (5, 1))), role=CASE_STUDY)
    table = shares_of([make_comparison("web - studio", "web")], runs, measured)
    assert table["most_robust"].unique().tolist() == ["clip, captions, title, web, icon_cnn"]


def test_the_best_kind_is_chosen_without_the_seed_that_is_measured():
    # One kind is lucky in one seed only: that luck must not enter that seed's gap.
    runs = make_runs()
    lucky = ((runs["source"] == "studio") & (runs["objective"] == "clip") & (runs["seed"] == 1)).to_numpy()
    points = np.where(lucky, 30.0, 0.0) + 2.0 * (runs["source"] == "web").to_numpy()
    gap = measure_gaps(runs, {"v2": shift_of(points, np.tile(points, (5, 1)))})["v2"]
    assert gap.differences.by_seed[0] == pytest.approx(2.0)
    assert gap.differences.by_seed[1:] == pytest.approx(0.0) and ";" in gap.most_robust


def test_the_gap_of_equal_kinds_is_not_biased_upward():
    runs = make_runs()
    rng = np.random.default_rng(1)
    gaps, naive = [], []
    kinds = runs["main"] & ~runs["standard"] & (runs["train_images"] == 2000)
    for _ in range(150):
        points = rng.normal(0, 1, len(runs)) * ~runs["standard"].to_numpy()
        gaps.append(measure_gaps(runs, {"v2": shift_of(points, points[None])})["v2"].differences.by_seed.mean())
        by_kind = runs[kinds].assign(points=points[kinds]).groupby(["source", "objective"])["points"].mean()
        naive.append(by_kind.max())
    assert abs(np.mean(gaps)) < 0.15 < 0.4 < np.mean(naive)


def test_shares_are_ratios_with_intervals():
    runs = make_runs()
    rng = np.random.default_rng(2)
    measurements = make_measurements(runs, {("web", "clip"): 11.0, ("web", "cross_entropy"): 10.0}, 0.2, rng)
    comparisons = [make_comparison("web - studio", "web"), make_comparison("moon - studio", "moon")]
    causes = attribute_causes(comparisons, runs, measurements, SETTINGS)
    table = gap_shares(causes, comparisons, runs, measurements, SETTINGS)
    assert tuple(table.columns) == SHARE_COLUMNS
    found = table[table["comparison"] == "web - studio"]
    found_effects = causes[causes["comparison"] == "web - studio"]
    np.testing.assert_allclose(found["share"], found_effects["effect_logits"] / logit(0.5 + found["gap_points"] / 100))
    assert (found["share_low"] < found["share"]).all() and (found["share"] < found["share_high"]).all()
    assert found["share"].between(0.9, 1.0).all() and found["note"].eq("").all()
    missing = table[table["comparison"] == "moon - studio"]
    assert missing["share"].isna().all() and missing["note"].str.contains("effect is not measured").all()
    with pytest.raises(ValueError, match="moon - studio"):
        gap_shares(causes, comparisons[:1], runs, measurements, SETTINGS)
    with pytest.raises(ValueError, match="standard"):
        gap_shares(causes, comparisons, runs.drop(columns="standard"), measurements, SETTINGS)


def test_without_a_gap_there_is_no_share():
    runs = make_runs()
    rng = np.random.default_rng(3)
    comparisons = [make_comparison("web - studio", "web")]
    for by_kind, words in (({}, "reaches 0"), ({("web", "clip"): -9.0, ("studio", "clip"): -9.0}, "reaches 0")):
        measurements = make_measurements(runs, by_kind, 1.0, rng)
        table = gap_shares(
            attribute_causes(comparisons, runs, measurements, SETTINGS), comparisons, runs, measurements, SETTINGS
        )
        assert table["share"].isna().all() and table["note"].str.contains(words).all()
        assert table["gap_points"].notna().all()
    one = runs[runs["seed"] == 1]
    measurements = make_measurements(one, {("web", "clip"): 10.0}, 0.1, rng)
    table = gap_shares(
        attribute_causes(comparisons, one, measurements, SETTINGS), comparisons, one, measurements, SETTINGS
    )
    assert table["share"].isna().all() and table["note"].str.contains("two seeds").all()
    alone = runs[runs["standard"]]
    measurements = make_measurements(alone, {}, 0.1, rng)
    table = gap_shares(
        attribute_causes(comparisons, alone, measurements, SETTINGS), comparisons, alone, measurements, SETTINGS
    )
    assert table["gap_points"].isna().all() and table["note"].str.contains("no other kind").all()


def test_effects_of_other_seeds_than_the_gap_have_a_share_without_an_interval():
    runs = make_runs()
    measurements = make_measurements(runs, {("web", "clip"): 10.0}, 0.1, np.random.default_rng(4))
    comparison = Comparison(
        "training_distribution", "web", {"source": "studio"}, {"source": "web"}, {"seed": [1, 2]}, ""
    )
    table = gap_shares(
        attribute_causes([comparison], runs, measurements, SETTINGS), [comparison], runs, measurements, SETTINGS
    )
    assert table["share"].notna().all() and table["share_low"].isna().all()
    assert table["note"].str.contains("different seeds").all()


def test_the_interval_of_a_share_covers_as_often_as_it_claims():
    # Effect 6, gap 10, each with noise of seeds and noise that all seeds share.
    runs = make_runs()
    runs = runs[runs["main"] & (runs["train_images"] == 2000)].reset_index(drop=True)
    web, clip = (runs["source"] == "web").to_numpy(), (runs["objective"] == "clip").to_numpy()
    comparison = Comparison(
        "training_distribution", "web", {"source": "studio"}, {"source": "web"}, {"objective": "cross_entropy"}, ""
    )
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(300):
        shared = [rng.normal(0, 0.4, (size, 2)) for size in (1, 100)]
        noise = [web * part[:, :1] + clip * part[:, 1:] for part in shared]
        points = 6.0 * web + 4.0 * clip + noise[0][0] + rng.normal(0, 0.6, len(runs)) * ~runs["standard"].to_numpy()
        measurements = {"v2": shift_of(points, points + noise[1])}
        table = gap_shares(
            attribute_causes([comparison], runs, measurements, SETTINGS), [comparison], runs, measurements, SETTINGS
        )
        covered += bool((table["share_low"] <= 0.6).all() and (table["share_high"] >= 0.6).all())
    assert 0.90 <= covered / 300 <= 0.99
