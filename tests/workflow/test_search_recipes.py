"""The search of recipes for the benchmarks: the best lies inside of what was tried, with the fewest images."""

from __future__ import annotations

import math
from dataclasses import asdict

import pandas as pd
import pytest

from benchmarks.recipes import IMAGES, Recipe, chosen_recipe
from benchmarks.rows import CannotMeasureError
from benchmarks.search_recipes import RATES, SAMPLES, reaches, search
from whyrobust.files import write_table
from whyrobust.study.config import load_config
from whyrobust.study.config_file import read_config_file


def trials(most, images=40_000, rate=0.04, batch=16, decay=0.8, augmentation=0.01):
    """Return trials that are best at a learning rate, a batch and a weight decay, and reach ``most`` with many images.

    Augmentation adds to the accuracy, or takes away from it.
    """

    def carry_out(recipes):
        def accuracy(recipe):
            away = abs(recipe.learning_rate - rate) + abs(recipe.batch_size - batch) / 1000
            away += 0.001 * abs(math.log(recipe.weight_decay / decay, 4))
            gained = augmentation * recipe.augmented - 0.2 * (recipe.optimizer == "sgd")
            return max(0.0, most * min(1, recipe.samples / images) - away + gained)

        return [
            asdict(recipe) | {"seed": 100, "held_out_images": 100_000, "held_out_accuracy": accuracy(recipe)}
            for recipe in recipes
        ]

    return carry_out


def test_the_search_goes_on_until_the_best_lies_inside_and_enough_images_are_shown():
    rows = search("labels", "torchvision", trials(0.7, augmentation=0.0))
    assert {row["optimizer"] for row in rows} == set(RATES["torchvision"])
    (chosen,) = [row for row in rows if row["chosen"]]
    best = {name: chosen[name] for name in ("optimizer", "learning_rate", "batch_size", "weight_decay")}
    assert best == {"optimizer": "adamw", "learning_rate": 0.04, "batch_size": 16, "weight_decay": 0.8}
    # 0.7 of 45,000 images; 30,000 are too few for 0.6, and more are not tried.
    assert chosen["samples"] == max(row["samples"] for row in rows) == 45_000
    fields = Recipe.__dataclass_fields__
    assert len({tuple(row[name] for name in fields) for row in rows}) == len(rows)


@pytest.mark.parametrize("gained, augmented", [(0.05, True), (-0.05, False)])
def test_augmentation_is_left_out_where_that_is_better(gained, augmented):
    rows = search("labels", "torchvision", trials(0.7, augmentation=gained))
    assert {row["augmented"] for row in rows} == {True, False}
    ladder = [row for row in rows if row["samples"] != SAMPLES]
    assert {row["augmented"] for row in ladder} == {augmented}
    assert [row["augmented"] for row in rows if row["chosen"]] == [augmented]


def test_open_clip_train_keeps_its_own_crops_and_trains_for_whole_epochs():
    rows = search("clip", "open_clip_train", trials(0.7))
    assert not any(row["augmented"] for row in rows)
    assert not any(row["samples"] % IMAGES for row in rows)


@pytest.mark.parametrize("images, enough", [(100, False), (10_000, True)])
def test_an_accuracy_that_may_be_chance_is_not_enough(images, enough):
    assert reaches({"held_out_images": images, "held_out_accuracy": 0.62}, 0.60) is enough


@pytest.fixture(scope="module")
def used(root):
    """The settings of cross-entropy in the icons study."""
    settings = load_config(read_config_file(root / "config.yaml")).training.settings_of("cross_entropy")
    return {"rate": settings.learning_rate, "batch": settings.batch_size, "decay": settings.weight_decay}


def test_ours_is_trained_as_the_config_says(used):
    rows = search("labels", "ours", trials(0.9, **used))
    asked = {(row["optimizer"], row["learning_rate"], row["batch_size"], row["weight_decay"]) for row in rows}
    assert asked == {("muon", *used.values())}
    assert [row["samples"] for row in rows if row["chosen"]] == [30_000]
    # With more images it is better still: the fewest that are enough are chosen.
    rows = search("labels", "ours", trials(0.9, images=20_000, **used))
    assert [row["samples"] for row in rows if row["chosen"]] == [15_000]


def test_a_row_has_the_recipe_that_was_chosen(tmp_path, used):
    path = tmp_path / "recipes.csv"
    with pytest.raises(CannotMeasureError, match="search_recipes"):
        chosen_recipe("labels", "ours", path)
    write_table(path, pd.DataFrame(search("labels", "ours", trials(0.9, **used))))
    assert chosen_recipe("labels", "ours", path) == Recipe("labels", "ours", "muon", *used.values(), 30_000)
    with pytest.raises(CannotMeasureError, match="0 chosen"):
        chosen_recipe("clip", "ours", path)
