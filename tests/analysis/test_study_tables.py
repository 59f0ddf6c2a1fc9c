"""The tables of a study: axes, standard models, draws, planes and single lines, against slow plain code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.accuracies import KEYS, ShiftAccuracies
from whyrobust.analysis.attribution import shifts_of_means
from whyrobust.analysis.average_shift import add_average
from whyrobust.analysis.bootstrap import resample_accuracies, seed_of
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_effective_robustness
from whyrobust.analysis.measured import read_measured, read_measured_lines
from whyrobust.analysis.scales import to_scale
from whyrobust.analysis.shift_roles import count_answers, describe_test_sets, explain_no_answer, role_of_shift
from whyrobust.analysis.study_tables import draw_accuracies, measure_study

SETTINGS = MeasurementSettings(resamples=60, band_points=5, seed=3)
IMAGES = {
    "studio_test": 80, "web_test": 70, "third_test": 64, "studio_test@r": 40, "web_test@r": 36, "third_test@r": 30,
    "r": 50, "v2": 60, "few": 48, "flat": 56, "told": 40,
}  # fmt: skip
TEAMS = {"few": 3}
RUNS = pd.DataFrame(
    [
        (f"{source}-{number}", source, source != "captions")
        for source in ("web", "studio", "third", "captions")
        for number in range(6)
    ],
    columns=["run", "source", "standard"],
)
STANDARD = dict(zip(RUNS.loc[RUNS["standard"], "run"], RUNS.loc[RUNS["standard"], "source"], strict=True))
ALL = {"studio_test": "studio", "web_test": "web", "third_test": "third"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of runs of four sources, each with a classifier and a probe, whose predictions are drawn at random."""
    rng = np.random.default_rng(0)
    rows, predictions = [], []
    for test_set, images in IMAGES.items():
        for number, (run, source) in enumerate(zip(RUNS["run"], RUNS["source"], strict=True)):
            own = 0.15 * test_set.startswith(source)
            for head in ("classifier", "linear_probe"):
                chance = 0.5 if test_set == "flat" else 0.3 + 0.08 * (number % 6) + own
                right = rng.random(images) < chance
                key = {"run": run, "head": head, "prompts": "", "fitted_on": "" if head == "classifier" else "own"}
                main = {"main": head == "classifier", "test_set": test_set}
                rows.append(key | main | {"effective_images": images / 2, "accuracy": right.mean()})
                of_images = {
                    "group": [f"drawing {image // 2}" for image in range(images)],
                    "unit": [f"team {image % TEAMS.get(test_set, 7)}" for image in range(images)],
                    "label": [f"class {image % 5}" for image in range(images)],
                }
                predictions.append(pd.DataFrame(key | {"test_set": test_set, **of_images, "correct": right}))
    path = tmp_path_factory.mktemp("study") / "predictions.parquet"
    pd.concat(predictions).to_parquet(path)
    return pd.DataFrame(rows), path, pd.concat(predictions)


@pytest.fixture(scope="module")
def three(study):
    """The study measured beyond three in-distribution test sets."""
    return measure_study(study[0], study[1], STANDARD, ["r", "v2", "few", "flat", "told"], ALL, SETTINGS)


def drawn(predictions, test_set, keys):
    """Draws of accuracies, from the predictions themselves."""
    table = predictions[predictions["test_set"] == test_set].set_index(list(KEYS)).sort_index()
    correct = np.stack([table.loc[key, "correct"].to_numpy() for key in keys])
    groups, units = (table.loc[keys[0], name].to_numpy() for name in ("group", "unit"))
    seed = seed_of(SETTINGS.seed, "images", test_set)
    draws = resample_accuracies(correct, groups, units, SETTINGS.resamples, seed)
    # Half an image away from 0 and 1.
    return np.clip(draws, 1 / (2 * len(groups)), 1 - 1 / (2 * len(groups)))


def on(accuracy, test_set, keys):
    return accuracy[accuracy["test_set"] == test_set].set_index(list(KEYS)).loc[keys, "accuracy"].to_numpy()


