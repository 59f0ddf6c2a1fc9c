"""What is said of the data before training: each remark against counts that were made to need it, and no other."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from whyrobust.data.dataset_checks import TEXT_BESIDE
from whyrobust.report import templating
from whyrobust.report.data_check import (
    DataCounts,
    StudyNeeds,
    find_remarks,
    left_out_table,
    summarise,
    unknown_label_table,
    verdict,
)
from whyrobust.report.data_page import render_data
from whyrobust.report.data_summary import CAPTION_COLUMNS
from whyrobust.report.tables import DataTables

CLASSES = ("cat", "dog", "mug")
DATASETS = {"web": ("training_source", "without_near_duplicates"), "same": ("in_distribution", "without_repeats"),
            "other": ("shift", "without_repeats")}  # fmt: skip
REMOVED = pd.DataFrame(
    [("web", "same", "exact", 4), ("web", "same", "near_duplicate", 3), ("web", "other", "exact", 0)],
    columns=["source", "test_set", "reason", "images"],
)
NEEDS = StudyNeeds({"web": 900}, 0.0, ("same", "other"), "images")


def counts_of(images=None, left=None, captions=(0.0, 0.5), left_out=(), unknown=()):
    """Return counts of 1,000 images a data set, in which nothing is to be looked at but what is given."""
    images = dict.fromkeys(DATASETS, (400, 300, 300)) | (images or {})
    kept = dict.fromkeys(DATASETS, 1000) | (left or {})
    steps = [
        (name, step, number)
        for name, (_, last) in DATASETS.items()
        for step, number in (("recorded", 1000), ("decoded", 1000), (last, kept[name]))
    ]
    row = ["web", "title", 1000, 990, captions[0], 5.0, 4.0, 9.0, 30.0, 1000, captions[1]]
    rows = [(name, DATASETS[name][0], *pair) for name in DATASETS for pair in zip(CLASSES, images[name], strict=True)]
    return DataCounts(
        filters=pd.DataFrame(steps, columns=["dataset", "step", "images"]),
        classes=pd.DataFrame(rows, columns=["dataset", "role", "class", "images"]),
        captions=pd.DataFrame([row], columns=["source", "caption", *CAPTION_COLUMNS]),
        removed=REMOVED,
        left_out=left_out_table({"web": left_out}, {}),
        unknown_labels=unknown_label_table({"web": unknown}, CLASSES),
    )


CASES = {
    "a class of a test set": ({"images": {"same": (500, 500, 0)}}, "same", "classes without images", "1 of 3", "mug"),
    "a class of a source": ({"images": {"web": (500, 0, 0)}}, "web", "classes without images", "2 of 3", "dog; mug"),
    "labels": ({"unknown": [("Dog.", 7), ("xyz", 2)]}, "web", "labels that match no class", "9 images", "class: dog"),
    "pictures": ({"left_out": [("kept", 1000), ("gone", 6)]}, "web", "left out", "6 of 1,006", "gone"),
    "copies": ({"left": {"web": 989}}, "web", "near-duplicates of test images", "11 images (1.1 %)", "7 of same"),
    "repeats": ({"left": {"other": 900}}, "other", "repeats", "100 images (10.0 %)", "repeat another"),
    "small test set": ({"left": {"other": 90}}, "other", "too few images", "90 images", "±10 points"),
    "empty captions": ({"captions": (0.02, 0.5)}, "web", "captions", "2.0 %", "title"),
    "captions without classes": ({"captions": (0.0, 0.04)}, "web", "captions", "4.0 %", "synonyms"),
    "proportions": ({"images": {"other": (200, 400, 400)}}, "other", "class proportions", "20 %", "'same'"),
}


def test_data_without_fault_are_ready():
    just_allowed = counts_of(images={"other": (310, 345, 345)}, left={"web": 990, "other": 990},
                             captions=(0.01, 0.05), left_out=[("kept", 1000), ("gone", 5)])  # fmt: skip
    assert find_remarks(counts_of(), NEEDS) == find_remarks(just_allowed, NEEDS) == []
    assert verdict([]) == "ready"


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_looked_at_is_said_with_its_numbers(case):
    given, dataset, kind, *told = CASES[case]
    remarks = [remark for remark in find_remarks(counts_of(**given), NEEDS) if remark.kind == kind]
    assert [remark.dataset for remark in remarks] == [dataset]
    assert all(part in remarks[0].text for part in told), remarks[0].text


def test_a_small_in_distribution_test_set_is_said_where_sources_are_compared():
    def kinds(left, sources):
        counts = counts_of(left={"same": left})
        again = counts.classes[counts.classes["dataset"] == "web"].assign(dataset="more")
        steps = counts.filters[counts.filters["dataset"] == "web"].assign(dataset="more")
        if sources == 2:
            counts = dataclasses.replace(
                counts, classes=pd.concat([counts.classes, again]), filters=pd.concat([counts.filters, steps])
            )
        return {(one.dataset, one.kind) for one in find_remarks(counts, NEEDS) if one.kind != "repeats"}

    assert kinds(499, 2) == {("same", "too few images to compare sources")}
    assert kinds(500, 2) == kinds(499, 1) == set()


def test_a_size_that_no_source_has_is_said_before_training():
    few = find_remarks(counts_of(), dataclasses.replace(NEEDS, train_images={"web": 1001}))
    assert [(remark.dataset, remark.kind) for remark in few] == [("web", "too few images")]
    assert "ask for 1,001" in few[0].text and "1,000 are left" in few[0].text
    allowed = dataclasses.replace(NEEDS, train_images={"web": 1001}, allowed_shortfall_share=0.01)
    assert find_remarks(counts_of(), allowed) == []
    # 1 % of 1,011 may be missing, which is less than the 11 that are.
    beyond = dataclasses.replace(allowed, train_images={"web": 1011})
    assert [remark.kind for remark in find_remarks(counts_of(), beyond)] == ["too few images"]


def test_only_test_sets_of_all_classes_must_have_them_and_a_source_without_labels_has_none():
    own = counts_of(images={"other": (1000, 0, 0), "web": (0, 0, 0)})
    assert find_remarks(own, dataclasses.replace(NEEDS, all_classes=("same",))) == []
    equal = dataclasses.replace(NEEDS, class_weights="equal")
    assert {remark.kind for remark in find_remarks(own, equal)} == {"classes without images"}


def test_reasons_are_counted_once_and_labels_kept_without_one_are_not_left_out():
    table = left_out_table({"web": [("kept", 9), ("gone", 2)]}, {"web": ["cut", "cut", "bomb"], "same": []})
    assert table.values.tolist() == [["web", "gone", 2], ["web", "cut", 2], ["web", "bomb", 1]]
    assert find_remarks(counts_of(left_out=[("its label is empty (kept without one)", 900)]), NEEDS) == []


def test_text_files_beside_pictures_are_nothing_to_look_at():
    counts = counts_of(left_out=[("kept", 1000), (TEXT_BESIDE, 1000)])
    assert find_remarks(counts, NEEDS) == [] and f"1,000 left out: {TEXT_BESIDE}" in summarise("s", counts, [])


def test_the_terminal_and_the_page_say_the_same(monkeypatch):
    monkeypatch.setattr(templating, "chart_scripts", lambda: "")  # megabytes, the same on every page
    counts = counts_of(unknown=[("<b>Dog</b>", 7)], left_out=[("kept", 1000), ("gone", 6)])
    remarks = find_remarks(counts, NEEDS)
    text = summarise("mine", counts, remarks)
    assert "Verdict: look at these 2 things." in text and "6 left out: gone" in text
    assert "990 of 1,000, 4 words (median), 50.0 % name their class" in text
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
    samples = pd.DataFrame(
        {"dataset": ["web"], "role": ["training_source"], "uid": ["web/1"], "title": ["a cat"], "description": [""],
         "tags": [None], "label": ["cat"], "picture": [buffer.getvalue()]}
    )  # fmt: skip
    pairs = pd.DataFrame(columns=["low", "high", "in_band", "source"])
    data = DataTables(counts.classes, counts.captions, counts.filters, samples, pairs, REMOVED, pd.DataFrame())
    page = render_data("mine", counts, remarks, data, 0.95)
    assert all(str(remark.kind) in page for remark in remarks) and "Look at these 2 things." in page
    assert "&lt;b&gt;Dog&lt;/b&gt;" in page and "<b>Dog</b>" not in page
    assert 'src="http' not in page and "data:image/png;base64" in page
    assert "Labels found in text" not in page
