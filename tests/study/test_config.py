"""A wrong config is one line that names the key, the value and what is allowed."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.studies import short_config
from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.display_names import name_kind
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study


def change(config, path, value):
    place = config
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value


def test_the_study_of_what_does_it_differs_from_the_default_study_in_what_is_compared_alone(config, root):
    why = yaml.safe_load((root / "config" / "icons-why.yaml").read_text(encoding="utf-8"))
    assert {key for key in config if config[key] != why[key]} == {
        "study",
        "sources",
        "heads",
        "seeds",
        "runs",
        "causes",
    }


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "config/smoke.yaml",
        "config/icons-full.yaml",
        "config/icons-why.yaml",
        "config/paper.yaml",
        "config/paper-small.yaml",
    ],
)
def test_shipped_configs_are_valid(root, name):
    config = yaml.safe_load((root / name).read_text(encoding="utf-8"))
    study = plan_study(load_config(config), root)
    assert len(study.runs) >= 10
    assert len({comparison.cause for comparison in study.comparisons}) == 5
    assert all(study.heads[run.run][0].main for run in study.runs if run.evaluated)


def test_the_default_study_has_24_runs_and_3_seeds(config, root):
    runs = plan_study(load_config(config), root).runs
    assert len(runs) >= 24 and len({run.seed for run in runs}) >= 3


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["stduy"], "x", ["stduy", "study"]),
        (["runs"], None, ["runs", "list"]),
        (["data", "image_size"], 7, ["data.image_size", "7", "at least 16"]),
        (["data", "held_out_share"], 1.5, ["data.held_out_share", "1.5", "at most 0.9"]),
        (["data", "classes"], "nowhere.csv", ["data.classes", "nowhere.csv"]),
        (["sources", "studio", "part"], "moon", ["sources.studio.part", "moon", "studio"]),
        (["sources", "studio", "part"], "v2", ["v2", "test_sets"]),
        (["training", "clip", "learning_rate"], "fast", ["training.clip.learning_rate", "fast", "a number"]),
        (["runs", 0, "train_images"], 10**7, ["train_images", "10000000", "at most"]),
        (["runs", 0, "train_images"], "many", ["runs[0].train_images", "many", "a whole number"]),
        (["runs", 0, "source"], "moon", ["runs[0].source", "moon", "studio, web"]),
        (["runs", 0, "size"], 5, ["runs[0].size", "train_images"]),
        (["runs", 1, "caption"], None, ["runs[1].caption", "captions"]),
        (["runs", 15, "pretrain"], {"objective": "clip"}, ["runs[15].pretrain.caption", "captions"]),
        (["runs", 15, "pretrain"], {"objective": "simclr", "source": "x"}, ["runs[15].pretrain.source", "studio, web"]),
        (["sources", "half_web", "shares", "web"], 0.6, ["sources.half_web.shares", "1.1"]),
        (["sources", "half_web", "shares"], {"studio": 0.5, "moon": 0.5}, ["sources.half_web", "moon"]),
        (["sources", "web_at_studio_classes", "of"], "half_web", ["web_at_studio_classes", "half_web", "studio, web"]),
        (["sources", "web_at_studio_classes", "part"], "web", ["web_at_studio_classes.part", "view"]),
        (["sources", "web", "part"], None, ["sources.web.part", "missing"]),
        (["heads", 0, "fitted_on"], "moon", ["heads[0].fitted_on", "moon", "own"]),
        (["heads", 0, "head"], "zero_shot", ["heads[0].head", "linear_probe"]),
        (["baseline", "standard"], {"objective": "clip"}, ["baseline.standard", "classifier"]),
        (["causes", "language_at_test", 2, "to", "prompts"], "poem", ["prompts", "poem", "ensemble"]),
        (["causes", "language_at_test", 2, "where", "head"], "poem", ["language_at_test[2].where.head", "poem"]),
        (
            ["causes", "contrastive_loss", 2, "from"],
            {"objective": "clip", "source": ["studio", "web"]},
            ["[2]", "2 runs"],
        ),
        (["baseline", "several"], {"test_sets": ["studio_test", "v2"]}, ["baseline.several", "not known"]),
        (["baseline", "reference_accuracy"], 1, ["baseline.reference_accuracy", "1", "below 1"]),
        (["intervals", "equivalence_points"], 0, ["intervals.equivalence_points", "0", "above 0"]),
        (["data", "text_match", "fields"], [], ["data.text_match.fields"]),
        (["test_sets", "studio_test", "role"], "shift", ["test_sets.studio_test.source", "role is shift"]),
        (["test_sets", "v2", "role"], "in_distribution", ["test_sets.v2.source", "missing", "studio, web"]),
        (["test_sets", "studio_test", "source"], "moon", ["test_sets.studio_test.source", "moon", "studio, web"]),
        (["test_sets", "v2", "source"], "web", ["test_sets.v2.source", "role is shift", "in_distribution"]),
        (["test_sets", "v2", "seen_in"], ["web", "moon"], ["test_sets.v2.seen_in", "moon", "studio, web"]),
        (["test_sets", "studio_test", "seen_in"], ["web"], ["test_sets.studio_test.seen_in", "role shift"]),
        (["test_sets", "studio_test", "case_study"], "x", ["test_sets.studio_test.case_study", "role shift"]),
        (["test_sets", "studio_test", "classes"], "own", ["test_sets.studio_test.classes", "own", "all"]),
        (["test_sets", "v2", "units"], "set", ["test_sets.v2.units", "set", "team, class, drawing"]),
        (["baseline", "standard", "source"], ["moon"], ["baseline.standard.source", "moon"]),
        (["causes", "training_distribution", 0, "to"], {"source": "studio", "train_images": 7}, ["causes", "no pair"]),
        (["figures", "colours"], {"x": "red"}, ["figures.colours.x", "red"]),
        (
            ["figures", "colours"],
            {"clip on moon": "#123456"},
            ["figures.colours", "clip on moon", "CLIP on web titles"],
        ),
        (["prompts", "name"], ["no place"], ["prompts.name", "no place", "text"]),
        (
            ["test_sets", "v2"],
            {"kind": "imagenet_o", "archive": "x.tar", "role": "shift", "classes": "own"},
            ["test_sets.v2.kind", "imagenet_o", "ImageNet-O is no shift", "leave it out"],
        ),
        (
            ["sources", "studio"],
            {"kind": "objectnet", "archive": "x.zip", "class_table": "x.csv"},
            ["sources.studio.kind", "objectnet", "licence", "may be a test set"],
        ),
        (
            ["sources", "studio"],
            {"kind": "image_folder", "folder": "x", "classes_between": [0.5, 0.5]},
            ["sources.studio.classes_between", "[0.5, 0.5]", "the smaller one first"],
        ),
    ],
)
def test_a_mutation_is_one_line_with_key_value_and_allowed(config, root, path, value, words):
    change(config, path, value)
    with pytest.raises(ConfigError) as caught:
        plan_study(load_config(config), root)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.fixture
def own_captions(root, tmp_path):
    """A config of a study on a user's table with two further columns of captions."""
    (tmp_path / "classes.csv").write_text("class\ncat\n")
    for name in ("t.csv", "test/cat/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    source = {"kind": "image_table", "table": "t.csv", "image": "file", "label": "kind",
              "captions": {"alt": "alt", "generated": "said"}, "needs": ["alt", "generated"]}  # fmt: skip
    plain = source | {"captions": {"alt": "alt"}, "needs": ["alt"]}
    config = short_config({"mine": source, "plain": plain}, "test")
    config["models"] = {"m": str(root / "resources" / "models" / "rn-tiny.json")}
    config["sources_table"] = str(root / "resources" / "sources.tsv")
    config["runs"].append({"objective": "clip", "caption": ["alt", "generated"], "source": "mine", "train_images": 4})
    config["causes"]["language_at_training"] = [
        {"comparison": "generated captions instead of alt text", "from": {"caption": "alt"},
         "to": {"caption": "generated"}, "holds_fixed": "the images"}
    ]  # fmt: skip
    return config


