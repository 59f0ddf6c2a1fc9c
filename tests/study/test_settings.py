"""Types of settings: nothing is converted, and every setting says what it allows."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass, is_dataclass
from typing import Annotated, Literal, get_args, get_origin

import pytest

from whyrobust.study.config import MOVED_TO_RESOURCES, Config, load_config, training_class
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.dataset_settings import classes_of_sources, classes_of_test_sets
from whyrobust.study.setting_checks import ConfigError, allowed_words, keys_of, read_settings
from whyrobust.study.setting_types import Allowed, Built, Count, Flag, LeftOut, OfKind, OneOrMany, Settings, Share, Text


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    """A setting of each type."""

    count: Count = 1
    share: Share = 0.5
    weight: Annotated[float, Allowed(ge=0)] = 1.0
    flag: Flag = False
    text: Text = "x"
    left_out: LeftOut[Count] = None
    nullable: Count | None = None
    many: OneOrMany[Count] = (1,)


@pytest.mark.parametrize(
    "given",
    [
        {"count": 1.0}, {"count": True}, {"count": "1"}, {"share": "0.5"}, {"share": True}, {"share": math.nan},
        {"share": math.inf}, {"weight": math.inf}, {"flag": 1}, {"flag": "yes"}, {"text": 1}, {"text": ""},
        {"left_out": None}, {"many": []}, {"many": [1, 1]}, {"many": [1, 2.0]}, {"many": None}, {"other": 1},
    ],
)  # fmt: skip
def test_a_value_is_never_converted(given):
    with pytest.raises(ConfigError) as caught:
        read_settings(Example, given)
    (key,) = given
    assert f"config key {key}" in str(caught.value)


def test_values_are_read_as_they_are():
    assert read_settings(Example, {}) == Example()
    given = {"count": 2, "share": 0, "left_out": 3, "nullable": None, "many": 4}
    assert read_settings(Example, given) == Example(count=2, share=0.0, left_out=3, many=(4,))


def test_a_config_is_frozen_and_its_settings_can_be_pickled(config):
    study = load_config(config)
    with pytest.raises(FrozenInstanceError):
        study.study = "other"
    assert pickle.loads(pickle.dumps(study.training.clip)) == study.training.clip


def plain_hints(settings, seen):
    """Yield the types of a class of settings, and of all below it, that stand without what limits them."""
    for key, (_, hint) in keys_of(settings).items():
        yield from _plain(f"{settings.__name__}.{key}", hint, seen)


def _plain(key, hint, seen):
    metadata = getattr(hint, "__metadata__", ())
    if any(isinstance(part, Allowed | Built | OfKind) for part in metadata):
        return
    if hint in (str, int, float, bool):
        yield key
    elif get_origin(hint) is not None:
        for part in (hint.__origin__,) if metadata else get_args(hint) if get_origin(hint) is not Literal else ():
            yield from _plain(key, part, seen)
    elif is_dataclass(hint) and hint not in seen:
        seen.add(hint)
        yield from plain_hints(hint, seen)


def test_every_text_and_number_is_strict():
    """A bare ``int`` would take 300.0, a bare ``bool`` "yes"."""
    classes = [Config, training_class(), *classes_of_sources().values(), *classes_of_test_sets().values()]
    found = [key for settings in classes for key in plain_hints(settings, set())]
    assert set(found) <= {"Figures.colours"}  # names of kinds of training, which are checked against the plan


@pytest.mark.parametrize("key", MOVED_TO_RESOURCES)
def test_a_machine_setting_says_where_it_went(config, key):
    config["training"][key] = 1
    with pytest.raises(ConfigError, match=rf"training\.{key} has moved: .* --set-resources train_run:\w+=") as caught:
        load_config(config)
    assert "\n" not in str(caught.value)


def test_a_contrast_says_what_it_is_called_now(config):
    entry = config["causes"]["contrastive_loss"][1]
    entry["contrast"] = entry.pop("comparison")
    with pytest.raises(ConfigError, match=r"causes\.contrastive_loss\[1\]\.contrast .* comparison"):
        load_config(config)


def test_the_kinds_that_are_allowed_are_those_of_the_table(config):
    config["sources"]["web"] = {"kind": "moon"}
    with pytest.raises(
        ConfigError, match=r"sources\.web\.kind is 'moon': allowed is one of icons, view, mixture"
    ) as caught:
        load_config(config)
    assert "imagenet_v2" not in str(caught.value) and not DATA_KINDS["imagenet_v2"].source
    config["sources"]["web"] = {"part": "web"}
    with pytest.raises(ConfigError, match=r"sources\.web\.kind is missing: give one of icons"):
        load_config(config)
    config["sources"]["web"] = "web"
    with pytest.raises(ConfigError, match=r"sources\.web is 'web': allowed is a mapping"):
        load_config(config)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (Count, "a whole number, at least 1"),
        (Share, "a number, at least 0, at most 1"),
        (LeftOut[Count], "a whole number, at least 1"),
        (Count | None, "a whole number, at least 1, or null"),
        (OneOrMany[Count], "a whole number, at least 1, or a list of such values"),
        (dict[Text, Share], "a mapping, from (text, not empty) to (a number, at least 0, at most 1)"),
    ],
)
def test_what_a_type_allows_in_words(hint, words):
    assert allowed_words(hint) == words


def test_what_jobs_import_needs_no_pydantic_and_nothing_heavy():
    """A job that looks a name up, or holds settings, must start as fast as one that does not."""
    modules = [
        "plan",
        "display_names",
        "data_kinds",
        "objectives_table",
        "caption_variants",
        "dataset_settings",
        "stages",
    ]
    heavy = ["pydantic", "pandas", "numpy", "torch", "jsonschema", "yaml"]
    code = (
        f"import sys\nfrom whyrobust.study import {', '.join(modules)}\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
