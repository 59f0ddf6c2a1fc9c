"""Checks that tables of a finished study agree with each other, whatever kind of images it is about."""

from __future__ import annotations

import io

import pandas as pd
from PIL import Image


def opened(picture, kind):
    image = Image.open(io.BytesIO(picture))
    assert image.format == kind
    image.load()
    return image


def check_data(results):
    """Check the tables of `describe_data` against what other stages wrote, for a study of any kind."""
    sizes = pd.read_csv(results / "decontaminated" / "sizes.csv").set_index("dataset")
    filters = pd.read_csv(results / "data" / "filters.csv")
    steps = filters.pivot(index="dataset", columns="step", values="images")
    assert steps["decoded"].to_dict() == sizes["decoded"].to_dict()
    assert filters.groupby("dataset")["images"].last().to_dict() == sizes["kept"].to_dict()
    classes = pd.read_csv(results / "data" / "classes.csv")
    samples = pd.read_parquet(results / "data" / "samples.parquet")
    for name, row in sizes.iterrows():
        failed = len(pd.read_csv(results / "images" / f"{name}_failures.csv"))
        assert steps.loc[name, "recorded"] - failed == row["decoded"]
        kept = pd.read_parquet(results / "decontaminated" / f"{name}.parquet")
        counted = classes[classes["dataset"] == name].set_index("class")["images"]
        assert counted[counted > 0].to_dict() == kept["label"].value_counts().to_dict()
        shown = samples[samples["dataset"] == name]
        assert len(shown) == min(40, len(kept)) and shown["uid"].isin(kept["uid"]).all()
    captions = pd.read_csv(results / "data" / "captions.csv").set_index("source")
    assert (captions["records"] == sizes["kept"].reindex(captions.index)).all() and captions.index.size
    assert (captions["words_median"] <= captions["words_p95"]).all()
    pairs = pd.read_parquet(results / "data" / "pairs.parquet")
    written = pd.read_csv(results / "decontaminated" / "pairs.csv")
    assert pairs.groupby("low").size().to_dict() == written.groupby("low").size().clip(upper=20).to_dict()
    for column in ("picture", "test_picture"):
        for picture in pairs[column]:
            Image.open(io.BytesIO(picture)).load()


def check_details(results):
    """Check the tables of `describe_runs` against the accuracies and the predictions, for a study of any kind."""
    accuracy = pd.read_csv(results / "accuracy.csv", keep_default_na=False)
    main = accuracy[accuracy["main"] & ~accuracy["test_set"].str.contains("@")].set_index(["run", "test_set"])
    by_class = pd.read_csv(results / "details" / "class_accuracy.csv").groupby(["run", "test_set"], sort=False)
    sums = by_class[["images", "correct"]].sum()
    assert set(sums.index) == set(main.index) and (sums == main.loc[sums.index, ["images", "correct"]]).all(axis=None)

    confusions = pd.read_csv(results / "details" / "confusions.csv", keep_default_na=False)
    assert (confusions["label"] != confusions["prediction"]).all()
    assert (confusions["images"] <= confusions["class_images"]).all()
    listed = confusions.groupby(["run", "test_set"])["images"]
    wrong = (main["images"] - main["correct"]).loc[listed.sum().index]
    assert (listed.sum() <= wrong).all() and (listed.size() <= 20).all()
    # Where fewer than 20 are listed, they are all there are.
    assert (listed.sum() == wrong)[listed.size() < 20].all()

    shown = pd.read_parquet(results / "details" / "sample_predictions.parquet")
    predictions = pd.read_parquet(results / "predictions.parquet").astype({"run": str, "test_set": str})
    heads = accuracy.loc[accuracy["main"], ["run", "head", "prompts", "fitted_on"]].drop_duplicates()
    by_main_head = predictions.astype(dict.fromkeys(("head", "prompts", "fitted_on"), str)).merge(heads)
    both = shown.merge(by_main_head, on=["run", "test_set", "uid"], suffixes=("", "_written"), validate="one_to_one")
    assert len(both) == len(shown) == heads.shape[0] * shown[["test_set", "uid"]].drop_duplicates().shape[0]
    assert (both["prediction"] == both["prediction_written"].astype(str)).all()
    assert (both["correct"] == both["correct_written"]).all()

    curves = pd.read_csv(results / "details" / "curves.csv")
    for run, curve in curves.groupby("run"):
        progress = pd.read_csv(results / "runs" / run / "progress.csv")
        assert curve["samples"].iloc[-1] == progress["samples"].iloc[-1] and curve["samples"].is_monotonic_increasing
        assert len(curve) == min(60, len(progress))
        assert progress["loss"].min() <= curve["loss"].min() and curve["loss"].max() <= progress["loss"].max()
    assert set(curves["run"]) == {path.parent.name for path in (results / "runs").glob("*/progress.csv")}
