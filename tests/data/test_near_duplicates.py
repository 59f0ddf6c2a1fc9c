"""Near-duplicates: planted copies are found, nothing else is, and the order of inputs does not matter."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.drawn_shapes import blobs, canvas_of, on_canvas
from whyrobust.data.fingerprints import fingerprint_drawings
from whyrobust.data.near_duplicates import (
    ComparedImages,
    best_matches,
    borderline_pairs,
    decontaminate,
    decontaminate_in_chunks,
    duplicates_within,
)


def plain_matches(train: np.ndarray, test: np.ndarray, mirrored: bool) -> list[tuple[int, float, bool]]:
    """Compare every pair, one after the other."""
    results = []
    for one in train:
        best = (-1, -2.0, False)
        for flip in (False, True) if mirrored else (False,):
            for position, other in enumerate(test):
                value = float(np.sum((one[:, ::-1] if flip else one).astype(float) * other.astype(float)))
                if value > best[1] + 1e-6:
                    best = (position, value, flip)
        results.append(best)
    return results


@given(st.integers(0, 30), st.integers(1, 12), st.booleans(), st.integers(0, 1000), st.sampled_from([1, 128]))
@settings(max_examples=25, deadline=None)
def test_best_matches_equal_a_plain_search(n_train, n_test, mirrored, seed, megabytes):
    generator = np.random.default_rng(seed)
    fingerprints = generator.normal(size=(n_train + n_test, 16, 16)).astype(np.float32)
    fingerprints /= np.linalg.norm(fingerprints.reshape(len(fingerprints), -1), axis=1)[:, None, None]
    index, similarity, flipped = best_matches(fingerprints[:n_train], fingerprints[n_train:], mirrored, megabytes)
    plain = plain_matches(fingerprints[:n_train], fingerprints[n_train:], mirrored)
    assert list(index) == [row[0] for row in plain]
    np.testing.assert_allclose(similarity, [row[1] for row in plain], atol=1e-5)
    assert list(flipped) == [row[2] for row in plain]


def test_blocks_do_not_change_the_matches():
    generator = np.random.default_rng(0)
    fingerprints = generator.normal(size=(3000, 16, 16)).astype(np.float32)
    small = best_matches(fingerprints[:1000], fingerprints[1000:], block_megabytes=1)
    large = best_matches(fingerprints[:1000], fingerprints[1000:], block_megabytes=512)
    np.testing.assert_array_equal(small[0], large[0])
    np.testing.assert_allclose(small[1], large[1], rtol=1e-5)


COPIES = {
    "copy": lambda image: on_canvas(image, 24, 12, 12),
    "shifted": lambda image: on_canvas(image, 24, 1, 20),
    "larger": lambda image: on_canvas(image, 44, 2, 2),
    "smaller": lambda image: on_canvas(image, 20, 6, 18),
    "red": lambda image: np.maximum(on_canvas(image, 24, 12, 12), np.array([220, 30, 40], np.uint8)),
    "yellow": lambda image: np.maximum(on_canvas(image, 24, 12, 12), np.array([255, 230, 0], np.uint8)),
    "pale": lambda image: np.maximum(on_canvas(image, 24, 12, 12), np.uint8(180)),
    "mirrored": lambda image: on_canvas(image[:, ::-1], 24, 12, 12),
    "mirrored and moved": lambda image: on_canvas(image[:, ::-1], 44, 1, 3),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_planted_copy_is_found_and_nothing_else(kind):
    drawings = blobs(60, seed=3)
    test_fingerprints = fingerprint_drawings(canvas_of(drawings[:20]))
    train = canvas_of(drawings[20:])
    train[13] = COPIES[kind](drawings[4])
    partner, similarity, _ = best_matches(fingerprint_drawings(train), test_fingerprints)
    found = np.flatnonzero(similarity >= 0.95)
    assert (list(found), list(partner[found])) == ([13], [4])
    _, straight, _ = best_matches(fingerprint_drawings(train), test_fingerprints, mirrored=False)
    assert list(np.flatnonzero(straight >= 0.95)) == ([] if kind.startswith("mirrored") else [13])


def test_a_blank_image_matches_nothing():
    blank = np.full((2, 16, 16, 3), 255, np.uint8)
    _, similarity, _ = best_matches(fingerprint_drawings(blank), fingerprint_drawings(blank))
    assert not (similarity >= 0.5).any()
    fingerprints = fingerprint_drawings(blank[:1])
    result = decontaminate(
        ComparedImages(["a"], ["g"], fingerprints), {"t": ComparedImages(["b"], ["h"], fingerprints)}, 0.5
    )
    assert result.removed.empty


def a_study():
    """Return training records with one planted collision of every kind, and two test sets."""
    drawings = blobs(40, seed=5)
    images = canvas_of(drawings)
    train = images[10:40].copy()
    train[0] = images[0]  # a copy
    train[1] = images[1][:, ::-1]  # a mirrored copy
    near = images[2].copy()
    near[30:33, 12:14] = 128  # a small dent
    train[2] = near
    train_uids = [f"train:{i:02}" for i in range(30)]
    train_groups = [f"g{i}" for i in range(30)]
    train_groups[3] = "shared"  # another style of a test drawing
    train_groups[4] = train_groups[5] = ""  # no group is no shared group
    names = [f"test:{i}" for i in range(10)]
    groups = [f"h{i}" for i in range(10)]
    groups[7] = "shared"
    groups[8] = ""
    fingerprints = fingerprint_drawings(images[:10])
    sets = {
        "first": ComparedImages(names[:5], groups[:5], fingerprints[:5]),
        "second": ComparedImages(names[5:], groups[5:], fingerprints[5:]),
    }
    return ComparedImages(train_uids, train_groups, fingerprint_drawings(train)), sets


def in_order(images, order):
    """Return images in another order."""
    return ComparedImages(
        [images.uids[i] for i in order], [images.groups[i] for i in order], images.fingerprints[list(order)]
    )


def removed_uids(train, sets, threshold):
    """Return the distinct uids that are to be removed."""
    return set(decontaminate(train, sets, threshold).removed["uid"])


def test_each_collision_is_removed_for_its_reason():
    train, sets = a_study()
    result = decontaminate(train, sets, 0.95)
    rows = [tuple(row) for row in result.removed[["uid", "reason", "test_set", "test_uid", "mirrored"]].values]
    assert rows == [
        ("train:00", "exact", "first", "test:0", False),
        ("train:01", "exact", "first", "test:1", True),
        ("train:02", "near_duplicate", "first", "test:2", False),
        ("train:03", "same_group", "second", "test:7", rows[3][4]),
    ]
    assert list(result.removed["uid"]) == ["train:00", "train:01", "train:02", "train:03"]
    assert (result.removed["similarity"][:3] > 0.95).all()
    assert result.removed["similarity"][3] < 0.95
    counts = {(row.test_set, row.reason): row.images for row in result.counts.itertuples()}
    assert counts == {
        ("first", "same_group"): 0, ("first", "exact"): 2, ("first", "near_duplicate"): 1,
        ("second", "same_group"): 1, ("second", "exact"): 0, ("second", "near_duplicate"): 0,
    }  # fmt: skip
    assert len(result.matches) == 60


@given(st.permutations(range(30)), st.permutations(range(5)), st.booleans())
@settings(max_examples=10, deadline=None)
def test_the_order_of_inputs_does_not_matter(train_order, test_order, turn):
    train, sets = a_study()
    # Two equal test drawings: which one is named must not depend on the order either.
    first = sets["first"]
    equal = np.concatenate([first.fingerprints[:4], first.fingerprints[:1]])
    sets["first"] = ComparedImages(first.uids, first.groups, equal)
    before = decontaminate(train, sets, 0.95)
    shuffled = {"first": in_order(sets["first"], test_order), "second": sets["second"]}
    if turn:
        shuffled = dict(reversed(shuffled.items()))
    after = decontaminate(in_order(train, train_order), shuffled, 0.95)
    for name in ("removed", "counts", "matches"):
        pd.testing.assert_frame_equal(getattr(before, name), getattr(after, name))


def test_nothing_left_in_training_is_near_a_test_image():
    train, sets = a_study()
    removed = removed_uids(train, sets, 0.9)
    kept = in_order(train, [i for i, uid in enumerate(train.uids) if uid not in removed])
    for test_set in sets.values():
        assert max(row[1] for row in plain_matches(kept.fingerprints, test_set.fingerprints, mirrored=True)) < 0.9
        assert not {group for group in kept.groups if group} & set(test_set.groups)


def test_a_lower_threshold_removes_no_less():
    train, sets = a_study()
    removed = [removed_uids(train, sets, threshold) for threshold in (0.99, 0.95, 0.6, 0.2)]
    assert removed[0] <= removed[1] <= removed[2] <= removed[3]
    assert len(removed[0]) < len(removed[3])


def test_inputs_that_disagree_are_refused():
    train, sets = a_study()
    fingerprints = train.fingerprints
    with pytest.raises(ValueError, match="counts"):
        decontaminate(ComparedImages(train.uids[1:], train.groups, fingerprints), sets, 0.9)
    with pytest.raises(ValueError, match="more than once"):
        decontaminate(ComparedImages(["a"] * 30, train.groups, fingerprints), sets, 0.9)
    with pytest.raises(ValueError, match=r"test:3.*split"):
        decontaminate(ComparedImages(["test:3", *train.uids[1:]], train.groups, fingerprints), sets, 0.9)
    for threshold in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            decontaminate(train, sets, threshold)
    with pytest.raises(ValueError, match="16"):
        best_matches(fingerprints[:, :8], fingerprints)
    with pytest.raises(ValueError, match="finite"):
        best_matches(fingerprints * np.float32("nan"), fingerprints)


def test_empty_training_and_empty_test_sets_are_fine():
    train, sets = a_study()
    empty = ComparedImages([], [], train.fingerprints[:0])
    nothing = decontaminate(empty, sets, 0.9)
    assert nothing.removed.empty
    assert nothing.counts["images"].sum() == 0
    none = decontaminate(train, {"empty": empty}, 0.9)
    assert none.removed.empty
    assert none.matches.empty
    assert fingerprint_drawings(np.zeros((0, 8, 8, 3), np.uint8)).shape == (0, 16, 16)


def test_borderline_pairs_lie_in_their_bands():
    values = np.linspace(0.90, 1.0, 101)
    matches = pd.DataFrame(
        {
            "uid": [f"u{i}" for i in range(101)],
            "test_set": "t",
            "test_uid": "x",
            "similarity": values,
            "mirrored": False,
        }
    )
    pairs = borderline_pairs(matches, [(0.9, 0.95), (0.98, 1.0)], per_band=7)
    assert list(pairs.groupby("low").size()) == [7, 7]
    assert ((pairs["similarity"] >= pairs["low"]) & (pairs["similarity"] <= pairs["high"])).all()
    expected = [((values >= 0.9) & (values < 0.95)).sum(), (values >= 0.98).sum()]
    assert list(pairs.groupby("low")["in_band"].first()) == expected
    again = borderline_pairs(matches.sample(frac=1, random_state=1), [(0.9, 0.95), (0.98, 1.0)], per_band=7)
    pd.testing.assert_frame_equal(pairs, again)
    assert list(borderline_pairs(matches, [(0.9, 0.95)], 7, seed=1)["uid"]) != list(pairs["uid"][:7])


@given(st.permutations(range(12)))
@settings(max_examples=10, deadline=None)
def test_of_equal_drawings_the_first_uid_stays(order):
    images = canvas_of(blobs(12, seed=6))
    images[7] = np.roll(images[2], 4, axis=1)
    images[9] = images[2]
    images[11] = images[5]
    images[10] = images[3][:, ::-1]  # a mirror image is another drawing within a set
    uids = [f"u{i:02}" for i in range(12)]
    fingerprints = fingerprint_drawings(images)
    for megabytes in (1, 128):
        table = duplicates_within([uids[i] for i in order], fingerprints[list(order)], 0.999, megabytes)
        assert list(zip(table["uid"], table["kept_uid"], strict=True)) == [
            ("u07", "u02"), ("u09", "u02"), ("u11", "u05"),
        ]  # fmt: skip


def test_duplicates_within_equal_a_plain_search():
    generator = np.random.default_rng(7)
    fingerprints = fingerprint_drawings(canvas_of(blobs(80, seed=8)))
    uids = [str(i) for i in generator.permutation(80)]
    kept: list[int] = []
    dropped = []
    for index in sorted(range(80), key=lambda i: uids[i]):
        if any(float((fingerprints[index].astype(float) * fingerprints[other]).sum()) >= 0.4 for other in kept):
            dropped.append(uids[index])
        else:
            kept.append(index)
    assert 5 < len(dropped) < 75
    assert list(duplicates_within(uids, fingerprints, 0.4)["uid"]) == dropped


def test_at_a_similarity_of_1_exact_copies_count_and_nothing_else():
    """The product of equal fingerprints is often a little below 1, that of nearly equal ones sometimes at 1."""
    generator = np.random.default_rng(9)
    fingerprints = generator.normal(size=(400, 16, 16)).astype(np.float32)
    fingerprints /= np.linalg.norm(fingerprints.reshape(400, -1), axis=1)[:, None, None]
    close = fingerprints.copy()
    close[:, 0, 0] += np.float32(1e-4)
    blank = np.zeros((2, 16, 16), dtype=np.float32)
    uids = [f"{kind}{i:03}" for kind in "abc" for i in range(400)] + ["d0", "d1"]
    table = duplicates_within(uids, np.concatenate([fingerprints, fingerprints, close, blank]), 1.0)
    assert list(table["uid"]) == [f"b{i:03}" for i in range(400)]
    assert list(table["kept_uid"]) == [f"a{i:03}" for i in range(400)]
    assert set(
        duplicates_within(uids, np.concatenate([fingerprints, fingerprints, close, blank]), 0.999)["uid"]
    ) == set(uids[400:1200])


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_chunks_of_the_training_images_change_nothing(chunk):
    train, sets = a_study()
    # Near-duplicates of the test images at many similarities, so that several bands are full.
    generator = np.random.default_rng(11)
    noise = generator.normal(size=(200, 16, 16)).astype(np.float32) * np.linspace(0.001, 0.05, 200)[:, None, None]
    more = sets["first"].fingerprints[generator.integers(0, 5, 200)] + noise.astype(np.float32)
    more /= np.linalg.norm(more.reshape(200, -1), axis=1)[:, None, None]
    uids = [*train.uids, *(f"more:{i:03}" for i in range(200))]
    both = ComparedImages(uids, [*train.groups, *[""] * 200], np.concatenate([train.fingerprints, more]))
    train = in_order(both, generator.permutation(230))
    whole = decontaminate(train, sets, 0.97)
    found = decontaminate_in_chunks(train, sets, 0.97, chunk=chunk)
    pd.testing.assert_frame_equal(found.removed, whole.removed, rtol=1e-6)
    pd.testing.assert_frame_equal(found.counts, whole.counts)
    sampled = borderline_pairs(whole.matches)
    assert (sampled.groupby("low").size() == 20).sum() >= 2
    pd.testing.assert_frame_equal(found.pairs, sampled, rtol=1e-6)


def test_chunks_of_nothing_are_fine():
    train, sets = a_study()
    found = decontaminate_in_chunks(ComparedImages([], [], train.fingerprints[:0]), sets, 0.9)
    assert found.removed.empty and found.pairs.empty and found.counts["images"].sum() == 0 and len(found.counts) == 6
