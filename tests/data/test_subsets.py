"""Subsets are seeded, nested and independent of order."""

import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whyrobust.data.subsets import (
    SubsetError,
    draw_class_balanced,
    draw_class_balanced_from_files,
    draw_from_files,
    draw_key,
    draw_matching_classes,
    draw_matching_classes_from_files,
    draw_mixture,
    draw_mixture_from_files,
    draw_subset,
    matched_size,
)

uids = st.lists(st.text(min_size=1), min_size=2, max_size=60, unique=True)


@given(uids, st.integers(0, 9), st.randoms(), st.data())
def test_nested_and_independent_of_order(names, seed, random, data):
    large = data.draw(st.integers(1, len(names)))
    small = data.draw(st.integers(1, large))
    shuffled = list(names)
    random.shuffle(shuffled)
    drawn = draw_subset(names, large, seed)
    assert drawn == draw_subset(iter(shuffled), large, seed)
    assert drawn[:small] == draw_subset(names, small, seed)
    assert drawn == sorted(names, key=lambda uid: draw_key(uid, seed))[:large]


@given(
    st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1), st.sampled_from(["cat", None])), min_size=1,
             max_size=40, unique_by=lambda record: record[0]),
    st.integers(0, 9), st.integers(1, 7), st.booleans(), st.data(),
)  # fmt: skip
def test_files_give_the_very_rows_that_are_drawn_from_a_list(records, seed, rows, only_labelled, data):
    wanted = [uid for uid, label in records if label or not only_labelled]
    size = data.draw(st.integers(1, len(records)))
    split = data.draw(st.integers(0, len(records)))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("one.parquet", "two.parquet")]
        for path, part in zip(paths, (records[:split], records[split:]), strict=True):
            columns = {"uid": [uid for uid, _ in part], "label": [label for _, label in part]}
            table = pa.table(columns, pa.schema({"uid": pa.string(), "label": pa.string()}))
            pq.write_table(table, path, row_group_size=rows)
        if size > len(wanted):
            with pytest.raises(SubsetError, match=f"holds {len(wanted)}"):
                draw_from_files(paths, size, seed, only_labelled)
            return
        drawn = draw_from_files(paths, size, seed, only_labelled)
    assert drawn["uid"].to_pylist() == draw_subset(wanted, size, seed)
    assert drawn["label"].to_pylist() == [dict(records)[uid] for uid in drawn["uid"].to_pylist()]


def test_large_files_are_shared_by_processes_and_repeated_uids_are_an_error(tmp_path):
    uids = [f"photograph {number}" for number in range(5000)]
    path = tmp_path / "kept.parquet"
    pq.write_table(pa.table({"uid": uids, "label": ["cat"] * 5000}), path, row_group_size=1000)
    assert draw_from_files([path], 500, 3, processes=2)["uid"].to_pylist() == draw_subset(uids, 500, 3)
    with pytest.raises(SubsetError, match="twice"):
        draw_from_files([path, path], 500, 3)


def test_another_seed_draws_others():
    names = [str(number) for number in range(1000)]
    common = set(draw_subset(names, 100, 0)) & set(draw_subset(names, 100, 1))
    assert 0 < len(common) < 30


def test_too_many_or_repeated_images_are_errors():
    with pytest.raises(SubsetError, match="holds 2"):
        draw_subset(["a", "b"], 3, 0)
    with pytest.raises(SubsetError, match="twice"):
        draw_subset(["a", "b", "a"], 3, 0)


LABELLED = st.lists(
    st.tuples(st.text(min_size=1, max_size=6), st.sampled_from(["cat", "dog", "fox", None])),
    min_size=1,
    max_size=60,
    unique_by=lambda pair: pair[0],
)


@given(LABELLED, st.integers(0, 5), st.randoms())
def test_balanced_subsets_are_nested_even_and_free_of_order(records, seed, shuffler):
    held = Counter(label for _, label in records if label is not None)
    total = sum(held.values())
    label_of = dict(records)
    if not total:
        with pytest.raises(SubsetError, match="holds 0 with a label"):
            draw_class_balanced(records, 1, seed)
        return
    whole = draw_class_balanced(records, total, seed)
    shuffled = list(records)
    shuffler.shuffle(shuffled)
    for size in range(1, total + 1):
        drawn = draw_class_balanced(shuffled, size, seed)
        assert drawn == whole[:size]
        counts = Counter(label_of[uid] for uid in drawn)
        most = max(counts.values())
        # A class lags behind by more than one only where it is used up.
        assert all(counts[name] >= min(most - 1, held[name]) for name in held)
    with pytest.raises(SubsetError, match=f"at most|{total}"):
        draw_class_balanced(records, total + 1, seed)


@given(
    st.dictionaries(st.sampled_from(["cat", "dog", "fox", "owl"]), st.integers(0, 50), min_size=1),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_matched_classes_keep_their_shares_at_every_size(reference, size, seed):
    records = [(f"{name}{number}", name) for name in ("cat", "dog", "fox", "owl") for number in range(40)]
    total = sum(reference.values())
    if total == 0:
        with pytest.raises(SubsetError, match="no labelled images"):
            draw_matching_classes(records, reference, size, seed)
        return
    drawn = draw_matching_classes(records, reference, size, seed)
    assert drawn == draw_matching_classes(records[::-1], reference, 40, seed)[:size]
    counts = Counter(uid[:3] for uid in drawn)
    for name, count in reference.items():
        assert abs(counts[name] - size * count / total) < 2
    assert len(set(drawn)) == size


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9), min_size=1), st.integers(1, 60))
def test_each_image_goes_to_the_class_that_is_furthest_behind_its_share(reference, size):
    """Webster's rule, class by class for every image: of equals the first by name."""
    records = [(f"{name}{number}", name) for name in "abcdef" for number in range(60)]
    given = dict.fromkeys(sorted(reference), 0)
    for uid in draw_matching_classes(records, reference, size, 0):
        assert uid[0] == max(given, key=lambda name: reference[name] / sum(reference.values()) / (2 * given[name] + 1))
        given[uid[0]] += 1


