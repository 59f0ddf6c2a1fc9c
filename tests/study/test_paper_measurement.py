"""Published models fit a study's line only where their accuracies mean what the study's mean; else a line says why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from whyrobust.study.checks import plan_study
from whyrobust.study.config import load_config
from whyrobust.study.paper_measurement import PaperMeasurement, check_testbed, describe_paper_line, tables_of_testbed
from whyrobust.study.setting_checks import ConfigError


@pytest.fixture
def given(root):
    config = yaml.safe_load((root / "config" / "paper.yaml").read_text(encoding="utf-8"))
    config["paper_measurement"]["testbed"] = "besides"
    return config


def check(config, root, classes=None):
    loaded = load_config(config)
    table = classes or root / loaded.data.classes
    check_testbed(loaded.test_sets, loaded.class_weights, table, root)


def test_the_papers_own_study_may_have_published_models_as_its_line(given, root):
    check(given, root)
    assert plan_study(load_config(given), root, data_is_there=False).runs


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: c.update(class_weights="equal"), "are over images, but class_weights is 'equal': allowed is images"),
        (
            lambda c: c["test_sets"].update(imagenet_val=c["test_sets"].pop("imagenet_val")),
            "the first in-distribution test set is 'yfcc_test': allowed is one of kind imagenet with split validation",
        ),
        (
            lambda c: c["test_sets"]["imagenet_r"].update(classes="all"),
            "on ImageNet-R are among 200 classes, but test_sets.imagenet_r.classes is 'all': allowed is own",
        ),
        (
            lambda c: c["test_sets"]["imagenet_sketch"].update(classes="own"),
            "on ImageNet-Sketch are among 1,000 classes, but test_sets.imagenet_sketch.classes is 'own': allowed is al",
        ),
        (
            lambda c: c["test_sets"]["imagenet_v2"].update(kind="imagenet_v2_threshold"),
            "not known on test_sets.imagenet_v2 of kind 'imagenet_v2_threshold': allowed are imagenet_v2, imagenet_ske",
        ),
    ],
)
def test_test_sets_on_which_published_accuracies_mean_something_else_are_refused(given, root, change, message):
    change(given)
    with pytest.raises(ConfigError) as caught:
        check(given, root)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_other_classes_than_imagenets_are_refused(given, root, tmp_path):
    lines = (root / "resources" / "imagenet" / "classes.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    table = tmp_path / "classes.csv"
    table.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"among 1,000 classes, but data.classes has 999: allowed are ImageNet's"):
        check(given, root, table)
    number = next(number for number, line in enumerate(lines) if line.rstrip().endswith(",true,true"))
    lines[number] = lines[number].replace(",true,true", ",true,false")
    table.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"ImageNet-A are among 200 classes, but data.classes has 199 of it"):
        check(given, root, table)
    folders = (root / "resources" / "imagenet" / "objectnet_folders.csv").read_text(encoding="utf-8").splitlines()
    short = tmp_path / "folders.csv"
    short.write_text("\n".join(folders[:-1]) + "\n", encoding="utf-8")
    given["test_sets"]["objectnet"]["class_table"] = str(short)
    with pytest.raises(
        ConfigError, match=r"ObjectNet are among 113 classes, but test_sets.objectnet.class_table has 1"
    ):
        check(given, root)


def test_the_testbeds_table_is_read_where_the_line_is_fitted_to_it(given, root):
    (table,) = tables_of_testbed(load_config(given).paper_measurement, "resources/reference")
    assert (root / table).is_file()
    assert tables_of_testbed(PaperMeasurement(), "resources/reference") == []


def test_the_page_says_whose_models_the_line_is_fitted_to():
    settings = PaperMeasurement(testbed="besides")
    (besides,) = describe_paper_line(settings, "imagenet_val")
    (instead,) = describe_paper_line(replace(settings, testbed="instead"), "imagenet_val")
    assert besides.startswith(
        "The line over ImageNet validation is fitted to the standard models of the ImageNet testb"
    )
    assert "besides the study's own; every other fit is to the study's own." in besides
    assert "instead of the study's own, which are marked as standard models all the same" in instead
    assert describe_paper_line(PaperMeasurement(), "imagenet_val") == []