@pytest.mark.parametrize("source, standard", [("studio", 6), ("", 18)])
def test_a_study_of_one_test_set_is_measured_beyond_its_line_alone(study, source, standard):
    accuracy, path, predictions = study
    tables = measure_study(accuracy, path, STANDARD, ["r", "v2"], {"studio_test": source}, SETTINGS)
    table = tables.effective_robustness
    assert table.groupby("shift")["x_test_set"].unique().map(list).to_dict() == {
        "r": ["studio_test@r"],
        "v2": ["studio_test"],
    }
    assert (table["x_test_sets"] == table["x_test_set"]).all() and (
        table["mean_id_accuracy"] == table["id_accuracy"]
    ).all()
    assert table.groupby("shift")["standard"].sum().tolist() == [standard] * 2
    assert (table.loc[table["standard"], "head"] == "classifier").all()
    assert table["fitted_on"].isin(["", "own"]).all() and table["main"].sum() == 2 * len(RUNS)
    pd.testing.assert_frame_equal(table.assign(measurement="paper"), tables.single_lines)
    assert tables.baselines["line"].tolist() == ["all", "all"] and list(tables.line_draws) == [
        "studio_test@r|r",
        "studio_test|v2",
    ]
    for shift, x_test_set in (("r", "studio_test@r"), ("v2", "studio_test")):
        rows = table[table["shift"] == shift]
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        expected = measure_effective_robustness(
            ShiftAccuracies(
                on(accuracy, x_test_set, keys)[:, None],
                on(accuracy, shift, keys),
                drawn(predictions, x_test_set, keys)[:, :, None],
                drawn(predictions, shift, keys),
                rows["standard"].to_numpy(),
            ),
            seed=seed_of(SETTINGS.seed, "standard models", x_test_set, shift),
        )
        np.testing.assert_array_equal(rows["effective_robustness_points"], expected.points)
        np.testing.assert_array_equal(rows["low_points"], expected.low_points)
        np.testing.assert_array_equal(rows["residual"], expected.residuals)
        np.testing.assert_array_equal(tables.draws[shift], expected.residual_draws)
        np.testing.assert_allclose(rows["residual_low"], np.quantile(expected.residual_draws, 0.025, axis=0))


def test_the_main_measurement_is_beyond_the_plane_over_all_test_sets(study, three):
    accuracy = study[0]
    for shift, rows in three.effective_robustness.groupby("shift"):
        axes = [f"{name}@r" if shift == "r" else name for name in ALL]
        assert set(rows["x_test_sets"]) == {" ".join(axes)} and set(rows["x_test_set"]) == {axes[0]}
        assert set(rows.loc[rows["standard"], "run"]) == set(STANDARD)
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        x = np.column_stack([on(accuracy, axis, keys) for axis in axes])
        y, standard = on(accuracy, shift, keys), rows["standard"].to_numpy()
        design = np.column_stack([np.ones(len(x)), np.log(x / (1 - x))])
        logits = np.log(y / (1 - y))
        fit = np.linalg.lstsq(design[standard], logits[standard], rcond=None)[0]
        np.testing.assert_allclose(rows["residual"], logits - design @ fit, atol=1e-9)
        np.testing.assert_allclose(rows["baseline_accuracy"], 1 / (1 + np.exp(-design @ fit)), atol=1e-9)
        np.testing.assert_allclose(rows["mean_id_accuracy"], x.mean(axis=1))
        np.testing.assert_allclose(rows["id_accuracy"], x[:, 0])
        # Explicit hat values of every model with respect to the standard ones.
        inverse = np.linalg.inv(design[standard].T @ design[standard])
        leverage = np.einsum("ij,jk,ik->i", design, inverse, design)
        outside = ((x < x[standard].min(axis=0)) | (x > x[standard].max(axis=0))).any(axis=1)
        expected = outside | (leverage > leverage[standard].max() + 1e-9)
        np.testing.assert_array_equal(rows["extrapolated"], expected)
        row = three.baselines[(three.baselines["shift"] == shift) & (three.baselines["line"] == "plane")].iloc[0]
        np.testing.assert_allclose([float(slope) for slope in row["slopes"].split()], fit[1:], atol=1e-8)
        assert row["x_test_sets"] == " ".join(axes) and row["models"] == 18 and np.isnan(row["slope"])
    extrapolated = three.effective_robustness
    assert extrapolated["extrapolated"].any() and not extrapolated.loc[extrapolated["standard"], "extrapolated"].any()


