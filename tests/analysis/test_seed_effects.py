"""The effects of main comparisons seed by seed, against plain loops over pairs and the tables they are terms of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from tests.analysis.test_attribution import SETTINGS, make_shift, make_study
from whyrobust.analysis.attribution import add_means, attribute_causes, attribute_on_line
from whyrobust.analysis.effects import match_comparisons
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.analysis.seed_effects import SEED_COLUMNS, effects_by_seed
from whyrobust.study.comparisons import Comparison


def test_every_seed_has_the_mean_difference_of_its_pairs():
    runs, measured, comparisons = make_study()
    paper = {name: make_shift(0.3 * one.residuals, noise=0.2, seed=9, role=one.role, seen_in=one.seen_in)
             for name, one in measured.items()}  # fmt: skip
    table = effects_by_seed(comparisons, runs, measured, paper, SETTINGS)
    assert tuple(table.columns) == SEED_COLUMNS
    main = [comparisons[0], comparisons[2]]  # the second is another of the first's cause
    shifts = list(add_means(measured))
    keys = [[one.name, shift, seed] for one in main for shift in shifts for seed in (1, 2, 3)]
    assert table[["comparison", "shift", "seed"]].to_numpy().tolist() == keys
    pairs_of = match_comparisons(main, runs)
    by_key = table.set_index(["comparison", "shift", "seed"])
    for number, comparison in enumerate(main):
        for shift, one in add_means(measured).items():
            line = add_means(paper)[shift]
            for seed in (1, 2, 3):
                pairs = [(pair.starts[0], pair.end) for pair in pairs_of[number] if pair.seed == seed]
                row = by_key.loc[comparison.name, shift, seed]
                assert row["pairs"] == len(pairs) > 0
                for column, values in (
                    ("effect_logits", one.residuals),
                    ("paper_logits", line.residuals),
                    ("raw_id_points", 100 * one.id_accuracies.mean(axis=1)),
                    ("raw_shift_points", 100 * one.shift_accuracy),
                ):
                    expected = sum(values[end] - values[start] for start, end in pairs) / len(pairs)
                    assert row[column] == pytest.approx(expected, abs=1e-12)
                for kind in ("effect", "paper"):
                    in_points = 100 * (expit(row[f"{kind}_logits"]) - 0.5)
                    assert row[f"{kind}_points"] == pytest.approx(in_points, abs=1e-10)


def test_the_effects_of_the_tables_are_means_over_seeds():
    runs, measured, comparisons = make_study()
    paper = {name: replace(one, residuals=one.residuals**2 - 0.1) for name, one in measured.items()}
    table = effects_by_seed(comparisons, runs, measured, paper, SETTINGS)
    means = table.groupby(["comparison", "shift"]).mean(numeric_only=True)
    for found, effect in (
        (attribute_causes(comparisons, runs, measured, SETTINGS), "effect_logits"),
        (attribute_on_line(comparisons, runs, paper, SETTINGS), "paper_logits"),
    ):
        rows = found[found["main"]].set_index(["comparison", "shift"]).loc[means.index]
        np.testing.assert_allclose(means[effect], rows["effect_logits"], rtol=0, atol=1e-12)
        for raw in ("raw_id_points", "raw_shift_points"):
            np.testing.assert_allclose(means[raw], rows[raw], rtol=0, atol=1e-10)


def test_a_seed_without_a_pair_by_one_measurement_has_the_other_and_a_comparison_without_pairs_no_row():
    """At matched accuracy: seed 1 is outside of its starts by the paper's test set, seed 2 by the others, 3 by both."""
    runs, measured, _ = make_study()
    matched = Comparison(
        cause="training_distribution",
        name="at matched accuracy",
        start={"source": "studio", "train_images": [1000, 2000]},
        end={"source": "web", "train_images": [2000]},
        where={"head": "classifier"},
        holds_fixed="",
        matched_accuracy=True,
    )
    nothing = replace(matched, cause="training_set_size", end={"source": "moon"})
    starts = 0.3 + 0.3 * (runs["train_images"] == 2000).to_numpy()
    of_web, seeds = (runs["source"] == "web").to_numpy(), runs["seed"].to_numpy()

    def placed(outside: list[int]) -> dict[str, MeasuredShift]:
        accuracies = np.where(of_web, np.where(np.isin(seeds, outside), 0.9, 0.45), starts)
        return {name: replace(one, id_accuracies=np.stack([accuracies] * 2, axis=1)) for name, one in measured.items()}

    table = effects_by_seed([nothing, matched], runs, placed([2, 3]), placed([1, 3]), SETTINGS)
    assert set(table["comparison"]) == {"at matched accuracy"}
    for _, rows in table.groupby("shift"):
        assert rows["seed"].tolist() == [1, 2] and rows["pairs"].tolist() == [1, 0]
        for column in ("effect_logits", "effect_points", "raw_id_points", "raw_shift_points"):
            assert np.isfinite(rows[column]).tolist() == [True, False]
        for column in ("paper_logits", "paper_points"):
            assert np.isfinite(rows[column]).tolist() == [False, True]