def test_matching_classes_holds_no_more_of_the_source_than_it_draws():
    records = ((f"{number:0200d}", f"class {number % 100}") for number in range(30_000))
    tracemalloc.start()
    try:
        assert len(draw_matching_classes(records, {"class 7": 1}, 300, 0)) == 300
        assert tracemalloc.get_traced_memory()[1] < 1_000_000, "the source is 7.5 MB"
    finally:
        tracemalloc.stop()


def test_matched_classes_say_which_class_runs_out_and_what_is_possible():
    records = [("a", "cat"), ("b", "dog"), ("c", "dog"), ("d", "dog")]
    with pytest.raises(SubsetError, match=r"class 'cat' has only 1.*ask for (\d+) at most") as caught:
        draw_matching_classes(records, {"cat": 1, "dog": 1}, 4, 0)
    possible = int(str(caught.value).split()[-3])
    assert len(draw_matching_classes(records, {"cat": 1, "dog": 1}, possible, 0)) == possible


@given(st.integers(1, 40), st.floats(0.05, 0.95), st.integers(0, 3))
def test_mixtures_are_nested_and_their_parts_are_plain_subsets(size, share, seed):
    components = {"a": [f"a{n}" for n in range(40)], "b": [f"b{n}" for n in range(40)]}
    shares = {"a": share, "b": 1 - share}
    drawn = draw_mixture(components, shares, size, seed)
    assert drawn == draw_mixture({name: uids[::-1] for name, uids in components.items()}, shares, 40, seed)[:size]
    for name, uids in components.items():
        own = [uid for component, uid in drawn if component == name]
        assert abs(len(own) - size * shares[name]) <= 1
        assert not own or own == draw_subset(uids, len(own), seed)


def test_mixtures_say_which_part_runs_out():
    components = {"a": ["a0"], "b": [f"b{n}" for n in range(9)]}
    with pytest.raises(SubsetError, match="'a' has only 1"):
        draw_mixture(components, {"a": 0.5, "b": 0.5}, 6, 0)
    with pytest.raises(SubsetError, match="shares"):
        draw_mixture(components, {"a": 0.5, "b": 0.6}, 2, 0)


@given(
    st.integers(1, 1000),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 1200), min_size=1),
    st.floats(0, 0.9),
)
def test_a_matched_size_is_what_all_have_or_an_error_where_too_much_is_missing(asked, available, allowed):
    size = min([asked, *available.values()])
    if asked - size > allowed * asked:
        with pytest.raises(SubsetError, match=f"{asked} images asked for, but '.' has {size}"):
            matched_size(asked, available, allowed)
    else:
        assert matched_size(asked, available, allowed) == size


def test_a_matched_size_names_the_source_that_is_short():
    assert matched_size(480, {"captions": 454, "yfcc": 494}, 0.2) == 454
    with pytest.raises(
        SubsetError, match=r"480 images asked for, but 'captions' has 454, 5\.4% fewer; allowed are 5\.0%"
    ):
        matched_size(480, {"captions": 454, "yfcc": 494}, 0.05)


def kept_file(path, uids, labels):
    pq.write_table(pa.table({"uid": uids, "label": labels, "group": uids}), path)
    return path


def test_rows_of_views_and_mixtures_come_in_the_order_of_the_draw(tmp_path):
    labels = ["cat", "dog", None, "cat", "dog", "dog", "cat", "dog"]
    own = [f"a{n}" for n in range(8)]
    first = kept_file(tmp_path / "a.parquet", own, labels)
    second = kept_file(tmp_path / "b.parquet", [f"b{n}" for n in range(8)], labels)
    balanced = draw_class_balanced_from_files([first], 4, 3)
    assert balanced["uid"].to_pylist() == draw_class_balanced(zip(own, labels, strict=True), 4, 3)
    assert balanced.column_names == ["uid", "label", "group"]
    assert balanced["label"].to_pylist() == [labels[own.index(uid)] for uid in balanced["uid"].to_pylist()]
    reference = kept_file(tmp_path / "c.parquet", ["c0", "c1", "c2", "c3"], ["dog", "dog", "cat", None])
    matching = draw_matching_classes_from_files([first], reference, 6, 3)
    expected = draw_matching_classes(zip(own, labels, strict=True), {"dog": 2, "cat": 1}, 6, 3)
    assert matching["uid"].to_pylist() == expected
    mixture = draw_mixture_from_files({"a": first, "b": second}, {"a": 0.75, "b": 0.25}, 8, 3)
    uids = {"a": own, "b": [f"b{n}" for n in range(8)]}
    assert mixture["uid"].to_pylist() == [uid for _, uid in draw_mixture(uids, {"a": 0.75, "b": 0.25}, 8, 3)]