def test_each_test_set_has_a_line_of_the_standard_models_of_its_source(study, three):
    accuracy = study[0]
    table = three.single_lines
    assert table.groupby("measurement")["x_test_set"].unique().map(set).to_dict() == {
        "paper": {"studio_test", "studio_test@r"},
        "mirror": {"web_test", "web_test@r", "third_test", "third_test@r"},
        "mean": {"mean", "mean@r"},
    }
    for (shift, axis), rows in table[table["measurement"] != "mean"].groupby(["shift", "x_test_set"]):
        source = ALL[axis.split("@")[0]]
        assert set(rows.loc[rows["standard"], "run"]) == {f"{source}-{number}" for number in range(6)}
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        x, y = (to_scale(on(accuracy, name, keys), "logit") for name in (axis, shift))
        fitted = rows["standard"].to_numpy()
        slope, intercept = np.polyfit(x[fitted], y[fitted], 1)
        np.testing.assert_allclose(rows["residual"], y - slope * x - intercept, atol=1e-9)
        assert three.line_draws[f"{axis}|{shift}"].shape == (SETTINGS.resamples, len(rows))
    of_mean = three.baselines["x_test_set"].isin(["mean", "mean@r"])
    lines = three.baselines[(three.baselines["line"] == "all") & ~of_mean]
    assert len(lines) == 5 * 3 and lines["models"].eq(6).all()
    np.testing.assert_allclose(lines["slopes"].astype(float), lines["slope"])
    # One test set is the first of three, as far as the paper's line goes.
    alone = measure_study(accuracy, study[1], STANDARD, ["v2"], {"studio_test": "studio"}, SETTINGS)
    np.testing.assert_array_equal(alone.draws["v2"], three.line_draws["studio_test|v2"])


def test_the_line_over_the_mean_weighs_the_test_sets_equally(study, three):
    accuracy, _, predictions = study
    table = three.single_lines[three.single_lines["measurement"] == "mean"]
    for shift, rows in table.groupby("shift"):
        axes = [f"{name}@r" if shift == "r" else name for name in ALL]
        assert set(rows["x_test_set"]) == {"mean@r" if shift == "r" else "mean"}
        assert set(rows["x_test_sets"]) == {" ".join(axes)} and rows["standard"].sum() == 18
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        x = np.mean([to_scale(on(accuracy, axis, keys), "logit") for axis in axes], axis=0)
        y, fitted = to_scale(on(accuracy, shift, keys), "logit"), rows["standard"].to_numpy()
        slope, intercept = np.polyfit(x[fitted], y[fitted], 1)
        np.testing.assert_allclose(rows["residual"], y - slope * x - intercept, atol=1e-9)
        np.testing.assert_allclose(rows["id_accuracy"], 1 / (1 + np.exp(-x)))
        draws = np.mean([to_scale(drawn(predictions, axis, keys), "logit") for axis in axes], axis=0)
        low = 1 / (1 + np.exp(-np.quantile(draws, 0.0025, axis=0)))
        np.testing.assert_allclose(rows["id_low"], low, atol=0.01)
        assert three.line_draws[f"{rows['x_test_set'].iloc[0]}|{shift}"].shape == (SETTINGS.resamples, len(rows))


def test_a_shift_has_the_same_draws_whatever_other_shifts_there_are(study, three):
    accuracy, path, _ = study
    alone = measure_study(accuracy, path, STANDARD, ["v2"], ALL, SETTINGS)
    np.testing.assert_array_equal(three.draws["v2"], alone.draws["v2"])
    assert not np.array_equal(three.draws["r"], three.draws["v2"])


def test_no_image_right_in_a_draw_leaves_a_finite_residual(study):
    accuracy, path, predictions = study
    none = predictions["correct"] & (predictions["test_set"] != "told")
    few = predictions.assign(
        correct=none | ((predictions["test_set"] == "told") & (predictions["group"] == "drawing 3"))
    )
    low = path.with_name("low.parquet")
    few.to_parquet(low)
    on_told = few[few["test_set"] == "told"].groupby(list(KEYS))["correct"].mean()
    rows = accuracy.set_index(list(KEYS))
    rows.loc[rows["test_set"] == "told", "accuracy"] = on_told
    table = measure_study(rows.reset_index(), low, STANDARD, ["told"], ALL, SETTINGS)
    assert np.isfinite(table.draws["told"]).all()
    # Too few standard models leave the rows, without a number and with the reason.
    bare = measure_study(accuracy, path, {"web-0": "web"}, ["v2"], ALL, SETTINGS).effective_robustness
    assert bare[["residual", "effective_robustness_points"]].isna().all(axis=None)
    assert bare["note"].str.contains("Found 1 standard").all() and bare["extrapolated"].all()


