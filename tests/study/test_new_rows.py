"""A new kind of data set is a reader and a row, a new objective a class and a row, as docs/architecture.md shows."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from torch import Tensor, nn

from tools.write_docs import config_page
from whyrobust.data.archives import Pack, list_folder
from whyrobust.data.readers.dispatch import load_reader
from whyrobust.data.record_writer import RecordBuffer
from whyrobust.study.checks import plan_study, used_sources
from whyrobust.study.config import load_config
from whyrobust.study.data_kinds import DATA_KINDS, DataKind
from whyrobust.study.display_names import name_kind
from whyrobust.study.input_files import files_of
from whyrobust.study.kind_settings import DatasetSettings
from whyrobust.study.objectives_table import OBJECTIVES, Objective, ObjectiveSettings
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import Allowed, InputPath, Text, plain_values
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks
from whyrobust.training.models import read_model_config
from whyrobust.training.objectives import CrossEntropyObjective, build_objective
from whyrobust.training.settings import Hyperparameters


@dataclass(frozen=True, kw_only=True)
class NamedFiles(DatasetSettings):
    """Pictures in one folder, each named by its class."""

    folder: InputPath
    """Folder of pictures that are named <class>_<number>."""
    separator: Text = "_"
    """What ends the class in a name."""


def read_named_files_dataset(settings: Mapping[str, Any], classes: Sequence[str], pack: Pack) -> RecordBuffer:
    """Read a data set of kind ``named_files``."""
    records = RecordBuffer()
    for member in list_folder(settings["folder"]):
        label = member.path.name.partition(settings["separator"])[0]
        if label in classes:
            records.add(member.name, member, label)
        else:
            records.left_out["it is named after no class of the study"] += 1
    return records


@dataclass(frozen=True, kw_only=True)
class SquaredErrorSettings(ObjectiveSettings):
    """Settings of the squared error."""

    target: Annotated[float, Allowed(gt=0)] = 1.0
    """Score that the right class should have; the others should have 0."""


class SquaredErrorObjective(CrossEntropyObjective):
    """The squared error of one-hot labels."""

    def __init__(
        self, config: Mapping[str, Any], classes: int, ranks: Ranks = SINGLE_PROCESS, target: float = 1.0
    ) -> None:
        super().__init__(config, classes, ranks)
        self.target = target

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean squared error of the scores; ``targets`` are class ids ``[batch]``."""
        (scores,) = features
        wanted = self.target * nn.functional.one_hot(targets, self.classes)
        return nn.functional.mse_loss(scores.float(), wanted.float())


@pytest.fixture
def new_rows(monkeypatch):
    """The two rows of the page, in the tables while a test runs."""
    kind = DataKind(
        "named_files",
        "pictures that are named by their class",
        NamedFiles,
        f"{__name__}:read_named_files_dataset",
    )
    objective = Objective(
        "squared_error",
        "squared error",
        "labels",
        "classifier",
        SquaredErrorSettings,
        f"{__name__}:SquaredErrorObjective",
        source="Hui and Belkin 2021",
    )
    monkeypatch.setitem(DATA_KINDS, kind.name, kind)
    monkeypatch.setitem(OBJECTIVES, objective.name, objective)


@pytest.fixture
def study(new_rows, root, tmp_path):
    """A study of one's own pictures with the new kind and objective, in a folder that has its files."""
    for name in ("photos/cat_1.jpg", "photos/dog_1.jpg", "photos/cat_2.jpg", "photos/tree_1.jpg", "test/cat_1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n")
    (tmp_path / "resources").symlink_to(root / "resources")
    grid = {"source": "mine", "train_images": [2, 3]}
    return {
        "study": "own",
        "data": {"classes": "classes.csv", "image_size": 64},
        "sources": {"mine": {"kind": "named_files", "folder": "photos"}},
        "test_sets": {
            "same": {"kind": "named_files", "folder": "test", "role": "in_distribution", "classes": "all"},
            "other": {"kind": "named_files", "folder": "test", "role": "shift", "classes": "own", "expected_images": 1},
        },
        "runs": [{"objective": "cross_entropy"} | grid, {"objective": "squared_error"} | grid],
        "training": {"samples_seen": 100, "squared_error": {"target": 15.0}},
        "baseline": {"standard": {"objective": "cross_entropy"}},
        "causes": {
            "contrastive_loss": [
                {
                    "comparison": "squared error instead of cross-entropy",
                    "from": {"objective": "cross_entropy"},
                    "to": {"objective": "squared_error"},
                    "holds_fixed": "all else",
                }
            ]
        },
    }


