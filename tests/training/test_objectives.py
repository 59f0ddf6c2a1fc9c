"""A new objective is a class and a row of the objectives table: nothing in training names objectives one by one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import whyrobust.training
from tests.processes import CLASSES, HYPER, made_up_pictures
from whyrobust.study.objectives_table import OBJECTIVES, CrossEntropySettings, Objective
from whyrobust.training.device import ComputeSettings
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.objectives import CrossEntropyObjective
from whyrobust.training.settings import Hyperparameters, TrainingSettings


class SquaredErrorObjective(CrossEntropyObjective):
    """The squared error of one-hot labels, of two views of each image."""

    def __init__(self, config, classes, ranks, target=1.0):
        super().__init__(config, classes, ranks)
        self.target = target

    def loss(self, features, targets):
        """Return the mean squared error."""
        (scores,) = features
        assert len(scores) == 2 * len(targets), "two views of each image"
        wanted = self.target * nn.functional.one_hot(targets, self.classes).repeat(2, 1)
        return nn.functional.mse_loss(scores.float(), wanted.float())


@pytest.fixture
def squared_error(monkeypatch):
    row = Objective(
        "squared_error", "squared error", "labels", "classifier", CrossEntropySettings,
        f"{__name__}:SquaredErrorObjective", views=2,
    )  # fmt: skip
    monkeypatch.setitem(OBJECTIVES, row.name, row)
    return row.name


def test_an_objective_registered_in_the_table_is_trained_with_its_own_settings_and_views(squared_error, root):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    images = made_up_pictures()
    targets = torch.arange(len(images)) % CLASSES
    final = {}
    for target in (1.0, 5.0):
        losses = []
        hyper = dataclasses.replace(HYPER, samples_seen=40 * 16, objective={"target": target})
        settings = TrainingSettings(squared_error, config, CLASSES, 0, hyper, ComputeSettings("cpu"))
        weights = train(images, targets, settings, lambda progress, losses=losses: losses.append(progress.loss))
        assert np.mean(losses[-5:]) < losses[0]
        final[target] = weights["classifier.weight"]
    assert not torch.equal(final[1.0], final[5.0])


def test_a_setting_that_the_objective_does_not_have_is_an_error(squared_error, root):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    hyper = dataclasses.replace(HYPER, objective={"margin": 1.0})
    settings = TrainingSettings(squared_error, config, CLASSES, 0, hyper, ComputeSettings("cpu"))
    with pytest.raises(TypeError, match="margin"):
        train(made_up_pictures(), torch.arange(40) % CLASSES, settings, lambda _: None)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_the_settings_of_every_row_fit_its_objective(name, root):
    """What is neither a hyper-parameter of all nor of the augmentation reaches the class by its keyword."""
    values = dataclasses.asdict(OBJECTIVES[name].settings()) | {"flip": True, "samples_seen": 32}
    hyper = Hyperparameters.from_mapping(values)
    own = hyper.objective.keys()
    assert own == values.keys() & {"label_smoothing", "temperature", "projection_dim"}
    assert hyper.augmentation.min_crop_area == values.get("min_crop_area", 1.0)


def test_training_names_no_objective_one_by_one():
    sources = [path.read_text(encoding="utf-8") for path in Path(whyrobust.training.__path__[0]).glob("*.py")]
    assert len(sources) > 10
    assert not [name for name in OBJECTIVES for source in sources if f'"{name}"' in source]
