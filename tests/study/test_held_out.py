"""Test sets of what a source holds out: which photographs they have, and what a config may ask of them."""

from __future__ import annotations

import copy

import pytest
import yaml

from whyrobust.study.config import load_config
from whyrobust.study.held_out import held_out_range, source_of_held_out
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study


@pytest.fixture(scope="module")
def given(root):
    return yaml.safe_load((root / "config" / "paper.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def paper(root, given):
    return Study.load(given, root)


@pytest.mark.parametrize(
    ("between", "expected"),
    [([0.01, 1], (0.0, 0.01)), ([0, 0.75], (0.75, 1.0)), ([0.1, 0.9], None), ([0, 1], None), (None, None)],
)
def test_what_is_held_out_is_what_the_source_leaves_out_at_one_end(given, between, expected):
    config = copy.deepcopy(given)
    config["sources"]["yfcc"].pop("drawn_between")
    config["sources"]["yfcc"] |= {"drawn_between": between} if between else {}
    assert held_out_range(load_config(config).sources["yfcc"]) == expected


def test_it_is_read_from_the_files_of_its_source_and_drawn_where_that_is_not(paper):
    datasets, name = paper.datasets, "yfcc_test/3-of-32"
    assert source_of_held_out(datasets.settings["yfcc_test"]) == "yfcc" == datasets.read_as("yfcc_test")
    assert [source_of_held_out(datasets.settings[other]) for other in ("yfcc", "imagenet_val")] == ["", ""]
    assert datasets.photo_slices_of("yfcc_test")[2] == name and len(datasets.photo_slices_of("yfcc_test")) == 32
    held_out, source = datasets.slice_settings(name), datasets.slice_settings("yfcc/3-of-32")
    assert (held_out["drawn_between"], source["drawn_between"]) == ([0.0, 0.01], [0.01, 1.0])
    assert held_out["role"] == "in_distribution" and "role" not in source
    assert held_out["text_match"] == {
        "fields": ["title", "description", "tags"], "policy": "single", "possessives": True, "shared": "ambiguous",
    }  # fmt: skip
    own = {"drawn_between", "role", "text_match"}
    assert {key: value for key, value in held_out.items() if key not in own} == {
        key: value for key, value in source.items() if key not in own
    }
    assert datasets.fetched_by_slice(name) == ["yfcc"] and datasets.fetched == ["yfcc"]
    assert datasets.files_of_slice(name) == datasets.files_of_slice("yfcc/3-of-32")
    assert datasets.files_of("yfcc_test") == datasets.files_of("yfcc")
    assert datasets.kind_of_slice(name) == datasets.kind_of("yfcc") == datasets.kind_of("yfcc_test")
    assert datasets.is_held_out(name) and not datasets.is_held_out("yfcc/3-of-32")


def test_nothing_is_fetched_again_where_another_part_is_held_out(root, given, paper):
    config = copy.deepcopy(given)
    config["sources"]["yfcc"]["drawn_between"] = [0.02, 1]
    other = Study.load(config, root).datasets
    assert other.list_settings("yfcc") == paper.datasets.list_settings("yfcc")
    assert other.slice_settings("yfcc/1-of-32") != paper.datasets.slice_settings("yfcc/1-of-32")


def none_left_out(config):
    del config["sources"]["yfcc"]["drawn_between"]


def left_out_at_both_ends(config):
    config["sources"]["yfcc"]["drawn_between"] = [0.1, 0.9]


def of_a_source_that_cannot(config):
    config["test_sets"]["yfcc_test"]["source"] = "imagenet_captions"


def of_no_source(config):
    del config["test_sets"]["yfcc_test"]["source"]


def as_a_shift(config):
    config["test_sets"]["yfcc_test"] |= {"role": "shift"}
    del config["test_sets"]["yfcc_test"]["source"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            none_left_out,
            r"sources\.yfcc\.drawn_between is missing, but test_sets\.yfcc_test has what it leaves out",
        ),
        (left_out_at_both_ends, r"sources\.yfcc\.drawn_between is \[0\.1, 0\.9\], but test_sets\.yfcc_test has what "),
        (of_a_source_that_cannot, r"test_sets\.yfcc_test\.source is 'imagenet_captions', of kind 'imagenet_cap"),
        (of_no_source, r"test_sets\.yfcc_test\.source is missing: each of 2 in-distribution test sets needs it"),
        (as_a_shift, r"test_sets\.yfcc_test\.source is missing: a test set of kind 'held_out' needs it"),
    ],
)
def test_what_cannot_be_held_out_is_one_line(root, given, change, message):
    config = copy.deepcopy(given)
    change(config)
    with pytest.raises(ConfigError, match=rf"^config key {message}") as caught:
        Study.load(config, root)
    assert "\n" not in str(caught.value)
