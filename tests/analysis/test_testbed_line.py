"""The testbed's standard models as those of a study's line, against numbers read and fitted by plain code."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.analysis.test_study_tables import ALL, SETTINGS, STANDARD, on, study  # noqa: F401 - study is a fixture
from whyrobust.analysis.accuracies import KEYS, ShiftAccuracies
from whyrobust.analysis.bootstrap import seed_of
from whyrobust.analysis.effective_robustness import measure_effective_robustness
from whyrobust.analysis.scales import to_scale
from whyrobust.analysis.study_tables import draw_accuracies, measure_study
from whyrobust.analysis.testbed_line import draw_testbed

KINDS = {"v2": "imagenet_v2", "r": "imagenet_r"}


@pytest.fixture(scope="module")
def published(root):
    """Read the standard models of the testbed: x and y on V2, on R among its classes, and on the average of both."""
    with (root / "resources" / "reference" / "imagenet_testbed_top1.csv").open(encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["training"] == "standard"]
    rows = [row for row in rows if not any(word in row["model"].lower() for word in ("aws", "batch64", "subsample"))]
    found = {"v2": [], "r": [], "average": []}
    for row in rows:
        whole, of_r = float(row["imagenet"]) / 100, float(row["imagenet_on_r_classes"] or "nan") / 100
        v2, r = (float(row[name] or "nan") / 100 for name in ("imagenet_v2", "imagenet_r"))
        if whole >= 0.55 and v2 == v2:
            found["v2"].append((whole, v2))
        if of_r >= 0.75 and r == r:
            found["r"].append((of_r, r))
        if whole >= 0.55 and v2 == v2 and r == r:
            found["average"].append((whole, (v2 + r) / 2))
    return {shift: np.array(pairs) for shift, pairs in found.items()}


@pytest.mark.parametrize("beside_own", [True, False])
def test_the_papers_line_goes_through_published_models(study, root, published, beside_own):  # noqa: F811
    accuracy, path, _ = study
    settings = replace(SETTINGS, average_over=("v2", "r"))
    testbed = draw_testbed(root / "resources" / "reference", KINDS, settings, beside_own)
    plain = measure_study(accuracy, path, STANDARD, list(KINDS), ALL, settings)
    tables = measure_study(accuracy, path, STANDARD, list(KINDS), ALL, settings, testbed)
    pd.testing.assert_frame_equal(tables.effective_robustness, plain.effective_robustness)
    of_paper = tables.single_lines["measurement"] == "paper"
    pd.testing.assert_frame_equal(tables.single_lines[~of_paper], plain.single_lines[~of_paper])
    # The same rows and standard models as ever; another line.
    same = [*KEYS, "main", "shift", "x_test_set", "id_accuracy", "shift_accuracy", "id_low", "shift_high", "standard"]
    pd.testing.assert_frame_equal(tables.single_lines[same], plain.single_lines[same])
    for shift, pairs in published.items():
        assert len(pairs) > 50
        rows = tables.single_lines[of_paper & (tables.single_lines["shift"] == shift)]
        x, y = rows["id_accuracy"].to_numpy(), rows["shift_accuracy"].to_numpy()
        own = rows["standard"].to_numpy() & beside_own
        fitted = np.concatenate([np.column_stack([x, y])[own], pairs])
        slope, intercept = np.polyfit(to_scale(fitted[:, 0], "logit"), to_scale(fitted[:, 1], "logit"), 1)
        residuals = to_scale(y, "logit") - slope * to_scale(x, "logit") - intercept
        np.testing.assert_allclose(rows["residual"], residuals, atol=1e-9)
        outside = (x < fitted[:, 0].min()) | (x > fitted[:, 0].max())
        np.testing.assert_array_equal(rows["extrapolated"], outside)
        axis = rows["x_test_set"].iloc[0]
        fits = tables.baselines[(tables.baselines["shift"] == shift) & (tables.baselines["x_test_set"] == axis)]
        assert fits["models"].tolist() == [len(fitted), 18] and fits["line"].tolist() == ["all", "plane"]


def test_published_models_are_drawn_with_the_runs(study, root):  # noqa: F811
    """The draws of a residual hold those of the published models, as if they had been runs of the study."""
    accuracy, path, _ = study
    testbed = draw_testbed(root / "resources" / "reference", KINDS, SETTINGS, beside_own=False)
    alone = {"studio_test": "studio"}
    tables = measure_study(accuracy, path, STANDARD, ["v2"], alone, SETTINGS, testbed)
    rows, models = tables.effective_robustness, testbed["v2"]
    keys = tuple(rows[list(KEYS)].itertuples(index=False, name=None))
    expected = measure_effective_robustness(
        ShiftAccuracies(
            np.concatenate([on(accuracy, "studio_test", list(keys)), models.models["id_accuracy"]])[:, None],
            np.concatenate([on(accuracy, "v2", list(keys)), models.models["shift_accuracy"]]),
            np.hstack([draw_accuracies(path, SETTINGS, "studio_test", keys), models.id_draws])[:, :, None],
            np.hstack([draw_accuracies(path, SETTINGS, "v2", keys), models.shift_draws]),
            np.arange(len(keys) + len(models.models)) >= len(keys),
        ),
        seed=seed_of(SETTINGS.seed, "standard models", "studio_test", "v2"),
    )
    np.testing.assert_array_equal(tables.draws["v2"], expected.residual_draws[:, : len(keys)])
    np.testing.assert_array_equal(rows["low_points"], expected.low_points[: len(keys)])
    # Each draw is a share of 10,000 images, and as wide as chance makes it.
    np.testing.assert_allclose(models.shift_draws * 10_000, np.rint(models.shift_draws * 10_000), atol=1e-6)
    y = models.models["shift_accuracy"].to_numpy()
    assert np.mean(models.shift_draws.std(axis=0) / np.sqrt(y * (1 - y) / 10_000)) == pytest.approx(1, abs=0.1)