def test_columns_of_captions_are_compared_by_their_names(own_captions, tmp_path):
    study = Study.load(own_captions, tmp_path)
    assert {run.caption for run in study.runs.values()} == {"", "alt", "generated"}
    assert study.captions == {("mine", "alt"): ["alt/mine"], ("mine", "generated"): ["generated/mine"]}
    assert "describe_captions" in study.stages
    (comparison,) = [each for each in study.plan.comparisons if each.cause == "language_at_training"]
    assert (comparison.start, comparison.end) == ({"caption": "alt"}, {"caption": "generated"})
    assert name_kind("clip", "captions", "generated", "mine") == "CLIP on mine generated captions"
    own_captions["runs"].pop()
    own_captions["causes"].pop("language_at_training")
    assert "describe_captions" not in Study.load(own_captions, tmp_path).stages


@pytest.mark.parametrize(
    "path, value, words",
    [
        (["runs", 1, "caption"], "poem", ["runs[1].caption", "'poem'", "'', title", "shuffled, alt, generated"]),
        (["runs", 1, "source"], "plain", ["sources.plain.captions has no 'generated'", "a run on plain"]),
        (["sources", "mine", "captions", "title"], "alt", ["sources.mine.captions has 'title'", "another name"]),
        (["sources", "mine", "captions"], {}, ["sources.mine.captions"]),
        (["sources", "mine", "captions", "Alt Text"], "alt", ["sources.mine.captions", "Alt Text"]),
        (["sources", "mine", "needs"], ["poem"], ["sources.mine.needs has 'poem'", "label, alt, generated"]),
        (["causes", "language_at_training", 0, "to", "caption"], "x", ["language_at_training[0].to.caption", "'x'"]),
    ],
)
def test_wrong_columns_of_captions_are_one_line(own_captions, tmp_path, path, value, words):
    change(own_captions, path, value)
    with pytest.raises(ConfigError) as caught:
        plan_study(load_config(own_captions), tmp_path)
    assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "mutate, message",
    [
        (lambda c: c["baseline"]["standard"].update(source="studio"), r"baseline.standard.source is given: with 2"),
        (lambda c: c["test_sets"]["web_test"].pop("source"), r"test_sets.web_test.source is missing: each of 2"),
        (
            lambda c: c["baseline"]["standard"].update(seed=0, train_images=6000),
            "fits 2 planned runs: allowed is 4 or more",
        ),
        (lambda c: c["test_sets"].update(mean=dict(c["test_sets"].pop("objects"))), "test_sets.mean has the name of a"),
        (
            lambda c: c["test_sets"].update(mean_seen=dict(c["test_sets"]["objects"])),
            "test_sets.mean_seen has the name",
        ),
        (
            lambda c: c["test_sets"].update(average=dict(c["test_sets"]["objects"])),
            "test_sets.average has the name of a mean, or an average",
        ),
        (
            lambda c: c.update(paper_measurement={"average_over": ["v2", "web_test"]}),
            r"paper_measurement.average_over has 'web_test': allowed is one of v2, ",
        ),
        (
            lambda c: c.update(paper_measurement={"average_over": ["v2", "v2"]}),
            r"average_over is \[v2, v2\]: allowed are two or more shifts, each once",
        ),
        (
            lambda c: c.update(paper_measurement={"two_lines": {"studio_test": 0.5}}),
            r"paper_measurement.two_lines has 'studio_test': allowed is one of v2, ",
        ),
        (
            lambda c: c.update(paper_measurement={"two_lines": {"v2": 76.1}}),
            r"paper_measurement.two_lines.v2 is 76.1.*below 1",
        ),
        (lambda c: c.update(paper_measurement={"average_over": ["v2"]}), r"average_over is \[v2\]: allowed are two"),
        (
            lambda c: c["baseline"]["standard"].update(train_images=3000),
            "fits 0 planned runs of source 'web', which test_sets.web_test is of",
        ),
        (
            lambda c: [test_set.update(role="in_distribution") for test_set in c["test_sets"].values()],
            "test_sets has 8 of 8 entries with role in_distribution",
        ),
        (
            lambda c: [c["test_sets"].pop(name) for name in ("studio_test", "web_test")],
            "test_sets has 0 of 6 entries with role in_distribution",
        ),
    ],
)
def test_a_wrong_config_of_several_test_sets_is_one_line(config, root, mutate, message):
    mutate(config)
    with pytest.raises(ConfigError, match=message) as error:
        plan_study(load_config(config), root)
    assert "\n" not in str(error.value)