# --- Roles --------------------------------------------------------------------------------------------------


TEST_SETS = {
    name: {"role": "shift", "source": None, "case_study": None, "seen_in": None, "unit": "team"}
    for name in (*ALL, "r", "v2", "few", "flat", "told")
}
for name, source in ALL.items():
    TEST_SETS[name] |= {"role": "in_distribution", "source": source}
TEST_SETS["v2"]["seen_in"] = ("web", "third")
TEST_SETS["told"]["case_study"] = "for a reason"


def test_each_test_set_has_a_role_with_its_reason(study, three):
    accuracy, path, _ = study
    answers = dict.fromkeys(TEST_SETS, 10) | {"r": None}
    table = describe_test_sets(TEST_SETS, answers, accuracy, path, three).set_index("test_set")
    assert list(table.index) == list(TEST_SETS)
    assert table["role"].to_dict() == dict.fromkeys(ALL, "in_distribution") | {
        "r": "shift", "v2": "shift", "few": "case study", "flat": "not informative", "told": "case study",
    }  # fmt: skip
    assert table["reason"].str.startswith(("3 teams", "R²", "for a reason")).sum() == 3
    assert table.loc["v2", "seen_in"] == "web third" and table.loc["web_test", "source"] == "web"
    assert table.loc["few", ["images", "drawings", "classes", "units"]].tolist() == [48, 24, 5, 3]
    assert table.loc["r", "chance"] == 1 / 5 and table.loc["v2", "chance"] == 1 / 10
    standard = three.effective_robustness.query("standard and shift == 'v2'")
    assert table.loc["v2", "median_accuracy"] == pytest.approx(standard["shift_accuracy"].median())
    logits = to_scale(standard["shift_accuracy"], "logit")
    assert table.loc["v2", "r_squared"] == pytest.approx(1 - standard["residual"].var(ddof=0) / logits.var(), abs=1e-9)
    line = three.single_lines.query("standard and shift == 'v2' and measurement == 'paper'")
    r_squared = (
        np.corrcoef(to_scale(line["id_accuracy"], "logit"), to_scale(line["shift_accuracy"], "logit"))[0, 1] ** 2
    )
    assert table.loc["v2", "r_squared_line"] == pytest.approx(r_squared)
    assert table.loc[list(ALL), "r_squared"].isna().all()


def test_the_role_of_a_shift_changes_at_its_limits():
    row = {"unit": "team", "units": 6, "chance": 0.1, "median_accuracy": 0.11, "r_squared": 0.5}
    assert role_of_shift(row, "") == ("shift", "")
    assert role_of_shift(row, "drawn twice") == ("case study", "drawn twice")
    assert role_of_shift(row | {"units": 5}, "")[0] == "case study"
    assert role_of_shift(row | {"units": 5, "unit": "class"}, "")[0] == "shift"
    assert role_of_shift(row | {"r_squared": 0.49}, "")[0] == "not informative"
    assert role_of_shift(row | {"r_squared": np.nan}, "") == (
        "not informative",
        "no baseline: accuracy on it does not follow in-distribution accuracy",
    )
    easy = role_of_shift(row | {"r_squared": np.nan, "median_accuracy": 0.99}, "")
    assert easy == (
        "not informative",
        "half of the standard models have 99.0 % or more right: it is too easy to tell models apart",
    )
    assert explain_no_answer([("mine", *easy)]).endswith("Give a harder shift.")
    role, reason = role_of_shift(row | {"median_accuracy": 0.1}, "")
    assert role == "not informative" and "10.0 %" in reason


def test_classes_that_may_be_predicted_are_counted(tmp_path):
    table = tmp_path / "classes.csv"
    table.write_text("class,imagenet_r\nant,true\nbee,true\ncat,\n")
    coverage = {
        "all": {"classes": "all", "covered": ""},
        "own": {"classes": "own", "covered": ""},
        "published": {"classes": "own", "covered": "imagenet_r"},
    }
    assert count_answers(table, coverage) == {"all": 3, "own": None, "published": 2}


