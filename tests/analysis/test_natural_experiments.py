"""Pairs by a rule: against a plain search, the pairs that were named beforehand, and no model with an empty field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whyrobust.analysis.natural_experiments import QUESTIONS, find_pairs, measure_pairs
from whyrobust.analysis.pretraining import describe_models, read_pretraining
from whyrobust.analysis.published_lines import fit_lines, measure_models, table_of_lines
from whyrobust.analysis.published_tables import read_published

FOLDER = Path(__file__).parents[2] / "resources" / "reference"
BY_NAME = {question.name: question for question in QUESTIONS}


@pytest.fixture(scope="module")
def published():
    return read_published(FOLDER)


@pytest.fixture(scope="module")
def models(published):
    return describe_models(published.models, read_pretraining(FOLDER))


@pytest.fixture(scope="module")
def pairs(models):
    return find_pairs(models)


@pytest.fixture(scope="module")
def lines(published, models):
    return fit_lines(FOLDER, models, published.accuracies)


@pytest.fixture(scope="module")
def measured(published, lines, pairs):
    return measure_pairs(pairs, measure_models(published.accuracies, lines), lines)


def of(pairs, question, control, treatment):
    chosen = (pairs["question"] == question) & (pairs["control"] == control) & (pairs["treatment"] == treatment)
    return pairs[chosen]


def plain_pairs(models, name):
    """Find the pairs of a question by looking at every two models, in words of its own."""
    rows = models.to_dict("records")
    found = set()
    for number, a in enumerate(rows):
        for b in rows[number + 1 :]:
            if a["architecture_class"] != b["architecture_class"]:
                continue
            if any(row[f] == "" for row in (a, b) for f in ("data", "supervision", "objective", "teacher", "predicts")):
                continue
            if "" in (a["fine_tuned_on"], b["fine_tuned_on"]) or a["intermediate"] != b["intermediate"]:
                continue
            if a["image_size"] != b["image_size"] or a["prediction"] != b["prediction"]:
                continue
            bigger = max(a["images"], b["images"]) / min(a["images"], b["images"])
            longer = max(a["samples_seen"], b["samples_seen"]) / min(a["samples_seen"], b["samples_seen"])
            known = [row[f] == row[f] for row in (a, b) for f in ("images", "samples_seen")]
            sized, seen = known[0] and known[2], known[1] and known[3]
            if name == "distribution":
                if a["data"] == b["data"] or a["supervision"] != b["supervision"] or a["objective"] != b["objective"]:
                    continue
                one_paper = a["recipe"] == b["recipe"] != ""
                if seen and longer > 3:
                    continue
                if not ((sized and bigger <= 2) or (seen and longer <= 1.1) or one_paper):
                    continue
            if name == "size":
                same = all(a[f] == b[f] for f in ("data", "supervision", "objective", "teacher"))
                if not same or not sized or bigger < 1.5:
                    continue
            if name == "contrastive_loss":
                same = all(a[f] == b[f] for f in ("data", "supervision", "teacher"))
                if not same or a["objective"] == b["objective"] or not sized or bigger > 2:
                    continue
                if a["supervision"] not in ("captions", "images"):
                    continue
            found.add(frozenset((a["model"], b["model"])))
    return found


@pytest.mark.parametrize("name", ["distribution", "size", "contrastive_loss"])
def test_the_rule_finds_what_a_plain_search_finds(models, pairs, name):
    mine = pairs[pairs["question"] == name]
    found = {frozenset(pair) for pair in zip(mine["model_control"], mine["model_treatment"], strict=True)}
    assert found == plain_pairs(models, name) and len(found) == len(mine)


def test_pairs_named_beforehand_are_found(pairs):
    """Those of the issue, by architectures."""
    ssl = of(pairs, "distribution", "YFCC-100M", "Instagram hashtags (IG-1B)")
    assert sorted(ssl["architecture_class"]) == [
        "resnet18", "resnet50", "resnext101_32x16d", "resnext101_32x4d", "resnext101_32x8d", "resnext50_32x4d"
    ]  # fmt: skip
    assert set(ssl["basis"]) == {"one method"} and ssl["also_differs"].str.contains("teacher").all()
    cc = of(pairs, "distribution", "YFCC-15M", "CC-12M")
    assert ("RN50-quickgelu yfcc15m", "RN50-quickgelu cc12m") in set(
        zip(cc["model_control"], cc["model_treatment"], strict=True)
    )
    filters = pairs[(pairs["question"] == "distribution") & pairs["control"].str.startswith("CommonPool")]
    filters = filters[filters["treatment"].str.startswith(("CommonPool", "DataComp"))]
    assert set(filters["basis"]) <= {"equal samples", "equal size"}
    named = set(filters["control"]) | set(filters["treatment"])
    assert len(named) == 7 and set(filters["architecture_class"]) == {"ViT-B/32", "ViT-B/16", "ViT-L/14"}
    for data in ("DataComp (image-based and CLIP-score filter)", "MetaCLIP"):
        equal = of(pairs, "distribution", "LAION", data)
        assert equal[equal["basis"] == "equal size"]["architecture_class"].nunique() >= 3
    assert of(pairs, "distribution", "ImageNet-1k", "ImageNet-21k")["architecture_class"].nunique() == 28
    sizes = pairs[pairs["question"] == "size"]
    assert len(of(sizes, "size", "MetaCLIP, 400 M images", "MetaCLIP, 2.5 B images")) == 3
    assert len(of(sizes, "size", "YFCC-15M, 2 M images", "YFCC-15M, 15 M images")) == 1
    assert of(sizes, "size", "LAION, 400 M images", "LAION, 2.32 B images")["architecture_class"].nunique() == 3
    images = of(pairs, "language_training", "images", "hashtags")
    assert set(images["architecture_class"]) == {"regnety_320", "regnety_1280"}  # SEER and SWAG
    assert set(of(pairs, "language_training", "labels of ImageNet-1k", "captions")["architecture_class"]) == {
        "ViT-B/16", "ViT-B/32", "ViT-H/14"
    }  # fmt: skip
    prompts = of(pairs, "language_test", "zero-shot prompts", "classifier")
    assert ("ViT-B-16 openai", "vit_base_patch16_clip_224.openai_ft_in1k") in set(
        zip(prompts["model_control"], prompts["model_treatment"], strict=True)
    )
    assert set(of(pairs, "contrastive_loss", "CLIP", "CoCa")["architecture_class"]) == {"ViT-B/32", "ViT-L/14"}


def test_what_no_table_has_gives_no_pair(pairs):
    """SigLIP and CLIP on one data set, supervised contrastive learning, hashtags and captions on one architecture."""
    losses = pairs[pairs["question"] == "contrastive_loss"]
    assert not losses["control"].str.contains("SigLIP").any() and not losses["treatment"].str.contains("SigLIP").any()
    assert of(pairs, "language_training", "hashtags", "captions").empty
    swsl = "pseudo-labels of Instagram hashtags (IG-1B) (teacher: Instagram hashtags)"
    assert of(pairs, "language_training", swsl, "captions").empty


def test_no_comparison_uses_a_model_with_an_empty_field_that_it_needs(models, pairs):
    table = models.assign(encoder=models["weights"].where(models["collection"] != "open_clip", models["model"]))
    table = table.set_index("model")
    for question in QUESTIONS:
        mine = pairs[pairs["question"] == question.name]
        used = table.loc[[*mine["model_control"], *mine["model_treatment"]]]
        for field in {*question.needs, *question.same, question.field}:
            assert used[field].notna().all() and (used[field] != "").all(), (question.name, field)


@pytest.mark.parametrize("field", ["data", "supervision", "objective", "teacher", "fine_tuned_on", "predicts"])
def test_an_emptied_field_takes_a_model_out(models, field):
    small = models[models["model"].isin(["resnet50.fb_ssl_yfcc100m_ft_in1k", "resnet50.fb_swsl_ig1b_ft_in1k"])]
    assert len(find_pairs(small)) == 2  # distribution, and language at training
    emptied = small.copy()
    emptied.loc[emptied["model"].str.contains("ssl_yfcc"), field] = ""
    assert find_pairs(emptied).empty


def test_every_pair_is_of_one_encoder_and_says_what_else_differs(models, pairs):
    table = models.set_index("model")
    for row in pairs.itertuples():
        a, b = table.loc[row.model_control], table.loc[row.model_treatment]
        assert a["architecture_class"] == b["architecture_class"] == row.architecture_class
        if row.question != "language_test":
            assert a["image_size"] == b["image_size"] == row.image_size
            assert "image_size" not in row.also_differs
        for field in ("recipe", "teacher", "data"):
            shown = f"{field}: {a[field] or 'not documented'} / {b[field] or 'not documented'}"
            differs = a[field] != b[field] and field != BY_NAME[row.question].field
            assert (shown in row.also_differs) == differs, (row.question, field)
        if row.question == "size":
            assert b["images"] > a["images"] and row.size_ratio == pytest.approx(b["images"] / a["images"])


def test_one_input_resolution_is_preferred(pairs):
    prompts = of(pairs, "language_test", "zero-shot prompts", "classifier")
    base = prompts[prompts["model_control"] == "ViT-B-16 openai"]
    # Fine-tuned at 224 and at 384 pixels; the prompts were at 224.
    assert list(base["model_treatment"]) == ["vit_base_patch16_clip_224.openai_ft_in1k"]
    shape = prompts[prompts["model_control"] == "ViT-SO400M-14-SigLIP-384 webli"]
    assert len(shape) <= 1 and (shape["also_differs"].str.contains("image_size: 384 / 378")).all()


def test_differences_are_those_of_the_files(measured, lines):
    """Plain recomputation of one pair on both lines."""
    timm = pd.read_csv(FOLDER / "timm_top1.csv").set_index("model")
    ssl, swsl = (timm.loc[f"resnet50.fb_{name}_ft_in1k"] for name in ("ssl_yfcc100m", "swsl_ig1b"))
    rows = measured[
        (measured["question"] == "distribution") & (measured["model_control"] == "resnet50.fb_ssl_yfcc100m_ft_in1k")
    ].set_index(["shift", "line"])
    table = table_of_lines(lines).set_index(["shift", "x_test_set", "line"])
    columns = {
        "imagenet-r": ("imagenet@imagenet-r", "imagenet_on_r_classes", "imagenet_r"),
        "imagenet-sketch": ("imagenet", "imagenet", "imagenet_sketch"),
    }

    def logit(percent):
        return np.log(percent / (100 - percent))

    for shift, (axis, x, y) in columns.items():
        for line in ("testbed", "timm_in1k"):
            row, fitted = rows.loc[(shift, line)], table.loc[(shift, axis, line)]
            assert row["x_test_set"] == axis
            assert row["raw_id_points"] == pytest.approx(swsl[x] - ssl[x])
            assert row["raw_shift_points"] == pytest.approx(swsl[y] - ssl[y])
            plain = logit(swsl[y]) - logit(ssl[y]) - fitted["slope"] * (logit(swsl[x]) - logit(ssl[x]))
            assert row["effect_logits"] == pytest.approx(plain)
            base = logit(100 * fitted["reference_shift_accuracy"])
            points = 100 / (1 + np.exp(-(base + plain))) - 100 * fitted["reference_shift_accuracy"]
            assert row["effect_points"] == pytest.approx(points)


def test_both_models_of_a_pair_stand_on_one_axis(measured):
    zero_shot = measured[measured["collection_control"] == "open_clip"]
    assert set(zero_shot["x_test_set"]) == {"imagenet"}
    both = measured[(measured["collection_control"] == "timm") & (measured["collection_treatment"] == "timm")]
    renditions = both[both["shift"] == "imagenet-r"]
    assert set(renditions["x_test_set"]) == {"imagenet@imagenet-r"}
    key = ["question", "model_control", "model_treatment", "shift", "line"]
    assert not measured.duplicated(key).any()
    assert np.isfinite(measured["effect_logits"]).all()