def test_a_class_without_images_is_named(config, root, tmp_path):
    lines = (root / config["data"]["classes"]).read_text(encoding="utf-8").splitlines()
    column = lines[0].split(",").index("studio_images")
    cells = lines[1].split(",")
    cells[column] = "0"
    table = tmp_path / "classes.csv"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]), encoding="utf-8")
    config["data"]["classes"] = str(table)
    with pytest.raises(ConfigError, match="no images in part 'studio'"):
        plan_study(load_config(config), root)


PUBLISHED = {"name": "a", "model": "RN50", "weights": "openai", "trained_on": "x", "train_images": 1}

PHOTO_MUTATIONS = [
    (lambda c: c["test_sets"]["other"].update(units="team"), "other.units is 'team': allowed for photographs"),
    (lambda c: c["sources"]["mine"].pop("image"), "sources.mine.image is missing: kind 'image_table'"),
    (lambda c: c["sources"]["mine"].update(archive="x"), "sources.mine.archive is not known"),
    (lambda c: c["sources"]["mine"].update(shards="x/*.tar"), "sources.mine.shards is not known for kind"),
    (
        lambda c: c["sources"]["mine"].update(table="gone.csv"),
        "sources.mine.table is 'gone.csv': there is no such file",
    ),
    (lambda c: c["test_sets"]["same"].update(folder="gone"), "test_sets.same.folder is 'gone': there is no such file"),
    (lambda c: c["test_sets"]["same"].update(kind="objectnet"), "test_sets.same.archive is missing"),
    (lambda c: c["sources"].update(same=dict(c["sources"]["mine"])), "test_sets has 'same', which is a source too"),
    (lambda c: c["data"].update(match_sizes={"across": ["other"], "allowed_shortfall_share": 0}), "across has 'other'"),
    (
        lambda c: c["test_sets"].update(
            r={"kind": "imagenet_r", "archive": "photos", "role": "shift", "classes": "own"}
        ),
        "data.classes is 'classes.csv', which says true of no class in a column imagenet_r",
    ),
    (lambda c: c["data"].update(normalisation="none"), "data.normalisation is 'none'"),
    (lambda c: c["data"].update(image_size=8), "data.image_size is 8: allowed is a whole number, at least 16"),
    (lambda c: c.update(prompts={"x": "gone.txt"}), "prompts.x is 'gone.txt': there is no such file"),
    (lambda c: c.update(sources_table="gone.tsv"), "sources_table is 'gone.tsv': there is no such file"),
    (lambda c: c["test_sets"]["same"].update(kind="icons"), "test_sets.same.part is missing"),
    (lambda c: c.update(pretrained=[PUBLISHED, PUBLISHED]), r"pretrained\[1\].name is 'a', which comes twice"),
    (
        lambda c: c.update(pretrained=[PUBLISHED | {"model": "local-dir:photos"}]),
        r"pretrained\[0\].model is 'local-dir:photos', which brings weights of its own",
    ),
    (lambda c: c.update(pretrained=[PUBLISHED | {"model": "gone.json"}]), r"pretrained\[0\].model .* no such file"),
    (lambda c: c.update(pretrained=[PUBLISHED | {"model": "list.json"}]), r"pretrained\[0\].model .* lacks embed_dim"),
    (lambda c: c.update(pretrained=[PUBLISHED | {"weights": "gone.pt"}]), r"weights is 'gone.pt': there is no such"),
    (lambda c: c.update(pretrained=[PUBLISHED | {"weights": "x/gone"}]), r"weights is 'x/gone': there is no such file"),
    (
        lambda c: c.update(models={"m": "timm.json"}),
        r"models.m .*vision_cfg.timm_model_pretrained is True: runs",
    ),
    (lambda c: c.update(models={"m": "hf.json"}), r"models.m .* text_cfg.hf_model_name is 'roberta': runs start"),
    (
        lambda c: (c.update(models={"m": "resources/models/rn50.json"}), c["data"].update(image_size=64)),
        r"models.m is .*rn50.json', whose vision_cfg.image_size is 224, and data.image_size is 64: they must be equal",
    ),
    (
        lambda c: (c.update(models={"m": "resources/models/rn-tiny.json"}), c["data"].update(image_size=95)),
        r"models.m is .*rn-tiny.json', a ResNet of open_clip's, and data.image_size is 95: give a multiple of 32",
    ),
    (lambda c: c["sources"]["mine"].update(needs=["text"]), "sources.mine.needs has 'text'"),
    (
        lambda c: c["sources"].update(y={"kind": "yfcc15m", "subset": "t.csv", "shards": "x", "shorter_side": 99}),
        "sources.y.shorter_side is for photographs that are fetched",
    ),
    (lambda c: c["sources"].update(y={"kind": "yfcc15m", "subset": "t.csv"}), "needs one of shards"),
    (
        lambda c: c["test_sets"]["same"].update(drawn_between=[0.2, 0.2]),
        r"test_sets.same.drawn_between is \[0.2, 0.2\]: allowed are two numbers, the smaller one first",
    ),
    (lambda c: c["sources"]["mine"].update(drawn_between=[0, 0.2, 1]), r"drawn_between is \[0.0, 0.2, 1.0\]: allowed"),
    (lambda c: c["sources"]["mine"].update(drawn_between=[0, 1.5]), r"mine.drawn_between\[1\] is 1.5"),
    (
        lambda c: c["test_sets"]["same"].update(slices=2),
        "test_sets.same.slices is not known for kind 'image_folder'",
    ),
    (
        lambda c: (
            c["sources"].update(w={"kind": "webdataset", "shards": "photos/a.jpg", "slices": 2}),
            c["runs"].append({"objective": "clip", "caption": "shuffled", "source": "w", "train_images": 2}),
        ),
        "sources.w.slices is 2: allowed is 1 where runs have the caption 'shuffled'",
    ),
    (
        lambda c: c["test_sets"].update(
            w={"kind": "webdataset", "shards": "x", "role": "shift", "classes": "all", "slices": 0}
        ),
        "test_sets.w.slices is 0: allowed is .* at least 1",
    ),
]


