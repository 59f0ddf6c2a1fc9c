"""Raw differences team by team, against plain loops over single images and the table of causes they add up to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tests.analysis.test_attribution import SETTINGS, make_study
from whyrobust.analysis.accuracies import EQUAL_CLASSES, KEYS, PER_IMAGE, OutcomeError, image_weights
from whyrobust.analysis.attribution import attribute_causes
from whyrobust.analysis.effects import match_comparisons
from whyrobust.analysis.measured import MeasuredShift
from whyrobust.analysis.team_differences import TEAM_COLUMNS, differences_by_team
from whyrobust.files import write_table
from whyrobust.study.comparisons import Comparison

#: Shifts with teams of their own; "cartoon" is of drawings, "objects" of one team.
IMAGES = {"v2": 40, "rendition": 23, "cartoon": 12, "sketch": 30, "objects": 9}


def make_answers(runs, seed):
    """Return the predictions of all evaluated runs on all shifts: teams and classes of very different sizes."""
    rng = np.random.default_rng(seed)
    parts = []
    for shift, count in IMAGES.items():
        teams = rng.choice(["ann", "bob", "cem"], size=count, p=[0.7, 0.2, 0.1]) if shift != "objects" else "ann"
        images = pd.DataFrame({"unit": teams, "label": rng.choice(["cat", "dog", "owl"], count, p=[0.8, 0.1, 0.1])})
        images = images.assign(group=[f"g{number // 2}" for number in range(count)], test_set=shift)
        for key in runs[list(KEYS)].to_dict("records"):
            parts.append(images.assign(correct=rng.random(count) < rng.random(), **key))
    return pd.concat(parts, ignore_index=True)


def make_shifts():
    """Return ``shifts.csv``, with the average over shifts, whose unit is that of its shifts."""
    rows = [(name, "shift", "drawing" if name == "cartoon" else "team") for name in IMAGES]
    return pd.DataFrame([("web_test", "in_distribution", "team"), *rows, ("average", "average", "team")],
                        columns=["test_set", "role", "unit"])  # fmt: skip


def answered(measured, runs, answers, class_weights) -> dict[str, MeasuredShift]:
    """Return the shifts with the accuracies of these answers, and the average over two of them."""
    by_key = dict(list(answers.groupby(["test_set", *KEYS], sort=False)))
    found = {}
    for shift, one in measured.items():
        accuracies = []
        for key in runs[list(KEYS)].itertuples(index=False, name=None):
            part = by_key[shift, *key]
            accuracies.append(np.average(part["correct"], weights=image_weights(part["label"], class_weights)))
        found[shift] = replace(one, shift_accuracy=np.array(accuracies))
    return found | {"average": replace(found["v2"], role="average")}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with shifts of teams, and the file of its predictions."""
    runs, measured, comparisons = make_study()
    answers = make_answers(runs, 3)
    path = tmp_path_factory.mktemp("teams") / "predictions.parquet"
    write_table(path, answers.astype(dict.fromkeys([*KEYS, "test_set", "unit", "label", "group"], "category")))
    return runs, measured, comparisons, answers, path


