"""Distances to the baseline and their draws, against slow plain code; the tables of one shift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from tests.analysis.test_baselines import fit_line, make_two_sets
from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.baselines import beyond_leverage, bootstrap_band, fit_two_lines
from whyrobust.analysis.bootstrap import resample_counts
from whyrobust.analysis.effective_robustness import (
    MeasurementSettings,
    draw_baselines,
    effective_robustness_points,
    measure_effective_robustness,
    measure_shift,
)
from whyrobust.analysis.intervals import clopper_pearson
from whyrobust.analysis.scales import from_scale, to_scale


def draw_robustness(id_draws, shift_draws, standard, scale, seed, lines=None):
    """Draw effective robustness from draws of accuracies, [resamples, models(, test_sets)] and [resamples, models]."""
    id_draws = id_draws if id_draws.ndim == 3 else id_draws[:, :, None]
    accuracies = ShiftAccuracies(id_draws[0], shift_draws[0], id_draws, shift_draws, np.asarray(standard, dtype=bool))
    lines = np.zeros(len(standard), dtype=int) if lines is None else lines
    expected = draw_baselines(accuracies, accuracies.standard, lines, scale, seed)
    return 100 * (shift_draws - from_scale(expected, scale))


# --- Points and draws ---------------------------------------------------------------------------------------


def test_effective_robustness_is_the_distance_to_the_line_in_points():
    baseline = fit_line([0.2, 0.8], [0.1, 0.7], "linear")
    np.testing.assert_allclose(effective_robustness_points([[0.5], [0.5]], [0.4, 0.45], baseline), [0, 5], atol=1e-9)


def test_robustness_draws_refit_the_line_in_every_draw():
    # Standard models exactly on one line per draw: whichever are resampled, the refitted line is that line.
    rng = np.random.default_rng(0)
    id_draws = rng.uniform(0.2, 0.8, (30, 9))
    slope, intercept = rng.uniform(0.5, 1.5, (30, 1)), rng.uniform(-1, 0, (30, 1))
    shift_draws = from_scale(slope * to_scale(id_draws, "logit") + intercept, "logit")
    shift_draws[:, 8] += 0.07
    standard = np.arange(9) < 8
    draws = draw_robustness(id_draws, shift_draws, standard, "logit", seed=0)
    np.testing.assert_allclose(draws, np.append(np.zeros(8), 7.0)[None].repeat(30, axis=0), atol=1e-6)


def test_robustness_draws_resample_the_standard_models():
    # No noise from images: what varies is which standard models there are, as in the bootstrap band.
    rng = np.random.default_rng(0)
    x = np.append(rng.uniform(0.3, 0.8, 30), 0.5)
    y = from_scale(0.9 * to_scale(x, "logit") - 0.5 + rng.normal(0, 0.2, 31), "logit")
    standard = np.arange(31) < 30
    draws = draw_robustness(np.tile(x, (8000, 1)), np.tile(y, (8000, 1)), standard, "logit", seed=1)
    low, high = bootstrap_band(x[:30], y[:30], [0.5], "logit", resamples=8000, seed=2)
    expected = 100 * (y[30] - np.array([high[0], low[0]]))
    np.testing.assert_allclose(np.percentile(draws[:, 30], [2.5, 97.5]), expected, atol=0.1)


@pytest.mark.filterwarnings("error")
def test_draws_without_a_line_are_missing():
    draws = draw_robustness(
        np.tile([0.3, 0.3, 0.5], (20, 1)),
        np.tile([0.1, 0.2, 0.5], (20, 1)),
        np.array([1, 1, 0], bool),
        "logit",
        0,
    )
    assert draws.shape == (20, 3) and np.isnan(draws).all()
    # With two standard models a resample holds both in about half of the draws.
    pair = draw_robustness(
        np.tile([0.3, 0.4, 0.5], (400, 1)),
        np.tile([0.1, 0.2, 0.5], (400, 1)),
        np.array([1, 1, 0], bool),
        "logit",
        0,
    )
    assert 0.35 < np.isnan(pair).all(axis=1).mean() < 0.65
    np.testing.assert_array_equal(np.isnan(pair).any(axis=1), np.isnan(pair).all(axis=1))
    with pytest.raises(ValueError, match="shapes"):
        ShiftAccuracies(np.ones((3, 1)), np.ones(3), np.ones((5, 3, 1)), np.ones((5, 2)), np.ones(3, bool))


# --- One shift ----------------------------------------------------------------------------------------------


def make_models(x, y, standard) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run": [f"run{number}" for number in range(len(x))],
            "head": "classifier",
            "prompts": "",
            "id_accuracy": x,
            "id_images": 1000,
            "shift_accuracy": y,
            "shift_images": 500,
            "standard": standard,
            "source": "studio",
        }
    )


def measure(models: pd.DataFrame, pivot=None, **settings):
    draws = [
        resample_counts(models[f"{axis}_accuracy"].fillna(0) * images, images, 300, number)
        for number, (axis, images) in enumerate((("id", 1000), ("shift", 500)))
    ]
    return measure_shift(models, "sketch", "studio_test", *draws, MeasurementSettings(**settings), pivot)


def test_a_measurement_has_the_tables_of_the_study():
    x = np.array([0.3, 0.5, 0.6, 0.7, 0.4, 0.9])
    y = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.6])
    standard = np.array([True, True, True, True, False, False])
    result = measure(make_models(x, y, standard))
    table = result.effective_robustness
    line = fit_line(x[standard], y[standard], "logit")
    np.testing.assert_allclose(table["baseline_accuracy"], line.predict(x[:, None]))
    np.testing.assert_allclose(table["effective_robustness_points"], 100 * (y - line.predict(x[:, None])))
    np.testing.assert_array_equal(result.measurement.points, table["effective_robustness_points"])
    np.testing.assert_allclose(table["low_points"], np.nanpercentile(result.measurement.draws, 2.5, axis=0))
    assert (table["low_points"] < result.measurement.points).all() and (
        result.measurement.points < table["high_points"]
    ).all()
    assert table["extrapolated"].tolist() == [False] * 5 + [True]
    assert table["note"].eq("").all() and table["source"].eq("studio").all()
    low, high = clopper_pearson(np.rint(y * 500), 500, 0.995)
    np.testing.assert_allclose(table[["shift_low", "shift_high"]].to_numpy().T, [low, high])
    assert result.baselines[["slope", "models", "line"]].to_numpy().tolist() == [[line.slopes[0], 4, "all"]]
    bands = result.bands
    np.testing.assert_allclose(bands["y"], line.predict(bands[["x"]]))
    assert bands["x"].min() == pytest.approx(0.3) and bands["x"].max() == pytest.approx(0.9)
    assert (bands["low"] <= bands["high"]).all()


def test_zero_and_missing_accuracies_and_a_missing_line_are_said_in_words():
    models = make_models([0.3, 0.5, 0.6, np.nan], [0.1, 0.0, 0.2, 0.3], [True, True, True, False])
    result = measure(models)
    notes = result.effective_robustness["note"]
    assert "sketch is 0" in notes[1] and "no accuracy" in notes[3] and notes[0] == ""
    assert result.baselines.loc[0, ["models", "excluded"]].tolist() == [2, 1]
    assert result.measurement.points[1] < 0 and np.isnan(result.measurement.points[3])
    assert np.isnan(result.measurement.draws[:, 3]).all()
    bare = measure(models.assign(standard=False)).effective_robustness
    assert bare["note"].str.contains("no baseline")[:3].all() and bare["extrapolated"].all()
    assert bare[["effective_robustness_points", "low_points", "high_points"]].isna().all(axis=None)
    with pytest.raises(ValueError, match="id_images"):
        measure(models.drop(columns="id_images"))


def test_a_pivot_gives_each_model_the_line_of_its_side():
    x = np.array([0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.5, 0.35])
    y = np.array([0.10, 0.12, 0.13, 0.3, 0.5, 0.7, 0.0, 0.5])
    standard = np.arange(8) < 7
    result = measure(make_models(x, y, standard), pivot=0.5)
    lines = fit_two_lines(x[standard, None], y[standard], 0.5, "logit")
    np.testing.assert_allclose(result.effective_robustness["baseline_accuracy"], lines.predict(x[:, None]))
    assert result.baselines["line"].tolist() == ["below_pivot", "above_pivot"]
    assert result.baselines["models"].tolist() == [3, 3]
    # The pivot model fits no line, in no draw either, whether it counts as standard or not.
    y[6] = 0.2
    with_pivot, without = (measure(make_models(x, y, mask), pivot=0.5) for mask in (standard, standard & (x != 0.5)))
    np.testing.assert_array_equal(with_pivot.measurement.draws, without.measurement.draws)
    # The draws of a model below the pivot do not feel the models above it.
    id_draws = np.random.default_rng(0).normal(x, 0.01, (50, 8))
    shift_draws = np.clip(np.random.default_rng(1).normal(y, 0.01, (50, 8)), 0, 1)
    moved = shift_draws.copy()
    moved[:, 3:6] = moved[:, [5, 4, 3]]
    sides = (x >= 0.5).astype(int)
    first, second = (
        draw_robustness(id_draws, draws, standard & (x != 0.5), "logit", 0, sides) for draws in (shift_draws, moved)
    )
    np.testing.assert_array_equal(first[:, x < 0.5], second[:, x < 0.5])
    assert not np.array_equal(first[:, 3], second[:, 3], equal_nan=True)


# --- Several in-distribution test sets ----------------------------------------------------------------------


def test_what_a_second_test_set_explains_is_no_robustness():
    # Models of two sources on one plane; by the first test set alone those of the second source look robust.
    rng = np.random.default_rng(3)
    web = np.arange(30) >= 15
    ability = rng.uniform(-1, 1, 30)
    logits = np.column_stack([ability - 0.8 * web, 0.9 * ability + 0.8 * web + rng.normal(0, 0.2, 30)])
    x, y = from_scale(logits, "logit"), from_scale(logits @ [0.5, 0.5] - 0.5, "logit")
    alone = effective_robustness_points(x[:, :1], y, fit_line(x[~web, 0], y[~web], "logit"))
    draws = (np.tile(x, (40, 1, 1)), np.tile(y, (40, 1)))
    result = measure_effective_robustness(ShiftAccuracies(x, y, *draws, np.ones(30, dtype=bool)))
    assert alone[web].mean() > 10
    np.testing.assert_allclose(result.points, 0, atol=1e-8)
    np.testing.assert_allclose(result.draws, 0, atol=1e-8)
    assert result.baseline.r_squared == pytest.approx(1) and not result.extrapolated.any()


@pytest.mark.parametrize("test_sets", [1, 2])
def test_draws_equal_a_plain_loop(test_sets):
    rng = np.random.default_rng(4)
    id_draws, shift_draws = rng.uniform(0.2, 0.8, (30, 8, test_sets)), rng.uniform(0.2, 0.8, (30, 8))
    standard = np.arange(8) < 7
    # The same stream of random numbers as the function's own.
    chosen = np.random.default_rng(6).integers(0, 7, (30, 7))
    draws = draw_robustness(id_draws, shift_draws, standard, "logit", 6)
    measurement = measure_effective_robustness(
        ShiftAccuracies(id_draws[0], shift_draws[0], id_draws, shift_draws, standard), seed=6
    )
    for number, models in enumerate(chosen):
        if len(set(models)) < test_sets + 1:
            assert np.isnan(draws[number]).all()
            continue
        x, y = to_scale(id_draws[number], "logit"), to_scale(shift_draws[number], "logit")
        fit = sm.OLS(y[models], sm.add_constant(x[models], has_constant="add")).fit()
        expected = from_scale(sm.add_constant(x, has_constant="add") @ fit.params, "logit")
        np.testing.assert_allclose(draws[number], 100 * (shift_draws[number] - expected), atol=1e-6)
        residuals = y - to_scale(expected, "logit")
        np.testing.assert_allclose(measurement.residual_draws[number], residuals, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_measurements_with_several_test_sets_have_intervals_and_say_what_is_outside():
    rng = np.random.default_rng(5)
    x, y = make_two_sets(25, rng)
    standard = np.arange(25) < 22
    y[22] += 0.15
    x[23], x[24] = (0.95, 0.5), (np.nan, 0.5)
    draws = [np.clip(a + rng.normal(0, 0.01, (200, *a.shape)), 0.001, 0.999) for a in (x, y)]
    result = measure_effective_robustness(ShiftAccuracies(x, y, *draws, standard))
    assert result.low_points[22] > 0
    assert (result.low_points[:24] < result.points[:24]).all() and (result.points[:24] < result.high_points[:24]).all()
    assert result.extrapolated[23] and result.extrapolated[24]
    assert np.isnan([result.points[24], result.low_points[24]]).all() and np.isnan(result.draws[:, 24]).all()
    # Too few standard models in every draw leave every draw empty.
    few = draw_robustness(draws[0], draws[1], np.arange(25) < 2, "logit", 0)
    assert np.isnan(few).all()
    none = draw_robustness(draws[0], draws[1], np.zeros(25, dtype=bool), "logit", 0)
    assert np.isnan(none).all()
    with pytest.raises(ValueError, match="shapes"):
        ShiftAccuracies(x, y, draws[0][:, :, 0], draws[1], standard)
    with pytest.raises(ValueError, match="shape"):
        ShiftAccuracies(x[:, 0], y, *draws, standard)


def test_a_model_within_the_span_of_each_test_set_may_lie_outside_of_the_cloud():
    # Standard models near the diagonal; a model in an empty corner of their rectangle.
    rng = np.random.default_rng(8)
    ability = rng.uniform(-1.5, 1.5, 20)
    logits = np.column_stack([ability, ability + rng.normal(0, 0.1, 20)])
    # Others between the diagonal and the corner, so that some lie just outside of the cloud.
    near = np.column_stack([np.linspace(0, 0.5, 40), np.linspace(0, -0.5, 40)])
    logits = np.vstack([logits, [[1.0, -1.0], [0.2, 0.25], [0.0, 0.0]], near])
    x = from_scale(logits, "logit")
    x[22, 0] = np.nan
    standard = np.arange(len(x)) < 20
    inside = (x >= x[standard].min(axis=0)) & (x <= x[standard].max(axis=0))
    assert inside[np.arange(len(x)) != 22].all()
    design = sm.add_constant(logits)
    hat = design @ np.linalg.inv(design[standard].T @ design[standard]) @ design.T
    np.testing.assert_allclose(
        np.diag(hat)[standard], sm.OLS(np.zeros(20), design[standard]).fit().get_influence().hat_matrix_diag
    )
    expected = np.diag(hat) > np.diag(hat)[standard].max() + 1e-12
    expected[22] = True
    np.testing.assert_array_equal(beyond_leverage(x, x[standard], "logit"), expected)
    assert expected[20] and not expected[21] and 0 < expected[23:].sum() < 40
    y = from_scale(logits @ [0.4, 0.6], "logit")
    draws = (np.tile(x, (20, 1, 1)), np.tile(y, (20, 1)))
    measurement = measure_effective_robustness(ShiftAccuracies(x, y, *draws, standard))
    np.testing.assert_array_equal(measurement.extrapolated, expected)
    # Models on one line in x, or fewer than coefficients, determine no plane.
    flat = from_scale(np.column_stack([ability, 2 * ability]), "logit")
    assert beyond_leverage(flat, flat, "logit").all() and beyond_leverage(x, x[:2], "logit").all()
