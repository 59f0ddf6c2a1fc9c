"""What the data look like: counts against plain loops, and pictures that are what the stores hold."""

from __future__ import annotations

import io
import math
import random
import statistics

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_images

from tests.photo_index import index_photographs
from whyrobust.data.archives import LOCATION_SCHEMA
from whyrobust.data.label_matcher import LabelMatcher
from whyrobust.data.photo_store import write_photographs
from whyrobust.data.pixel_store import MissingImageError, write_pixels
from whyrobust.data.preprocessing import Preprocessing, preprocess
from whyrobust.data.records import MissingUidError, write_records
from whyrobust.data.subsets import draw_subset
from whyrobust.report import data_summary
from whyrobust.report.data_summary import (
    PHOTOGRAPH_SIDE_PIXELS,
    DescriptionError,
    count_classes,
    describe_captions,
    encode_picture,
    list_filters,
    read_captions,
    read_pictures,
    sample_pairs,
)

CLASSES = pd.DataFrame(
    {
        "class": ["fire truck", "dog", "fire"],
        "synonyms": ["fire engine", "hound", ""],
        "excluded_phrases": ["", "hot dog", ""],
    }
)
MATCHER = LabelMatcher(CLASSES)


# --- Classes ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 50)), st.permutations("abcdef"))
def test_every_class_is_counted_in_the_order_of_the_study(labels, classes):
    assert list(count_classes(labels, classes).items()) == [(name, labels.get(name, 0)) for name in classes]


def test_a_label_of_several_classes_counts_once_and_its_classes_are_not_empty():
    counts = count_classes({"c": 2, "b;d": 3}, ["a", "b", "c", "d"])
    assert list(counts.items()) == [("a", 0), ("b;d", 3), ("c", 2)]


def test_a_label_that_is_no_class_is_an_error():
    with pytest.raises(DescriptionError, match="'b;x' names 'x'"):
        count_classes({"b;x": 1}, ["a", "b"])


# --- Captions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "label", "names"),
    [
        ("a dog", "dog", True),
        ("two Dogs!", "dog", True),
        ("a hound", "dog", True),
        ("dogma", "dog", False),
        ("a hot dog", "dog", False),
        ("a fire truck", "fire", False),
        ("a fire engine on fire", "fire", True),
        ("a dog and a fire", "dog", True),
        ("a fire", "dog;fire", True),
        (None, "dog", False),
    ],
)
def test_a_caption_names_its_class_by_the_rules_of_text_match(caption, label, names):
    described = describe_captions([(caption, label), ("dog", None)], MATCHER)
    assert described["share_naming_class"] == names and described["labelled"] == 1
    unsought = describe_captions([(caption, label), ("dog", None)], None)
    assert math.isnan(unsought.pop("share_naming_class"))
    assert unsought.items() <= described.items()


WORDS = st.lists(st.sampled_from(["dog", "fire", "truck", "  ", "naïve", "a\tb", "x-y"]), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(st.none() | WORDS, st.none() | st.sampled_from(["dog", "fire"])), max_size=12))
def test_captions_are_described_as_a_plain_loop_does(rows):
    captions = [None if words is None else " ".join(words) for words, _ in rows]
    labels = [label for _, label in rows]
    found = describe_captions(zip(captions, labels, strict=True), MATCHER)
    lengths, characters, labelled, naming = [], [], 0, 0
    for caption, label in zip(captions, labels, strict=True):
        if caption:
            lengths.append(sum(1 for part in caption.replace("\t", " ").split(" ") if part))
            characters.append(len(caption))
        if label is not None:
            labelled += 1
            naming += label in MATCHER.match(caption or "")
    assert (found["records"], found["captions"], found["labelled"]) == (len(rows), len(lengths), labelled)
    shares = {
        "empty_share": (len(rows) - len(lengths)) / len(rows) if rows else math.nan,
        "share_naming_class": naming / labelled if labelled else math.nan,
        "words_mean": statistics.mean(lengths) if lengths else math.nan,
        "words_median": statistics.median(lengths) if lengths else math.nan,
        "characters_mean": statistics.mean(characters) if lengths else math.nan,
    }
    assert {name: found[name] for name in shares} == pytest.approx(shares, nan_ok=True)
    if lengths:
        below = sorted(lengths)[int(0.95 * (len(lengths) - 1))]
        assert below <= found["words_p95"] <= max(lengths)


