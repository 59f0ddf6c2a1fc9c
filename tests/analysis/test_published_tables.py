"""The joined table of published models: every model once, accuracies of one table, and what is left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from whyrobust.analysis.published_tables import (
    SAME_MODEL_POINTS,
    architecture_class,
    architecture_of,
    family_of,
    read_other_test_sets,
    read_published,
)

FOLDER = Path(__file__).parents[2] / "resources" / "reference"


@pytest.fixture(scope="module")
def published():
    return read_published(FOLDER)


def test_every_row_of_every_table_counts_once_or_is_left_out_with_a_reason(published):
    rows = {
        "timm": len(pd.read_csv(FOLDER / "timm_top1.csv")),
        "open_clip": len(pd.read_csv(FOLDER / "open_clip_zeroshot_top1.csv")),
        "imagenet_testbed": len(pd.read_csv(FOLDER / "imagenet_testbed_top1.csv")),
        "vlhub": len(pd.read_csv(FOLDER / "vlhub_top1.csv")),
    }
    assert rows == {"timm": 1265, "open_clip": 121, "imagenet_testbed": 338, "vlhub": 659}
    for collection, count in rows.items():
        kept = published.models[published.models["collection"] == collection]
        out = published.left_out[published.left_out["collection"] == collection]
        assert len(kept) + len(out) == count, collection
        assert not set(kept["model"]) & set(out["model"])
    assert not published.models["model"].duplicated().any()
    assert published.left_out["why"].str.len().gt(0).all()


def test_models_in_several_tables_count_under_one_name(published):
    models = published.models.set_index("model")
    assert models.loc["ViT-L-14 openai", "also_in"] == "vlhub:CLIP-ViT-L-14-WIT-400m"
    assert "imagenet_testbed:resnet50_swsl" in models.loc["resnet50.fb_swsl_ig1b_ft_in1k", "also_in"]
    assert models.loc["RN50 openai", "also_in"] == (
        "imagenet_testbed:resnet50_clip_zeroshot; vlhub:CLIP-RN50-WIT-400m; open_clip:RN50-quickgelu openai"
    )
    for name in ("resnet50_swsl", "CLIP-RN50-WIT-400m", "RN50-quickgelu openai", "ViT-L-14 laion400m_e31"):
        assert name not in models.index, name
    # torchvision's ResNet-50 of 2015 is not in timm's table, so the testbed's counts.
    assert models.loc["resnet50", "collection"] == "imagenet_testbed"


def test_both_accuracies_of_a_pair_are_of_one_table(published):
    """Plain recomputation from the files: each pair is in the table that it says, unrounded."""
    raw = {
        "timm": pd.read_csv(FOLDER / "timm_top1.csv").set_index("model"),
        "imagenet_testbed": pd.read_csv(FOLDER / "imagenet_testbed_top1.csv").set_index("model"),
    }
    columns = {
        ("imagenet-r", "imagenet@imagenet-r"): ("imagenet_on_r_classes", "imagenet_r"),
        ("imagenet-v2", "imagenet"): ("imagenet", "imagenet_v2"),
        ("objectnet", "imagenet@objectnet"): ("imagenet_on_objectnet_classes", "objectnet"),
    }
    found = published.accuracies.set_index(["shift", "x_test_set"])
    for axis, (x, y) in columns.items():
        for row in found.loc[[axis]].itertuples():
            if row.table not in raw:
                continue
            name = row.model
            if row.table != row.collection:
                also = published.models.set_index("model").loc[name, "also_in"]
                name = next(one.split(":")[1] for one in also.split("; ") if one.startswith(row.table))
            here = raw[row.table].loc[name]
            assert row.id_accuracy == pytest.approx(here[x] / 100) and row.shift_accuracy == pytest.approx(
                here[y] / 100
            )
    # timm has no ObjectNet: there, and there only, the testbed's figures stand for its models.
    elsewhere = published.accuracies[published.accuracies["table"] != published.accuracies["collection"]]
    assert set(elsewhere["shift"]) == {"objectnet"} and set(elsewhere["collection"]) == {"timm"}
    assert not published.accuracies.duplicated(["model", "shift", "x_test_set"]).any()


def test_disagreements_are_the_differences_of_the_files(published):
    timm = pd.read_csv(FOLDER / "timm_top1.csv").set_index("model")
    testbed = pd.read_csv(FOLDER / "imagenet_testbed_top1.csv").set_index("model")
    table = published.disagreements
    here = table[(table["other_name"] == "resnet50_swsl")].set_index("accuracy")["difference_points"]
    for accuracy in ("imagenet", "imagenet_v2", "imagenet_sketch", "imagenet_r", "imagenet_on_r_classes"):
        plain = testbed.loc["resnet50_swsl", accuracy] - timm.loc["resnet50.fb_swsl_ig1b_ft_in1k", accuracy]
        assert here[accuracy] == pytest.approx(plain)
    imagenet = table[table["accuracy"] == "imagenet"]["difference_points"].abs()
    assert len(imagenet) == 107 and imagenet.max() < SAME_MODEL_POINTS and imagenet.median() < 0.1


def test_vlhubs_conventional_rows_are_sorted_column_by_column(published):
    """Why they are left out: each column rises with ImageNet's, which those of one model each do not."""
    vlhub = pd.read_csv(FOLDER / "vlhub_top1.csv")
    conventional = vlhub[vlhub["technique"] == "Conventional"]
    columns = ["imagenet_sketch", "imagenet_r", "imagenet_a"]
    theirs = conventional[["imagenet", *columns]].corr("spearman").loc["imagenet", columns]
    timm = pd.read_csv(FOLDER / "timm_top1.csv")[["imagenet", *columns]].corr("spearman").loc["imagenet", columns]
    assert (theirs > 0.998).all() and (timm < 0.985).all()
    out = published.left_out[published.left_out["why"].str.contains("sorted")]
    assert len(out) == len(conventional) == 630
    assert set(published.models[published.models["collection"] == "vlhub"]["key"].str.split().str[0]) == {"VL"}