# --- Two lines ----------------------------------------------------------------------------------------------


def fit_sides(x, y, fitted, pivot):
    """Return the residuals on logits of models beyond the line of their side, one model after the other."""
    residuals = []
    for own_x, own_y in zip(x, y, strict=True):
        side = fitted & ((x < pivot) if own_x < pivot else (x > pivot))
        slope, intercept = np.polyfit(to_scale(x[side], "logit"), to_scale(y[side], "logit"), 1)
        residuals.append(to_scale(own_y, "logit") - slope * to_scale(own_x, "logit") - intercept)
    return residuals


def test_the_papers_line_breaks_in_two_at_a_pivot_and_no_other_line_does(study, three):
    accuracy, path, _ = study
    of_source = accuracy[accuracy["run"].str.startswith("studio") & (accuracy["head"] == "classifier")]
    medians = of_source.groupby("test_set")["accuracy"].median()
    pivots = {"r": medians["studio_test@r"] + 0.001, "v2": medians["studio_test"] + 0.001}
    tables = measure_study(
        accuracy, path, STANDARD, ["r", "v2", "few", "flat", "told"], ALL, replace(SETTINGS, pivots=pivots)
    )
    pd.testing.assert_frame_equal(tables.effective_robustness, three.effective_robustness)
    broken = tables.single_lines["shift"].isin(pivots) & (tables.single_lines["measurement"] == "paper")
    pd.testing.assert_frame_equal(tables.single_lines[~broken], three.single_lines[~broken])
    assert not np.array_equal(tables.line_draws["studio_test|v2"], three.line_draws["studio_test|v2"])
    np.testing.assert_array_equal(tables.line_draws["web_test|v2"], three.line_draws["web_test|v2"])
    for shift, pivot in pivots.items():
        rows = tables.single_lines[broken & (tables.single_lines["shift"] == shift)]
        axis = "studio_test@r" if shift == "r" else "studio_test"
        keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
        x, y, fitted = on(accuracy, axis, keys), on(accuracy, shift, keys), rows["standard"].to_numpy()
        assert min((fitted & (x < pivot)).sum(), (fitted & (x > pivot)).sum()) >= 2
        np.testing.assert_allclose(rows["residual"], fit_sides(x, y, fitted, pivot), atol=1e-9)
        fits = tables.baselines[(tables.baselines["shift"] == shift) & (tables.baselines["x_test_set"] == axis)]
        # The plane is over the same test set first.
        assert fits["line"].tolist() == ["below_pivot", "above_pivot", "plane"]
        known = describe_test_sets(TEST_SETS, dict.fromkeys(TEST_SETS, 10), accuracy, path, tables)
        described = known.set_index("test_set").loc[shift]
        assert described["r_squared_line"] == fits["r_squared"].iloc[:2].min() and described["r_squared"] != 0


def test_a_side_without_standard_models_has_no_line_and_the_other_is_as_it_was(study):
    accuracy, path, _ = study
    alone = {"studio_test": "studio"}
    plain = measure_study(accuracy, path, STANDARD, ["v2"], alone, SETTINGS)
    tables = measure_study(accuracy, path, STANDARD, ["v2"], alone, replace(SETTINGS, pivots={"v2": 0.999}))
    np.testing.assert_array_equal(tables.draws["v2"], plain.draws["v2"])
    columns = ["residual", "low_points", "high_points", "baseline_accuracy", "extrapolated"]
    pd.testing.assert_frame_equal(tables.effective_robustness[columns], plain.effective_robustness[columns])
    assert tables.baselines["models"].tolist() == [6, 0] and np.isnan(tables.baselines["slope"].iloc[1])
    known = {name: TEST_SETS[name] for name in ("studio_test", "v2")}
    roles, expected = (
        describe_test_sets(known, dict.fromkeys(known, 10), accuracy, path, one) for one in (tables, plain)
    )
    pd.testing.assert_frame_equal(roles, expected)


# --- The average over shifts --------------------------------------------------------------------------------