def test_captions_of_kept_records_are_read_with_their_labels(tmp_path):
    """More rows than are read at a time, so that captions of a later batch must find their labels too."""
    uids = [str(number) for number in range(140_000)]
    titles = [None if number % 5 == 0 else f"title {number}" for number in range(len(uids))]
    table = pa.table({"uid": uids, "title": titles, "template": uids})
    pq.write_table(table, tmp_path / "captions.parquet", row_group_size=30_000)
    chosen = random.Random(0).sample(range(len(uids)), 100_000)
    label_of = {number: None if number % 3 == 0 else f"label {number}" for number in chosen}
    kept = pa.table({"uid": [uids[number] for number in chosen], "label": list(label_of.values())})
    expected = [(titles[number], label_of[number]) for number in sorted(chosen)]
    assert list(read_captions([tmp_path / "captions.parquet"], "title", kept)) == expected
    found = [text for text, _ in read_captions([tmp_path / "captions.parquet"], "template", kept)]
    assert found == [uids[number] for number in sorted(chosen)]
    parts = [tmp_path / f"{number}.parquet" for number in range(3)]
    for path, start in zip(parts, (0, 10, 70_000), strict=True):
        pq.write_table(table.slice(start, {0: 10, 10: 69_990}.get(start)), path)
    assert list(read_captions(parts, "title", kept)) == expected
    lost = pa.table({"uid": ["7", "x"], "label": ["a", "b"]})
    with pytest.raises(DescriptionError, match="1 of 2"):
        list(read_captions([tmp_path / "captions.parquet"], "title", lost))


# --- Filters ---------------------------------------------------------------------------------------------------------


def row(decoded, kept, repeats=0, near_duplicates=0):
    return {
        "decoded": decoded, "repeats_removed": repeats, "near_duplicates_removed": near_duplicates, "kept": kept,
    }  # fmt: skip


def test_steps_of_a_source_and_of_a_test_set():
    steps = list_filters("web", 12, 2, row(10, 7, near_duplicates=3), is_test_set=False, fetched=(20, 13))
    assert list(steps.items()) == [
        ("listed", 20),
        ("fetched", 13),
        ("recorded", 12),
        ("decoded", 10),
        ("without_near_duplicates", 7),
    ]
    steps = list_filters("v2", 12, 0, row(12, 11, repeats=1), is_test_set=True)
    assert list(steps.items()) == [("recorded", 12), ("decoded", 12), ("without_repeats", 11)]


@pytest.mark.parametrize(
    ("failures", "sizes", "fetched", "named"),
    [
        (1, row(10, 10), None, "decoded"),
        (2, row(10, 9), None, "without_near_duplicates"),
        (2, row(10, 10), (20, 11), "grows"),
    ],
)
def test_counts_that_contradict_each_other_are_an_error(failures, sizes, fetched, named):
    with pytest.raises(DescriptionError, match=named):
        list_filters("web", 12, failures, sizes, is_test_set=False, fetched=fetched)


# --- Samples and pairs -----------------------------------------------------------------------------------------------


def write_some_records(path, uids):
    table = pd.DataFrame({"uid": uids, "title": [f"title of {uid}" for uid in uids], "description": ""})
    table["tags"], table["label"] = [[uid] for uid in uids], [None if n % 2 else "dog" for n in range(len(uids))]
    write_records(path, table.assign(group=uids, collection="c"))


