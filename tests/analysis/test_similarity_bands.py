"""Accuracy by band of similarity, against plain sums over images, teams and pairs."""

import math
import statistics

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from whyrobust.analysis.accuracies import Outcomes
from whyrobust.analysis.similarity_bands import (
    BandSettings,
    compare_in_bands,
    difference_by_band,
    similarity_gaps,
    styles_seen,
    summarise_nearest,
)
from whyrobust.files import write_table
from whyrobust.study.comparisons import Comparison

SETTINGS = BandSettings(confidence=0.95, resamples=8000, seed=0)


def outcomes_of(correct, teams=8, drawings=3):
    """Return outcomes of images that are two to a drawing, in teams of equally many drawings."""
    images = np.arange(correct.shape[1])
    return Outcomes(
        correct=correct,
        groups=np.array([f"g{number // 2}" for number in images], dtype=object),
        units=np.array([f"t{number // (2 * drawings) % teams}" for number in images], dtype=object),
        labels=np.array(["c"] * len(images), dtype=object),
    )


def test_each_band_has_the_images_whose_difference_lies_in_it():
    gaps = np.array([-0.5, -0.1, -0.0301, -0.03, 0.0, 0.0299, 0.03, 0.0999, 0.1, 1.0])
    correct = np.zeros((2, 10), dtype=bool)
    correct[1, [0, 3, 6, 7, 8, 9]] = True
    rows = difference_by_band(outcomes_of(correct, 2, 1), 1, gaps, BandSettings(0.95, 50, 0), 0)
    assert [(row["band_low"], row["band_high"], row["images"]) for row in rows] == [
        (-2, -0.1, 1), (-0.1, -0.03, 2), (-0.03, 0.03, 3), (0.03, 0.1, 2), (0.1, 2, 2)
    ]  # fmt: skip
    assert [row["difference_points"] for row in rows] == pytest.approx([100, 0, 100 / 3, 100, 100])
    assert [row["accuracy_from"] for row in rows] == [0] * 5
    # All right or all wrong: no interval.
    assert [math.isnan(row["low_points"]) for row in rows] == [True, True, False, True, True]
    few = difference_by_band(outcomes_of(correct, 2, 1), 1, np.zeros(10), BandSettings(0.95, 50, 0), 0)
    assert [row["images"] for row in few] == [10]


@pytest.mark.parametrize("pairs", [1, 2, 5])
def test_the_interval_is_that_of_pairs_and_of_drawings_in_teams(pairs):
    rng = np.random.default_rng(pairs)
    ease = np.repeat(rng.normal(size=8), 6) + np.repeat(rng.normal(size=24), 2)
    helped = np.repeat(rng.random(8) < 0.6, 6)
    skill = rng.normal(0, 0.5, 2 * pairs)
    gain = np.repeat([0.0, 1.0], pairs)[:, None] * helped[None]
    correct = rng.normal(size=(2 * pairs, 48)) < ease[None] + skill[:, None] + gain
    (row,) = difference_by_band(outcomes_of(correct), pairs, np.zeros(48), SETTINGS, 0)

    differences = [sum(map(int, correct[pairs + p])) / 48 - sum(map(int, correct[p])) / 48 for p in range(pairs)]
    mean = statistics.fmean(differences)
    assert row["difference_points"] == pytest.approx(100 * mean)
    assert (row["images"], row["units"], row["pairs"]) == (48, 8, pairs)

    # Davison and Hinkley 1997, section 3.8, for a balanced design: teams of three drawings of two images.
    per_image = [
        statistics.fmean(int(correct[pairs + p, i]) - int(correct[p, i]) for p in range(pairs)) for i in range(48)
    ]
    drawings = [[statistics.fmean(per_image[6 * t + 2 * d : 6 * t + 2 * d + 2]) for d in range(3)] for t in range(8)]
    teams = [statistics.fmean(values) for values in drawings]
    between = sum((team - mean) ** 2 for team in teams) / 8**2
    within = sum((value - team) ** 2 for team, values in zip(teams, drawings, strict=True) for value in values) / 24**2
    of_images = between + within
    of_pairs = statistics.variance(differences) / pairs if pairs > 1 else 0.0
    if of_pairs:
        quantile = stats.t.ppf(0.975, (of_images + of_pairs) ** 2 / (of_pairs**2 / (pairs - 1)))
    else:
        quantile = stats.norm.ppf(0.975)
    half = 100 * quantile * math.sqrt(of_images + of_pairs)
    assert row["high_points"] - row["difference_points"] == pytest.approx(half, rel=0.04)
    assert row["difference_points"] - row["low_points"] == pytest.approx(half, rel=0.04)