def test_an_average_of_accuracies_is_one_more_shift_and_changes_no_other(study, three):
    accuracy, path, predictions = study
    shifts = ["r", "v2", "few", "flat", "told"]
    settings = replace(SETTINGS, average_over=("v2", "r"))
    tables = measure_study(accuracy, path, STANDARD, shifts, ALL, settings)
    for name in ("effective_robustness", "single_lines", "baselines", "bands"):
        before, after = getattr(three, name), getattr(tables, name)
        pd.testing.assert_frame_equal(before, after[after["shift"] != "average"])
        # After all others, and over the whole test sets, though r has axes of its own.
        assert (after["shift"].iloc[len(before) :] == "average").all() and len(after) > len(before)
        assert not after.loc[after["shift"] == "average", "x_test_set"].str.contains("@").any()
    for shift, draws in three.draws.items():
        np.testing.assert_array_equal(tables.draws[shift], draws)
    rows = tables.effective_robustness.query("shift == 'average'")
    keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
    assert keys == list(
        three.effective_robustness.query("shift == 'v2'")[list(KEYS)].itertuples(index=False, name=None)
    )
    by_hand = [(a + b) / 2 for a, b in zip(on(accuracy, "v2", keys), on(accuracy, "r", keys), strict=True)]
    np.testing.assert_allclose(rows["shift_accuracy"], by_hand)
    x = to_scale(np.column_stack([on(accuracy, axis, keys) for axis in ALL]), "logit")
    y, standard = np.log(np.array(by_hand) / (1 - np.array(by_hand))), rows["standard"].to_numpy()
    design = np.column_stack([np.ones(len(x)), x])
    plane = np.linalg.lstsq(design[standard], y[standard], rcond=None)[0]
    np.testing.assert_allclose(rows["residual"], y - design @ plane, atol=1e-9)
    line = tables.single_lines.query("shift == 'average' and measurement == 'paper'")
    fitted = line["standard"].to_numpy()
    slope, intercept = np.polyfit(x[fitted, 0], y[fitted], 1)
    np.testing.assert_allclose(line["residual"], y - slope * x[:, 0] - intercept, atol=1e-9)
    draws = (drawn(predictions, "v2", keys) + drawn(predictions, "r", keys)) / 2
    np.testing.assert_allclose(tables.accuracy_draws["average"], draws)
    for table in (rows, line):
        np.testing.assert_allclose(table["shift_low"], np.quantile(draws, 0.0025, axis=0))
        np.testing.assert_allclose(table["shift_high"], np.quantile(draws, 0.9975, axis=0))
    assert tables.line_draws["studio_test|average"].shape == tables.draws["average"].shape == draws.shape


def test_an_average_of_accuracies_takes_part_in_no_verdict(study):
    accuracy, path, _ = study
    tables = measure_study(
        accuracy, path, STANDARD, ["r", "v2", "few"], ALL, replace(SETTINGS, average_over=("few", "v2"))
    )
    known = {name: row for name, row in TEST_SETS.items() if name not in ("flat", "told")}
    shifts = describe_test_sets(known, dict.fromkeys(known, 10), accuracy, path, tables, ("few", "v2"))
    by_name = shifts.set_index("test_set")
    row = by_name.loc["average"]
    assert list(by_name.index) == [*known, "average"] and row["role"] == "average"
    assert row["reason"].startswith("accuracies on v2, few, averaged first")
    assert row[["images", "drawings", "classes", "units", "seen_in"]].tolist() == [108, 54, 5, 3, "web third"]
    assert row["r_squared"] > 0 and row["r_squared_line"] > 0 and row["chance"] == 1 / 10
    standard = tables.effective_robustness.query("standard and shift == 'average'")
    assert row["median_accuracy"] == standard["shift_accuracy"].median()
    measured = read_measured(tables.effective_robustness, tables.draws, tables.accuracy_draws, accuracy, shifts)
    assert measured["average"].role == "average" and measured["average"].units == 3
    without = {name: shift for name, shift in measured.items() if name != "average"}
    assert shifts_of_means(measured) == shifts_of_means(without)


def test_an_average_needs_an_accuracy_on_each_shift(study):
    accuracy = study[0]
    lacking = accuracy[~((accuracy["test_set"] == "v2") & (accuracy["run"] == "web-1"))]
    with pytest.raises(ValueError, match="1 accuracies of web-1 on r, v2"):
        add_average(lacking, ("r", "v2"))
    with pytest.raises(ValueError, match="3 accuracies"):
        add_average(pd.concat([accuracy, accuracy[accuracy["test_set"] == "v2"]]), ("r", "v2"))