@pytest.fixture
def own_study(root, tmp_path):
    """A study of a user's own photographs, which leaves out what has a default, in a folder that has its files."""
    for name in ("t.csv", "photos/a.jpg", "test/cat/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "classes.csv").write_text("class\ncat\n")
    described = json.loads((root / "resources" / "models" / "icon-cnn.json").read_text())
    for name, section, setting in (("timm", "vision_cfg", {"timm_model_pretrained": True}),
                                   ("hf", "text_cfg", {"hf_model_name": "roberta"})):  # fmt: skip
        changed = described | {section: described[section] | setting}
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "resources").symlink_to(root / "resources")
    mine = {"kind": "image_table", "table": "t.csv", "image": "file", "title": "text"}
    return short_config({"mine": mine}, "test"), tmp_path


def test_a_short_config_is_filled_with_defaults_and_valid(root, own_study):
    config, folder = own_study
    study = load_config(config)
    plan = plan_study(study, folder)
    assert len(plan.runs) == 2 and plan.components == {"mine": ("mine",)}
    assert study.training.device == "auto" and study.baseline.scale == "logit"
    assert load_config(config | {"prompts": {"mine": ["{class}"]}}).prompts == {"mine": ("{class}",)}


@pytest.mark.parametrize("mutate, message", PHOTO_MUTATIONS)
def test_a_wrong_config_of_photographs_is_one_line(root, own_study, mutate, message):
    config, folder = own_study
    mutate(config)
    with pytest.raises(ConfigError, match=message) as error:
        plan_study(load_config(config), folder)
    assert "\n" not in str(error.value)


def test_files_of_published_models_are_inputs(own_study):
    """What is overwritten after a study makes it again; a tag of open_clip's is no file."""
    config, folder = own_study
    (folder / "mine.pt").touch()
    entries = [
        PUBLISHED | {"name": "file", "weights": "mine.pt", "model": "timm.json"},
        PUBLISHED | {"name": "tag", "train_images": 2},
    ]
    study = Study.load(config | {"pretrained": entries}, folder)
    assert study.published_files_of("published-file") == ["mine.pt", "timm.json"]
    assert study.published_files_of("published-tag") == []


def test_a_file_that_can_be_downloaded_need_not_be_there(root, own_study):
    config, folder = own_study
    (folder / "classes.csv").write_text("class,imagenet_a\ncat,true\n")
    config["test_sets"]["other"] = {
        "kind": "imagenet_a", "archive": "downloads/imagenet-a.tar", "role": "shift", "classes": "own",
    }  # fmt: skip
    plan_study(load_config(config), folder)
