"""The sensitivity analysis: the main comparisons with classes weighted the other way, against the main code."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whyrobust.analysis.accuracies import KEYS, OTHER_WEIGHTS, accuracy_table, count_correct
from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.effective_robustness import MeasurementSettings
from whyrobust.analysis.measured import evaluated_runs, read_measured
from whyrobust.analysis.other_weights import attribute_with_other_weights
from whyrobust.analysis.study_tables import measure_study
from whyrobust.study.comparisons import Comparison
from whyrobust.study.plan import Head

HEADS = [Head("classifier", "", "", True), Head("linear_probe", "", "own", False)]
FIELDS = {
    "train_images": 100, "objective": "cross_entropy", "supervision": "labels", "caption": "", "labels": "annotated",
    "pretrained_by": "", "model": "m", "samples_seen": 1000,
}  # fmt: skip
COMPARISONS = [
    Comparison("training_distribution", "web", {"source": "studio"}, {"source": "web"}, {}, "all else"),
    Comparison("training_distribution", "web again", {"source": "studio"}, {"source": "web"}, {}, "all else"),
]
SHIFTS = pd.DataFrame(
    [("one_test", "in_distribution", "studio"), ("two_test", "in_distribution", "web"), ("v2", "shift", "")],
    columns=["test_set", "role", "source"],
).assign(seen_in="", units=7, reason="")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Runs of two sources whose web models are right on one frequent class of the shift and on no rare one."""
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(
        [
            {"run": f"{source}-{seed}", "source": source, "seed": seed, "standard": True} | FIELDS
            for source in ("studio", "web")
            for seed in range(4)
        ]
    )
    path = tmp_path_factory.mktemp("weights") / "predictions.parquet"
    writer, parts = None, []
    for number, (run, source) in enumerate(zip(runs["run"], runs["source"], strict=True)):
        for test_set in SHIFTS["test_set"]:
            label = np.array(["often"] * 60 + ["seldom"] * 12)
            for head in HEADS:
                chance = np.full(72, 0.3 + 0.05 * (number % 4))
                if test_set == "v2" and source == "web":
                    chance = np.where(label == "often", 0.9, 0.05)
                key = {"run": run} | {name: asdict(head)[name] for name in KEYS[1:]}
                of_images = {"group": np.arange(72).astype(str), "unit": [f"team {i % 7}" for i in range(72)]}
                parts.append(
                    pd.DataFrame(
                        key | of_images | {"test_set": test_set, "label": label, "correct": rng.random(72) < chance}
                    )
                )
            table = pa.Table.from_pandas(pd.concat(parts[-2:]), preserve_index=False)
            table = pa.table(
                {n: table[n].dictionary_encode() if n != "correct" else table[n] for n in table.column_names}
            )
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    writer.close()
    return runs, path, pd.concat(parts)


def counted(runs, predictions, weights):
    of_runs = [count_correct(part, HEADS, 0.99, weights) for _, part in predictions.groupby("run", sort=False)]
    return accuracy_table(runs, pd.concat(of_runs), 0.99)


@pytest.mark.parametrize("weights", ["images", "equal"])
def test_the_main_comparisons_are_measured_as_a_study_with_the_other_weights_would(study, weights):
    runs, path, predictions = study
    settings = EffectSettings()
    own = MeasurementSettings(
        resamples=40, band_points=3, accuracy_confidence=0.99, class_weights=OTHER_WEIGHTS[weights]
    )
    whole = counted(runs, predictions, weights)
    found = attribute_with_other_weights(path, whole, runs, SHIFTS, COMPARISONS, own, settings)
    assert set(found["comparison"]) == {"web"} and set(found["class_weights"]) == {weights}
    assert list(found["shift"]) == ["mean", "v2"]
    tables = measure_study(
        whole,
        path,
        dict(zip(runs["run"], runs["source"], strict=True)),
        ["v2"],
        {"one_test": "studio", "two_test": "web"},
        MeasurementSettings(resamples=40, band_points=3, accuracy_confidence=0.99, class_weights=weights),
    )
    measured = read_measured(tables.effective_robustness, tables.draws, tables.accuracy_draws, whole, SHIFTS)
    expected = attribute_causes(COMPARISONS, evaluated_runs(tables.effective_robustness, runs), measured, settings)
    columns = ["effect_points", "low_points", "high_points", "p_adjusted", "raw_shift_points"]
    np.testing.assert_allclose(found[columns], expected.loc[expected["comparison"] == "web", columns])
    # Web is right on the frequent class alone, so that it is far better over images than over classes.
    assert (found["raw_shift_points"] > 25).all() == (weights == "images")