def test_samples_are_kept_records_in_the_order_of_the_draw(tmp_path):
    uids = [f"s/{number}" for number in range(50)]
    write_some_records(tmp_path / "a.parquet", uids)
    kept = uids[5:]

    def choose_samples(path, kept, size, seed):
        return data_summary.choose_samples(path, pa.chunked_array([kept[:4], kept[4:]], pa.string()), size, seed)

    chosen = choose_samples(tmp_path / "a.parquet", kept, 8, seed=0).to_pylist()
    assert [record["uid"] for record in chosen] == draw_subset(kept, 8, 0)
    assert all(record["title"] == f"title of {record['uid']}" for record in chosen)
    assert all((record["label"] is None) == (int(record["uid"][2:]) % 2 == 1) for record in chosen)
    shuffled = random.Random(1).sample(uids, len(uids))
    write_some_records(tmp_path / "b.parquet", shuffled)
    again = choose_samples(tmp_path / "b.parquet", [uid for uid in shuffled if uid in kept], 8, seed=0)
    assert again["uid"].to_pylist() == [record["uid"] for record in chosen]
    assert len(choose_samples(tmp_path / "a.parquet", kept[:3], 8, seed=0)) == 3
    assert len(choose_samples(tmp_path / "a.parquet", [], 8, seed=0)) == 0
    with pytest.raises(MissingUidError, match=r"lacks 1 of .* 'lost'"):
        choose_samples(tmp_path / "a.parquet", ["lost"], 8, seed=0)


def test_pairs_of_a_band_are_the_first_of_each_source_and_its_size_is_that_of_all():
    rows = [
        (low, low + 0.02, total, source, f"{source}{n}")
        for source, shown, total in (("web", 3, 90), ("studio", 2, 2))
        for low in (0.92, 0.90)
        for n in range(shown)
    ]
    pairs = pd.DataFrame(rows, columns=["low", "high", "in_band", "source", "uid"])
    found = sample_pairs(pairs, 4)
    assert found["low"].tolist() == [0.90] * 4 + [0.92] * 4
    assert found["uid"].tolist() == ["web0", "web1", "studio0", "studio1"] * 2
    assert set(found["in_band"]) == {92}
    assert list(sample_pairs(pairs[:0], 4).columns) == list(pairs.columns)


# --- Pictures --------------------------------------------------------------------------------------------------------


def opened(content, kind):
    image = Image.open(io.BytesIO(content))
    assert image.format == kind and image.mode == "RGB"
    return np.asarray(image).astype(int)


def test_drawings_are_shown_exactly_at_their_own_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    write_pixels(tmp_path / "drawings.arrow", ["a", "b", "c"], pixels)
    pictures = read_pictures(tmp_path / "drawings.arrow", ["c", "a", "c"])
    assert list(pictures) == ["c", "a"]
    assert (opened(pictures["c"], "PNG") == pixels[2]).all() and (opened(pictures["a"], "PNG") == pixels[0]).all()
    assert read_pictures(tmp_path / "drawings.arrow", []) == {}
    with pytest.raises(MissingImageError):
        read_pictures(tmp_path / "drawings.arrow", ["d"])


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (40, 60), (96, 96)])
def test_photographs_are_scaled_by_the_shorter_side_and_cut_in_the_middle(tmp_path, size):
    y, x = np.mgrid[0 : size[1], 0 : size[0]]
    ramp = np.stack([x * 255 / size[0], y * 255 / size[1], np.full_like(x, 128)], axis=-1).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    row = {"uid": ["a"], "file": [str(tmp_path / "a.png")], "offset": [0], "length": [-1]}
    table = pa.table(row).cast(LOCATION_SCHEMA)
    write_photographs(tmp_path / "photographs.arrow", index_photographs(table), border=0)
    (content,) = read_pictures(tmp_path / "photographs.arrow", ["a"]).values()
    shown = opened(content, "WEBP")
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    middle = Image.fromarray(ramp).crop((left, top, left + side, top + side))
    expected = np.asarray(middle.resize((PHOTOGRAPH_SIDE_PIXELS,) * 2, Image.Resampling.BICUBIC)).astype(int)
    assert shown.shape == expected.shape and np.abs(shown - expected).mean() < 4


def test_the_pictures_of_ten_data_sets_fit_into_a_page():
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    quarters = [
        image.crop((left, top, left + image.width // 2, top + image.height // 2))
        for image in photographs
        for left in (0, image.width // 2)
        for top in (0, image.height // 2)
    ]
    shown = [preprocess(image, Preprocessing(PHOTOGRAPH_SIDE_PIXELS)) for image in (*photographs, *quarters)]
    files = [encode_picture(pixels, photograph=True) for pixels in shown]
    assert files == [encode_picture(pixels, photograph=True) for pixels in shown]
    # A page holds them in base64: four characters for three bytes.
    assert 10 * 40 * sum(map(len, files)) / len(files) * 4 / 3 < 1_500_000