# --- What comparisons read ----------------------------------------------------------------------------------


def test_measured_shifts_are_read_back_from_the_files(study, three, tmp_path):
    accuracy, path, _ = study
    shifts = describe_test_sets(TEST_SETS, dict.fromkeys(TEST_SETS, 10), accuracy, path, three)
    read = []
    for number, table in enumerate((three.effective_robustness, three.single_lines, accuracy, shifts)):
        table.to_csv(tmp_path / f"{number}.csv", index=False)
        read.append(pd.read_csv(tmp_path / f"{number}.csv", keep_default_na=False))
    measured = read_measured(read[0], three.draws, three.accuracy_draws, *read[2:])
    assert list(measured) == ["r", "v2", "few", "flat", "told"]
    assert [shift.role for shift in measured.values()] == [
        "shift", "shift", "case study", "not informative", "case study",
    ]  # fmt: skip
    assert measured["v2"].seen_in == ("web", "third") and measured["r"].seen_in == ()
    rows = three.effective_robustness.query("shift == 'r'")
    keys = list(rows[list(KEYS)].itertuples(index=False, name=None))
    np.testing.assert_allclose(measured["r"].residuals, rows["residual"])
    np.testing.assert_array_equal(measured["r"].draws, three.draws["r"])
    np.testing.assert_array_equal(measured["r"].extrapolated, rows["extrapolated"])
    np.testing.assert_allclose(measured["r"].shift_accuracy, on(accuracy, "r", keys))
    for number, name in enumerate(ALL):
        np.testing.assert_allclose(measured["r"].id_accuracies[:, number], on(accuracy, f"{name}@r", keys))
        drawn = draw_accuracies(path, SETTINGS, f"{name}@r", tuple(keys))
        np.testing.assert_array_equal(measured["r"].id_draws[..., number], drawn)
    drawn = draw_accuracies(path, SETTINGS, "r", tuple(keys))
    np.testing.assert_array_equal(measured["r"].shift_draws, drawn)
    units = dict(zip(shifts["test_set"], shifts["units"], strict=True))
    assert (
        measured["few"].id_units == tuple(units[name] for name in ALL) and units["few"] not in measured["few"].id_units
    )
    lines = read_measured_lines(read[1], three.line_draws, three.accuracy_draws, *read[2:])
    assert {name: list(shifts) for name, shifts in lines.items()} == {name: list(measured) for name in (*ALL, "mean")}
    assert list(lines) == [*ALL, "mean"]
    np.testing.assert_array_equal(lines["web_test"]["r"].draws, three.line_draws["web_test@r|r"])
    assert lines["web_test"]["r"].id_accuracies.shape == (len(rows), 1)
    assert lines["mean"]["r"].id_accuracies.shape == (len(rows), 3)
    with pytest.raises(ValueError, match="draws for r have shape"):
        read_measured(read[0], three.draws | {"r": three.draws["r"][:, 1:]}, three.accuracy_draws, *read[2:])
    with pytest.raises(ValueError, match="lacks accuracies"):
        read_measured(read[0], three.draws, three.accuracy_draws, read[2][read[2]["run"] != "web-0"], read[3])


def test_draws_weigh_classes_as_accuracies_do(tmp_path):
    label = np.array(["bell"] * 180 + ["sun"] * 20)
    of_images = {"group": [f"drawing {i}" for i in range(200)], "unit": [f"team {i % 10}" for i in range(200)]}
    key = {"run": "a", "head": "classifier", "prompts": "", "fitted_on": ""}
    frame = pd.DataFrame(key | {"test_set": "t", **of_images, "label": label, "correct": label == "bell"})
    frame.loc[:17, "correct"] = False
    frame.to_parquet(tmp_path / "predictions.parquet")
    draws = {
        weights: draw_accuracies(
            tmp_path / "predictions.parquet",
            MeasurementSettings(resamples=400, class_weights=weights),
            "t",
            (("a", "classifier", "", ""),),
        ).mean()
        for weights in ("images", "equal")
    }
    # 162 of 180 bells and no sun: .81 over images, the mean of .9 and 0 over classes.
    assert draws["images"] == pytest.approx(0.81, abs=0.01) and draws["equal"] == pytest.approx(0.45, abs=0.02)
