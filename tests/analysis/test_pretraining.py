"""The table of pretraining: a row for everything that occurs, a source for every row, and nothing guessed."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.pretraining import describe_models, documented, read_pretraining
from whyrobust.analysis.published_tables import read_published

FOLDER = Path(__file__).parents[2] / "resources" / "reference"


@pytest.fixture(scope="module")
def pretraining():
    return read_pretraining(FOLDER)


@pytest.fixture(scope="module")
def models(pretraining):
    return describe_models(read_published(FOLDER).models, pretraining)


def keys_of_the_files():
    """Return collection, key and name of every row of every table, read plainly."""
    timm = pd.read_csv(FOLDER / "timm_top1.csv")
    clip = pd.read_csv(FOLDER / "open_clip_zeroshot_top1.csv")
    testbed = pd.read_csv(FOLDER / "imagenet_testbed_top1.csv")
    vlhub = pd.read_csv(FOLDER / "vlhub_top1.csv")
    return [
        *(("timm", tag, model.split(".")[0]) for tag, model in zip(timm["tag"], timm["model"], strict=True)),
        *(("open_clip", name, model) for name, model in zip(clip["pretrained"], clip["model"], strict=True)),
        *(("imagenet_testbed", kind, model) for kind, model in zip(testbed["training"], testbed["model"], strict=True)),
        *(
            ("vlhub", f"{technique} {data}", model)
            for technique, data, model in zip(vlhub["technique"], vlhub["training_data"], vlhub["model"], strict=True)
        ),
    ]


def test_every_tag_pretrained_name_and_group_has_a_row_and_every_row_a_use(pretraining):
    keys = {(collection, key) for collection, key, _ in keys_of_the_files()}
    assert len(keys) == 277
    assert keys == set(zip(pretraining["collection"], pretraining["key"], strict=True))


def test_every_pattern_fits_a_model_that_no_other_row_fits(pretraining):
    names = keys_of_the_files()
    for row in pretraining.itertuples():
        here = [name for collection, key, name in names if (collection, key) == (row.collection, row.key)]
        for pattern in row.models.split():
            assert any(fnmatchcase(name, pattern) for name in here), (row.key, pattern)


def test_every_row_names_a_source_and_a_page(pretraining):
    assert pretraining["url"].str.startswith("https://").all()
    said = re.compile(r"arXiv:\d{4}\.\d{5}|model card|timm|torchvision|README|docs/|weights|LAION CLIP|MXNet")
    assert all(said.search(source) for source in pretraining["source"])
    # What is not documented is said to be so.
    lacking = pretraining[(pretraining["data"] == "") | (pretraining["predicts"] == "")]
    assert (lacking["note"] != "").all() or set(lacking[lacking["note"] == ""]["key"]) <= {"random_features"}


def test_a_row_without_a_source_is_an_error(tmp_path, pretraining):
    pretraining.assign(source=[""] + ["x"] * (len(pretraining) - 1)).to_csv(tmp_path / "pretraining.csv", index=False)
    with pytest.raises(ValueError, match="has no source"):
        read_pretraining(tmp_path)
    pretraining.assign(supervision="tags").to_csv(tmp_path / "pretraining.csv", index=False)
    with pytest.raises(ValueError, match="supervision 'tags' is not one of labels"):
        read_pretraining(tmp_path)


def test_two_rows_for_one_model_are_an_error(models, pretraining):
    twice = pretraining[pretraining["key"] == "fb_in1k"].assign(models="deit3_*")
    with pytest.raises(ValueError, match=r"Two rows of pretraining\.csv fit 'deit3_"):
        describe_models(models[["model", "collection", "key", "image_size"]], pd.concat([pretraining, twice]))


def test_fields_of_known_models(models):
    table = models.set_index("model")
    swsl = table.loc["resnet50.fb_swsl_ig1b_ft_in1k"]
    assert swsl["supervision_level"] == ("pseudo-labels of Instagram hashtags (IG-1B) (teacher: Instagram hashtags)")
    assert (swsl["images"], swsl["prediction"], swsl["intermediate"]) == (940e6, "classifier", "none")
    clip = table.loc["vit_base_patch16_clip_224.laion2b_ft_in12k_in1k"]
    assert (clip["intermediate"], clip["weights"]) == ("ImageNet-12k", "ViT-B-16 laion2b_s34b_b88k")
    assert table.loc["RN50-quickgelu yfcc15m", "prediction"] == "zero-shot prompts"
    assert table.loc["deit3_base_patch16_224.fb_in1k", "recipe"] == "deit3"
    assert table.loc["deit_base_distilled_patch16_224.fb_in1k", "teacher"] == "ImageNet-1k labels"
    assert table.loc["CLIP-RN50-yfcc2m", "images"] == 2e6  # the file says 15 million
    assert table.loc["resnet50", "image_size"] == 224  # the testbed's file has none
    assert table.loc["mixer_b16_224.goog_in21k_ft_in1k", "supervision_level"] == "labels of ImageNet-21k"
    assert table.loc["beitv2_base_patch16_224.in1k_ft_in1k", "supervision_level"] == "images (teacher: captions (CLIP))"
    assert table.loc["hgnetv2_b0.ssld_stage2_ft_in1k", "supervision_level"] == ""


def test_encoders_that_others_started_from_are_models_of_open_clip(models):
    known = set(models[models["collection"] == "open_clip"]["model"])
    started = set(models[models["collection"] == "timm"]["weights"]) - {"", "SWAG"}
    assert started <= known and len(started) == 14


def test_documented():
    table = pd.DataFrame({"a": ["x", "", "x"], "b": [1.0, 2.0, np.nan]})
    assert documented(table, ["a", "b"]).tolist() == [True, False, False]
    assert documented(table, ["b"]).tolist() == [True, True, False]