def test_new_rows_are_planned(study, tmp_path):
    config = load_config(study)
    plan = plan_study(config, tmp_path)
    assert used_sources(config, plan) == ["mine"] and plan.components == {"mine": ("mine",)}
    assert files_of(config.sources["mine"], tmp_path) == ["photos"]
    assert plain_values(config.sources["mine"]) == {"kind": "named_files", "folder": "photos", "separator": "_"}
    new = [run for run in plan.runs if run.objective == "squared_error"]
    assert [(run.supervision, run.labels, run.train_images) for run in new] == [
        ("labels", "annotated", 2),
        ("labels", "annotated", 3),
    ]
    assert [head.head for head in plan.heads[new[0].run]] == ["classifier"]
    assert config.training.hyperparameters_of("squared_error", fine_tuned=False)["target"] == 15.0
    assert name_kind("squared_error", "labels", "", "mine") == "squared error on mine labels"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["sources"]["mine"].update(root="x"),
            r"mine\.root is not known for kind 'named_files': .* separator",
        ),
        (lambda c: c["sources"]["mine"].update(folder="gone"), r"mine\.folder is 'gone': there is no such file"),
        (lambda c: c["test_sets"]["same"].pop("folder"), r"same\.folder is missing: kind 'named_files' needs it"),
        (lambda c: c["training"]["squared_error"].update(target=0), r"squared_error\.target is 0: .* above 0"),
        (lambda c: c["runs"][1].update(caption="title"), r"runs\[1\]\.caption is 'title': objective 'squared_error'"),
    ],
)
def test_new_rows_are_checked(study, tmp_path, change, message):
    change(study)
    with pytest.raises(ConfigError, match=message):
        plan_study(load_config(study), tmp_path)


def test_a_new_kind_is_read(study, tmp_path):
    settings = plain_values(load_config(study).sources["mine"])
    read = load_reader(DATA_KINDS["named_files"].reader)
    records = read(settings | {"folder": tmp_path / "photos"}, ["cat", "dog"], Pack(io.BytesIO(), "pack"))
    assert records.presence.found == 3 and sum(records.left_out.values()) == 1


def test_a_new_objective_has_a_loss(study, root):
    training = load_config(study).training
    model = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    given = training.hyperparameters_of("squared_error", fine_tuned=False) | {"samples_seen": 100}
    objective = build_objective("squared_error", model, 3, Hyperparameters.from_mapping(given).objective)
    images, targets = torch.rand(4, 3, 32, 32), torch.tensor([0, 2, 1, 1])
    (scores,) = objective(images, targets)
    wanted = torch.zeros(4, 3)
    wanted[range(4), targets] = 15.0
    assert objective.loss((scores,), targets).item() == pytest.approx(((scores - wanted) ** 2).mean().item())


def test_new_rows_are_documented(new_rows):
    page = config_page()
    assert "### named_files" in page and "| `separator` | What ends the class in a name. |" in page
    assert "| `training.squared_error.target` |" in page and "Hui and Belkin 2021" in page


def test_the_page_shows_what_is_tested_here(root):
    """The page's code is that of this file, but for where the reader and the class are."""
    page = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    here = re.sub(r"\s+", " ", Path(__file__).read_text(encoding="utf-8"))
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        code = (
            re.sub(r"\s+", " ", re.sub(r'"whyrobust[\w.]+:(\w+)"', r'f"{__name__}:\1"', block))
            .strip()
            .removesuffix(",")
        )
        assert code in here, block
