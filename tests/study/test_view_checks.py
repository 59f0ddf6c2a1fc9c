"""Filters of views: what a config may ask for, and what the rules need for it."""

import pytest

from tests.studies import short_config
from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study


@pytest.fixture
def with_view(config):
    """Return a function that adds a view, and runs on it, to the default config."""

    def added(**settings):
        config["sources"]["chosen"] = {"kind": "view", "of": "web", **settings}
        config["runs"].append({"objective": "cross_entropy", "source": "chosen", "train_images": 3000})
        return config

    return added


@pytest.mark.parametrize(
    "settings",
    [
        {"sets": {"number": 8}},
        {"sets": ["ph", "mdi"]},
        {"without": ["Microsoft", "Google", "ph"]},
        {"colour": "none", "class_balanced": True},
        {"colour": "grey"},
        {"one_image_per_drawing": True, "at_most_per_class": 50, "match_classes_of": "studio"},
        {"nearest_to_shifts_at_most": "studio", "labelled": True},
    ],
)
def test_filters_may_be_combined_with_a_rule(with_view, root, settings):
    plan_study(load_config(with_view(**settings)), root)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"sources\.chosen is a view of all images: give one of class_balanced.*sets"),
        ({"class_balanced": True, "labelled": True}, r"sources\.chosen is a view with 2 rules"),
        ({"sets": {"number": 0}}, r"sources\.chosen\.sets is {'number': 0}: allowed is a list, .*, or a mapping"),
        ({"sets": {"number": 500}}, r"sources\.chosen\.sets\.number is 500: allowed is 87 at most"),
        ({"sets": {"share": 1}}, r"sources\.chosen\.sets is {'share': 1}: allowed is a list"),
        ({"sets": "ph"}, r"sources\.chosen\.sets is 'ph': allowed is a list"),
        ({"sets": ["ph", ""]}, r"sources\.chosen\.sets is \['ph', ''\]: allowed is a list, .* of \(text, not empty\)"),
        ({"sets": ["tabler"]}, r"sources\.chosen\.sets has 'tabler': allowed are sets of 'web' in sets.csv"),
        ({"without": ["moon"]}, r"sources\.chosen\.without has 'moon': allowed are sets and teams of 'web'"),
        ({"colour": "red"}, r"sources\.chosen\.colour is 'red': allowed is one of none, grey"),
        ({"one_image_per_drawing": False}, r"sources\.chosen\.one_image_per_drawing is False: allowed is true"),
        ({"at_most_per_class": 0}, r"sources\.chosen\.at_most_per_class is 0"),
        ({"nearest_to_shifts_at_most": "moon"}, r"sources\.chosen builds on 'moon'"),
        ({"nearest_to_shifts_at_most": "half_web"}, r"sources\.chosen builds on 'half_web'"),
        ({"nearest_to_shifts_at_most": "web"}, r"nearest_to_shifts_at_most is 'web': allowed is another source"),
    ],
)
def test_a_wrong_view_is_one_line(with_view, root, settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        plan_study(load_config(with_view(**settings)), root)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"colour": "grey"}, {"without": ["x"]}, {"one_image_per_drawing": True}])
def test_filters_of_icons_are_for_icons(root, tmp_path, settings):
    (tmp_path / "resources").symlink_to(root / "resources")
    for name in ("train/cat", "train/dog"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n")
    mine = {"kind": "image_folder", "folder": "train"}
    config = short_config({"mine": mine, "few": {"kind": "view", "of": "mine", **settings}}, "train")
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"sources\.few\.{name} is given, but 'mine' has no icons") as error:
        plan_study(load_config(config), tmp_path)
    assert "\n" not in str(error.value)


def test_a_filtered_view_has_a_table_of_its_own(with_view, root):
    study = Study.load(with_view(nearest_to_shifts_at_most="studio"), root)
    assert study.filtered_views == ["chosen"]
    assert study.tables_of_source("chosen") == ["views/chosen"]
    assert study.tables_of_source("half_web") == ["decontaminated/studio", "decontaminated/web"]
    assert study.tables_of_source("web_at_studio_classes") == ["decontaminated/web"]
    assert study.datasets_of_view("chosen") == ["web", "studio", *study.shifts]
    assert "filter_view" in study.stages


def test_a_view_that_is_not_used_is_not_filtered(config, root):
    config["sources"]["chosen"] = {"kind": "view", "of": "web", "colour": "none"}
    study = Study.load(config, root)
    assert study.filtered_views == [] and "filter_view" not in study.stages


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"sets": {"number": 8}}, "of web, 8 sets."),
        ({"without": ["Google", "ph"]}, "of web, without Google, ph."),
        ({"colour": "grey", "one_image_per_drawing": True}, "of web, colour grey, one image per drawing."),
    ],
)
def test_a_view_says_in_words_what_it_has(with_view, settings, sentence):
    assert load_config(with_view(**settings)).sources["chosen"].sentence.endswith(sentence)