@pytest.mark.parametrize("class_weights", [PER_IMAGE, EQUAL_CLASSES])
def test_a_team_has_the_mean_over_seeds_and_pairs_of_what_its_own_images_show(study, class_weights):
    """A plain loop: an image counts for one, or for one over the images of its class in the whole test set."""
    runs, measured, comparisons, answers, path = study
    shifts = answered(measured, runs, answers, class_weights)
    table = differences_by_team(comparisons, runs, shifts, make_shifts(), path, "logit", class_weights)
    assert tuple(table.columns) == TEAM_COLUMNS
    main = [comparisons[0], comparisons[2]]  # the second is another of the first's cause
    assert set(table["shift"]) == {"v2", "rendition", "sketch", "objects"}
    named = [(one.cause, one.name) for one in main]
    assert list(dict.fromkeys(zip(table["cause"], table["comparison"], strict=True))) == named
    pairs_of, keys = match_comparisons(main, runs), list(runs[list(KEYS)].itertuples(index=False, name=None))
    lists = {key: list(part.itertuples()) for key, part in answers.groupby(["test_set", *KEYS])}
    for row in table.to_dict("records"):
        (number,) = (at for at, one in enumerate(main) if one.name == row["comparison"])
        images = lists[row["shift"], *keys[0]]
        of_class = Counter(image.label for image in images)

        def weigh(image, of_class=of_class):
            return 1.0 if class_weights == PER_IMAGE else 1.0 / of_class[image.label]

        def accuracy(model, row=row, weigh=weigh):
            own = [image for image in lists[row["shift"], *keys[model]] if image.unit == row["team"]]
            return sum(weigh(image) * image.correct for image in own) / sum(weigh(image) for image in own)

        by_seed: dict[int, list[float]] = {}
        for pair in pairs_of[number]:
            by_seed.setdefault(pair.seed, []).append(accuracy(pair.end) - accuracy(pair.starts[0]))
        expected = np.mean([np.mean(differences) for differences in by_seed.values()])
        assert row["raw_shift_points"] == pytest.approx(100 * expected, abs=1e-10)
        of_team = [image for image in images if image.unit == row["team"]]
        assert row["images"] == len(of_team) > 0
        share = sum(weigh(image) for image in of_team) / sum(weigh(image) for image in images)
        assert row["weight"] == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("matched", [False, True])
@pytest.mark.parametrize("class_weights", [PER_IMAGE, EQUAL_CLASSES])
def test_teams_add_up_to_the_raw_difference_of_the_table_of_causes(study, class_weights, matched):
    """At matched accuracy too, where a pair's start is a mixture of two models."""
    runs, measured, comparisons, answers, path = study
    if matched:
        fields = {"source": "web", "train_images": [1000, 2000]}
        comparisons = [
            Comparison("language_at_training", "matched", fields, {"source": "studio", "train_images": [2000]},
                       {"head": "classifier"}, "", True)
        ]  # fmt: skip
        measured = {
            name: replace(one, id_accuracies=0.3 + 0.2 * np.stack([runs["train_images"] / 2000] * 2, axis=1)
                          + 0.1 * one.id_accuracies)
            for name, one in measured.items()
        }  # fmt: skip
    shifts = answered(measured, runs, answers, class_weights)
    table = differences_by_team(comparisons, runs, shifts, make_shifts(), path, "logit", class_weights)
    causes = attribute_causes(comparisons, runs, shifts, SETTINGS)
    expected = causes[causes["main"] & causes["shift"].isin(set(table["shift"])) & (causes["pairs"] > 0)]
    added = (table["weight"] * table["raw_shift_points"]).groupby([table["comparison"], table["shift"]]).sum()
    assert len(added) == len(expected) > 0
    wanted = expected.set_index(["comparison", "shift"])["raw_shift_points"].loc[added.index]
    np.testing.assert_allclose(added, wanted, rtol=0, atol=1e-9)
    assert table.groupby(["comparison", "shift"])["weight"].sum().to_numpy() == pytest.approx(1)


def test_without_pairs_or_teams_there_is_a_header_and_missing_predictions_are_named(study):
    runs, measured, comparisons, answers, path = study
    shifts, teams = answered(measured, runs, answers, PER_IMAGE), make_shifts()
    nothing = [replace(comparisons[0], end={"source": "moon"})]
    of_drawings = teams.assign(unit="drawing")
    for given_comparisons, given_shifts in ((nothing, teams), (comparisons, of_drawings)):
        table = differences_by_team(given_comparisons, runs, shifts, given_shifts, path, "logit", PER_IMAGE)
        assert tuple(table.columns) == TEAM_COLUMNS and not len(table)
    unknown = runs.assign(run=runs["run"] + "-other")
    with pytest.raises(OutcomeError, match="no predictions on"):
        differences_by_team(comparisons, unknown, shifts, teams, path, "logit", PER_IMAGE)