def test_two_rows_with_the_same_figures_are_both_left_out(published):
    out = published.left_out[published.left_out["why"].str.contains("same figures")]
    assert sorted(out["model"]) == ["ViT-B-32 commonpool_s_image_s13m_b4k", "ViT-B-32 datacomp_s_s13m_b4k"]


@pytest.mark.parametrize(
    "row, said",
    [
        ("imagenet_testbed,alexnet,timm,resnet18.tv_in1k,weights", "13.2 points apart"),
        ("imagenet_testbed,alexnet,timm,no_such_model,weights", "in no table"),
        ("vlhub,CLIP-RN50-in1k,open_clip,RN50 yfcc15m,weights", "counts itself under another name"),
    ],
)
def test_a_wrong_name_is_an_error(tmp_path, row, said):
    folder = tmp_path / "reference"
    shutil.copytree(FOLDER, folder)
    with (folder / "published_model_names.csv").open("a", encoding="utf-8") as names:
        names.write(row + "\n")
    with pytest.raises(ValueError, match=said):
        read_published(folder)


@pytest.mark.parametrize(
    "name, collection, architecture, encoder",
    [
        ("vit_base_patch16_clip_384.openai_ft_in1k", "timm", "vit_base_patch16_clip", "ViT-B/16"),
        ("vit_base_patch16_224.augreg_in21k_ft_in1k", "timm", "vit_base_patch16", "ViT-B/16"),
        ("coca_ViT-L-14 laion2b_s13b_b90k", "open_clip", "ViT-L-14", "ViT-L/14"),
        ("ViT-B-16-quickgelu metaclip_400m", "open_clip", "ViT-B-16", "ViT-B/16"),
        ("ViT-B-16-SigLIP-384 webli", "open_clip", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP"),
        ("ViT-B-16-plus-240 laion400m_e32", "open_clip", "ViT-B-16-plus", "ViT-B-16-plus"),
        ("regnety_320.seer_ft_in1k", "timm", "regnety_320", "regnety_320"),
        ("resnet50_gn.a1h_in1k", "timm", "resnet50_gn", "resnet50_gn"),
        ("resnet50_swav", "imagenet_testbed", "resnet50", "resnet50"),
        ("resnet152_3x_simclrv2_finetuned_100pct_tf_port", "imagenet_testbed", "resnet152_3x", "resnet152_3x"),
        ("CLIP-RN50-yfcc2m", "vlhub", "RN50", "RN50"),
        ("convnext_large_mlp.clip_laion2b_augreg_ft_in1k", "timm", "convnext_large_mlp", "convnext_large"),
        ("convnext_base_w_320 laion_aesthetic_s13b_b82k", "open_clip", "convnext_base_w", "convnext_base"),
        ("convnextv2_base.fcmae_ft_in1k", "timm", "convnextv2_base", "convnextv2_base"),
    ],
)
def test_architectures_are_named_without_resolution_and_loss(name, collection, architecture, encoder):
    assert architecture_of(name, collection) == architecture
    assert architecture_class(architecture) == encoder


def test_families():
    assert [family_of(name) for name in ("ViT-B/16", "resnext101_32x8d", "convnext_base", "RN50")] == [
        "vit",
        "resnext",
        "convnext",
        "rn",
    ]


def test_other_test_sets_have_the_same_models():
    other = read_other_test_sets(FOLDER)
    models = pd.read_csv(FOLDER / "open_clip_zeroshot_top1.csv")
    assert list(other["model"]) == list(models["model"] + " " + models["pretrained"])
    values = other.drop(columns="model")
    assert values.ge(0).all(axis=None) and values.le(1).all(axis=None) and values["country211"].max() > 0.4
