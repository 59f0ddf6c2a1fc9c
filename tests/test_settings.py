"""A wrong config is one line that names the key, the value and what is allowed."""

from __future__ import annotations

import pytest
import yaml

from whyrobust.config_docs import describe_keys
from whyrobust.settings import ConfigError, plan_study

SCHEMA = "workflow/schemas/config.schema.yaml"


def change(config, path, value):
    place = config
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value


@pytest.mark.parametrize("name", ["config.yaml", "config/smoke.yaml", "config/icons-full.yaml"])
def test_shipped_configs_are_valid(root, name):
    config = yaml.safe_load((root / name).read_text(encoding="utf-8"))
    study = plan_study(config, root / SCHEMA, root)
    assert len(study.runs) >= 10
    assert len({contrast.cause for contrast in study.contrasts}) == 5
    assert all(study.heads[run.run][0].main for run in study.runs if run.evaluated)


def test_the_default_study_has_24_runs_and_3_seeds(config, root):
    runs = plan_study(config, root / SCHEMA, root).runs
    assert len(runs) >= 24 and len({run.seed for run in runs}) >= 3


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["stduy"], "x", ["stduy", "study"]),
        (["seeds"], None, ["seeds", "list"]),
        (["data", "image_size"], 33, ["data.image_size", "33", "32, 48, 64"]),
        (["data", "held_out_share"], 1.5, ["data.held_out_share", "1.5", "at most 0.9"]),
        (["data", "classes"], "nowhere.csv", ["data.classes", "nowhere.csv"]),
        (["sources", "studio", "part"], "moon", ["sources.studio.part", "moon", "studio"]),
        (["sources", "studio", "part"], "v2", ["v2", "test_sets"]),
        (["training", "clip", "learning_rate"], "fast", ["training.clip.learning_rate", "fast", "a number"]),
        (["runs", 0, "train_images"], 10**7, ["train_images", "10000000", "at most"]),
        (["runs", 0, "train_images"], "many", ["runs[0].train_images", "many", "a whole number"]),
        (["runs", 0, "source"], "moon", ["runs[0].source", "moon", "studio, web"]),
        (["runs", 0, "size"], 5, ["runs[0].size", "train_images"]),
        (["runs", 5, "caption"], None, ["runs[5].caption", "captions"]),
        (["runs", 10, "pretrain"], {"objective": "clip"}, ["runs[10].pretrain.caption", "captions"]),
        (["runs", 10, "pretrain"], {"objective": "simclr", "source": "x"}, ["runs[10].pretrain.source", "studio, web"]),
        (["sources", "half_web", "shares", "web"], 0.6, ["sources.half_web.shares", "1.1"]),
        (["sources", "half_web", "shares"], {"studio": 0.5, "moon": 0.5}, ["sources.half_web", "moon"]),
        (["sources", "web_at_studio_classes", "of"], "half_web", ["web_at_studio_classes", "half_web", "icons"]),
        (["sources", "web_at_studio_classes", "part"], "web", ["web_at_studio_classes.part", "view"]),
        (["sources", "web", "part"], None, ["sources.web.part", "missing"]),
        (["heads", 0, "fitted_on"], "moon", ["heads[0].fitted_on", "moon", "own"]),
        (["heads", 0, "head"], "zero_shot", ["heads[0].head", "linear_probe"]),
        (["baseline", "standard"], {"source": "web"}, ["baseline.standard", "classifier"]),
        (["causes", "language_at_test", 2, "to", "prompts"], "poem", ["prompts", "poem", "ensemble"]),
        (["causes", "language_at_test", 2, "where", "head"], "poem", ["language_at_test[2].where.head", "poem"]),
        (
            ["causes", "contrastive_loss", 1, "from"],
            {"objective": "clip", "source": ["studio", "web"]},
            ["[1]", "2 runs"],
        ),
        (
            ["baseline", "several"],
            {"test_sets": ["studio_test", "x"], "standard": {}},
            ["several.test_sets", "x", "v2"],
        ),
        (
            ["baseline", "several"],
            {"test_sets": ["studio_test", "v2"], "standard": {"source": "half_web"}},
            ["several.standard", "fits 3", "4"],
        ),
        (["data", "text_match", "fields"], [], ["data.text_match.fields"]),
        (["test_sets", "v2", "role"], "in_distribution", ["test_sets", "v2", "one"]),
        (["baseline", "standard", "source"], ["moon"], ["baseline.standard.source", "moon"]),
        (["causes", "training_distribution", 0, "to"], {"source": "studio", "train_images": 7}, ["causes", "no pair"]),
        (["figures", "colours"], {"x": "red"}, ["figures.colours.x", "red"]),
        (
            ["figures", "colours"],
            {"clip on moon": "#123456"},
            ["figures.colours", "clip on moon", "CLIP on web titles"],
        ),
        (["prompts", "name"], ["no place"], ["prompts.name[0]", "no place"]),
    ],
)
def test_a_mutation_is_one_line_with_key_value_and_allowed(config, root, path, value, words):
    change(config, path, value)
    with pytest.raises(ConfigError) as caught:
        plan_study(config, root / SCHEMA, root)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_class_without_images_is_named(config, root, tmp_path):
    lines = (root / config["data"]["classes"]).read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("studio_images")
    cells = lines[1].split(",")
    cells[column] = "0"
    table = tmp_path / "classes.csv"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]), encoding="utf-8")
    config["data"]["classes"] = str(table)
    with pytest.raises(ConfigError, match="no images in part 'studio'"):
        plan_study(config, root / SCHEMA, root)


def test_the_page_of_config_keys_is_that_of_the_schema(root):
    schema = yaml.safe_load((root / "workflow" / "schemas" / "config.schema.yaml").read_text(encoding="utf-8"))
    assert (root / "docs" / "config.md").read_text(encoding="utf-8") == describe_keys(schema)