def similarity_table(values):
    """Return ``similarity.parquet`` as a table, from test_set -> source -> similarities."""
    rows = [
        (test_set, f"{test_set}{number}", source, "x", value)
        for test_set, sources in values.items()
        for source, similarities in sources.items()
        for number, value in enumerate(similarities)
    ]
    return pd.DataFrame(rows, columns=["test_set", "uid", "source", "nearest_uid", "similarity"])


def test_gaps_are_in_the_order_of_the_uids():
    table = similarity_table({"a": {"web": [0.9, 0.5], "studio": [0.4, 0.6]}, "b": {"web": [0], "studio": [1]}})
    assert similarity_gaps(table, "a", "studio", "web", ["a1", "a0"]) == pytest.approx([-0.1, 0.5])
    assert similarity_gaps(table, "a", "web", "studio", ["a0"]) == pytest.approx([-0.5])


def test_a_source_is_nearest_where_it_is_nearer_than_all_others():
    table = similarity_table(
        {
            "cartoon": {"photos": [0.5, 0.5, 0.5, 0.5], "all": [0.54, 0.6, 0.7, 0.52], "art": [0.5, 0.5, 0.68, 0.1]},
            "same": {"photos": [0.9, 0.9], "all": [0.9, 0.5], "art": [0.1, 0.1]},
        }
    )
    nearest = summarise_nearest(table).set_index(["test_set", "source"])
    assert nearest.loc[("cartoon", "all"), "nearest_share"] == 0.5
    assert nearest.loc[("cartoon", "all"), "median_similarity"] == pytest.approx(0.57)
    assert nearest.loc[("same", "photos"), "nearest_share"] == 0.5
    assert nearest.loc[("same", "art"), "nearest_share"] == 0
    assert (nearest["images"] == [4, 4, 4, 2, 2, 2]).all()
    assert styles_seen(summarise_nearest(table), ["cartoon"]) == []
    closer = similarity_table({"cartoon": {"photos": [0.5, 0.5, 0.5], "all": [0.6, 0.6, 0.5]}})
    assert styles_seen(summarise_nearest(closer), ["cartoon"]) == [("cartoon", "all", pytest.approx(2 / 3))]
    assert styles_seen(summarise_nearest(closer), ["other"]) == []


def test_runs_are_compared_by_objective_on_every_test_set(tmp_path):
    rows, predictions = [], []
    similar = {"shift": {"studio": [0.5] * 8, "web": [0.5] * 4 + [0.7] * 4}}
    for objective in ("cross_entropy", "clip"):
        for seed in (0, 1):
            for source in ("studio", "web"):
                run = f"{objective}-{source}-{seed}"
                head = "classifier" if objective == "cross_entropy" else "zero_shot"
                fields = {"train_images": 8, "supervision": "x", "caption": "", "labels": "", "pretrained_by": ""}
                rows.append(
                    {"run": run, "source": source, "seed": seed, "objective": objective, "model": "m", "main": True,
                     "samples_seen": 1, "head": head, "prompts": "", "fitted_on": "", **fields}
                )  # fmt: skip
                for image in range(8):
                    right = image % 2 == 0 or (source == "web" and image >= 4 and objective == "cross_entropy")
                    predictions.append(
                        (run, head, "", "", "shift", f"shift{image}", f"g{image}", f"t{image}", "c", right)
                    )
    columns = ["run", "head", "prompts", "fitted_on", "test_set", "uid", "group", "unit", "label", "correct"]
    frame = pd.DataFrame(predictions, columns=columns)
    for name in columns[:5]:
        frame[name] = frame[name].astype("category")
    write_table(tmp_path / "predictions.parquet", pa.Table.from_pandas(frame, preserve_index=False))
    comparison = Comparison("training_distribution", "web", {"source": "studio"}, {"source": "web"}, {}, "")
    bands = compare_in_bands(
        similarity_table(similar), tmp_path / "predictions.parquet", rows, [comparison], BandSettings(0.95, 200, 0)
    )
    assert bands[["from", "to", "test_set", "pairs"]].drop_duplicates().to_numpy().tolist() == [
        ["studio", "web", "shift", 2]
    ]
    shown = bands.set_index(["objective", "band_low"])
    assert shown["images"].tolist() == [4] * 4
    assert shown.loc[("cross_entropy", -0.03), "difference_points"] == 0
    assert shown.loc[("cross_entropy", 0.1), "difference_points"] == 50
    assert shown.loc[("clip", 0.1), "difference_points"] == 0
    assert shown.loc[("cross_entropy", 0.1), ["accuracy_from", "accuracy_to"]].tolist() == [0.5, 1.0]
