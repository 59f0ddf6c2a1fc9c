"""Data sets built in slices: the same tables for any number of jobs, and one failed slice repeated alone."""

from __future__ import annotations

import bz2
import json
import re
from dataclasses import asdict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.test_photo_store import encoded, write_tar
from tests.workflow.test_photo_stages import files_of_slice
from whyrobust.data import decontamination, merge_slices
from whyrobust.data.merge_slices import find_repeats
from whyrobust.data.photo_store import PhotoStore
from whyrobust.data.record_writer import NO_CLASS_NAMED, NOT_DRAWN, REPEATED
from whyrobust.data.records import RECORD_SCHEMA, read_record_rows, read_records, to_table
from whyrobust.data.text_labels import sum_matches
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.slices import Slice, slices_of

CLASSES = ["cat", "dog", "mug"]
SHARDS, PAIRS_A_SHARD = 7, 6


@given(st.integers(0, 200), st.integers(1, 30))
def test_slices_hold_everything_once_in_order_and_are_equally_large(count, number):
    shares = [part.share_of(range(count)) for part in slices_of("s", number)]
    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_whole_data_set_is_called_by_its_name_alone():
    assert [part.name for part in slices_of("s", 1)] == ["s"] and Slice("s", 2, 3).name == "s/2-of-3"


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=3), max_size=12, unique=True), min_size=1, max_size=5))
def test_repeats_are_those_that_an_earlier_slice_has(tmp_path_factory, uids):
    folder = tmp_path_factory.mktemp("slices")
    for number, of_slice in enumerate(uids):
        pq.write_table(pa.table({"uid": pa.array(of_slice, pa.string())}), folder / f"{number}.parquet")
    expected, seen = [], set()
    for of_slice in uids:
        expected.append([uid for uid in of_slice if uid in seen])
        seen |= set(of_slice)
    paths = [folder / f"{number}.parquet" for number in range(len(uids))]
    assert [found.to_pylist() for found in find_repeats(paths)] == expected
    with pytest.MonkeyPatch.context() as patch:  # numbers that different uids share
        patch.setattr(merge_slices, "uid_hash", lambda uid: len(uid) * 2**62)
        assert [found.to_pylist() for found in find_repeats(paths)] == expected


@given(st.integers(0, 40), st.integers(1, 15), st.integers(0, 40), st.integers(0, 40))
def test_some_rows_of_records_are_those_of_all(tmp_path_factory, count, group, start, stop):
    path = tmp_path_factory.mktemp("rows") / "records.parquet"
    texts = {name: [f"{name} {row}" for row in range(count)] for name in ("uid", "title", "group", "collection")}
    frame = pd.DataFrame(texts | {"description": "", "tags": [["a"]] * count, "label": None})
    pq.write_table(to_table(frame, RECORD_SCHEMA, "test"), path, row_group_size=group)
    some, every = read_record_rows(path, range(min(start, count), min(stop, count))), read_records(path)
    assert some.to_dict("records") == every.iloc[start:stop].to_dict("records")


def noise(generator):
    """Return the bytes of a picture that is like no other."""
    small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return encoded(small.resize((40, 40)))


def pair(number, generator, broken=False, photo=None):
    """Return the files of a pair; of a broken one the picture is cut off."""
    image = noise(generator)
    label = CLASSES[number % 3]
    facts = {
        "photoid": str(photo or 1000 + number), "title": f"{label}%20{number}" if number % 5 else "",
        "description": f"seen with a {CLASSES[number % 2]}", "usertags": "one,two", "label": label,
    }  # fmt: skip
    return [(f"{number:04d}.jpg", image[:300] if broken else image), (f"{number:04d}.json", json.dumps(facts).encode())]


def write_shards(folder, generator, repeat=None, broken=()):
    """Write shards of pairs: one is cut off, one has no picture, one comes twice in its shard."""
    folder.mkdir(exist_ok=True)
    for shard in range(SHARDS):
        members = []
        for number in range(shard * PAIRS_A_SHARD, (shard + 1) * PAIRS_A_SHARD):
            photo = repeat[number] if repeat and number in repeat else None
            members += pair(number, generator, broken=number in (11, *broken), photo=photo)
        if shard == 3:
            members += [("x.json", b"{}"), *members[-2:]]
        write_tar(folder / f"{shard:05d}.tar", members)


def write_study(folder, root, count):
    """Write a study of two sources in shards and three test sets; all but one of the test sets are built in slices."""
    generator = np.random.default_rng(0)
    (folder / "resources").symlink_to(root / "resources")
    (folder / "classes.csv").write_text("class\n" + "\n".join(CLASSES) + "\n")
    write_shards(folder / "pairs", generator)
    # Photographs 6 and 11 come again in later shards, one of them where it was cut off before.
    write_shards(folder / "yfcc", generator, repeat={26: 1006, 38: 1011})
    ids = [1000 + number for number in range(SHARDS * PAIRS_A_SHARD) if number != 7]
    (folder / "subset.tsv.bz2").write_bytes(bz2.compress("".join(f"{n}\t{n}\thash\n" for n in ids).encode()))
    write_shards(folder / "shift", generator)
    for number in range(9):
        place = folder / "same" / CLASSES[number % 3] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(noise(generator))
    fields = {"title": "title", "description": "description", "tags": "usertags"}
    config = {
        "study": "sliced",
        "data": {"classes": "classes.csv", "image_size": 32, "normalisation": "clip", "allowed_failure_share": 0.06,
                 "near_duplicate_similarity": 0.9},
        "sources": {
            "mine": {"kind": "webdataset", "shards": "pairs/*.tar", "fields": fields, "label": "label"},
            "yfcc": {"kind": "yfcc15m", "shards": "yfcc/*.tar", "subset": "subset.tsv.bz2", "needs": ["title"],
                     "drawn_between": [0, 0.6]},
        },
        "test_sets": {
            "same": {"kind": "image_folder", "folder": "same", "role": "in_distribution", "source": "mine",
                     "classes": "all"},
            "yfcc_test": {"kind": "held_out", "role": "in_distribution", "source": "yfcc", "classes": "all"},
            "shift": {"kind": "webdataset", "shards": "shift/*.tar", "label": "label", "role": "shift",
                      "classes": "own"},
        },
        "runs": [
            {"objective": "cross_entropy", "source": "mine", "train_images": [4, 8]},
            {"objective": "clip", "caption": ["title", "title_description"], "source": ["mine", "yfcc"],
             "train_images": 8},
            {"objective": "cross_entropy", "labels": "text_match", "source": "yfcc", "train_images": [4, 8]},
        ],
        "training": {"samples_seen": 64},
        "baseline": {"standard": {"objective": "cross_entropy"}},
        "causes": {"training_set_size": [{"comparison": "x", "from": {"train_images": 4}, "to": {"train_images": 8},
                                          "holds_fixed": "y"}]},
    }  # fmt: skip
    if count > 1:
        for facts in (config["sources"]["mine"], config["sources"]["yfcc"], config["test_sets"]["shift"]):
            facts["slices"] = count
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return folder


def names_of(source, count):
    return [part.name for part in slices_of(source, count)]


def targets(count):
    """Return what is made of data before a subset is drawn."""
    return [
        f"results/sliced/{kind}/{name}.parquet"
        for source in ("mine", "yfcc")
        for name in names_of(source, count)
        for kind in ("captions/title", "text_match")
    ]


@pytest.fixture(scope="module")
def studies(tmp_path_factory, root, snakemake):
    """Build the data of a study at once, and in 3 slices."""
    folders = {}
    for count in (1, 3):
        folders[count] = write_study(tmp_path_factory.mktemp(f"in {count}"), root, count)
        done = snakemake(folders[count], *targets(count), "--cores", "2")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {count: folder / "results" / "sliced" for count, folder in folders.items()}


def tables_of(results, count):
    """Return every table of a study's data, those of texts put together, and what the indices of images hold."""
    found = {
        path.relative_to(results).as_posix(): pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        for kind in ("records", "decontaminated", "images")
        for path in sorted((results / kind).glob("*"))
        if path.suffix in (".parquet", ".csv")
    }
    for path in (results / "images").glob("*.arrow"):
        found[path.name] = PhotoStore.open(path).table.to_pandas().astype({"file": str})
    for source in ("mine", "yfcc"):
        for kind in ("captions/title", "text_match"):
            parts = [pd.read_parquet(results / kind / f"{name}.parquet") for name in names_of(source, count)]
            found[f"{kind}/{source}"] = pd.concat(parts, ignore_index=True)
        paths = [results / "text_match" / f"{name}.csv" for name in names_of(source, count)]
        found[f"matches/{source}"] = sum_matches([pd.read_csv(path, keep_default_na=False) for path in paths])
    return found


def test_tables_are_the_same_for_any_number_of_slices(studies):
    whole, sliced = tables_of(studies[1], 1), tables_of(studies[3], 3)
    assert {"records/yfcc.parquet", "captions/title/mine", "decontaminated/sizes.csv", "yfcc.arrow"} < set(whole)
    assert len(whole["text_match/yfcc"]["label"].dropna()) > 5 and (whole["captions/title/mine"]["title"].isna()).any()
    assert set(sliced) == set(whole)
    for name, table in whole.items():
        other = sliced[name]
        if name == "records/yfcc_test_counts.csv":  # slices do not see that what is not drawn comes again in another
            alike = [one.replace(REPEATED, NOT_DRAWN).groupby(["dataset", "what"]) for one in (table, other)]
            table, other = (one.sum().reset_index() for one in alike)
        if name.endswith("_counts.csv"):  # reasons come in the order in which they are met
            table, other = (one.sort_values("what", ignore_index=True) for one in (table, other))
        pd.testing.assert_frame_equal(table, other, obj=name)
    for name in ("mine", "yfcc", "shift"):
        fingerprints = [np.load(studies[number] / "images" / f"{name}_fingerprints.npy") for number in (1, 3)]
        assert np.array_equal(*fingerprints) and len(fingerprints[0]) == len(whole[f"{name}.arrow"])


def test_a_repeat_in_another_slice_is_left_out_and_one_is_cut_off_where_it_came_first(studies):
    counts = pd.read_csv(studies[3] / "records" / "yfcc_counts.csv").set_index("what")["images"]
    assert counts["it came before"] == 3 and counts["it is not in the list of the subset"] == 1
    assert pd.read_csv(studies[3] / "images" / "yfcc_failures.csv")["uid"].tolist() == ["yfcc/1011"]
    assert [len(list((studies[count] / "slices" / "yfcc").rglob("records.parquet"))) for count in (1, 3)] == [1, 3]


def test_what_a_source_holds_out_is_the_rest_of_it_with_the_labels_that_its_texts_name(studies):
    """By hand: of the pairs of the list with a title, those that are not the source's; labels where texts agree."""
    records = {name: pd.read_parquet(studies[3] / "records" / f"{name}.parquet") for name in ("yfcc", "yfcc_test")}
    ids = {name: set(table["uid"].str.removeprefix(f"{name}/").astype(int)) for name, table in records.items()}
    # Pairs 26 and 38 are photographs 6 and 11 again; 7 is not in the list; every fifth has no title.
    pairs = [n for n in range(SHARDS * PAIRS_A_SHARD) if n not in (7, 26, 38) and n % 5]
    agreed = {1000 + n: CLASSES[n % 3] for n in pairs if n % 3 == n % 2}
    held_out = {1000 + n for n in pairs} - ids["yfcc"]
    assert ids["yfcc"] < {1000 + n for n in pairs} and ids["yfcc_test"] == held_out & set(agreed)
    assert len(ids["yfcc_test"]) >= 3 and len(held_out) > len(ids["yfcc_test"])
    labels = dict(zip(records["yfcc_test"]["uid"], records["yfcc_test"]["label"], strict=True))
    assert labels == {f"yfcc_test/{photo}": agreed[photo] for photo in ids["yfcc_test"]}
    assert records["yfcc"]["label"].isna().all()
    counts = {
        name: pd.read_csv(studies[3] / "records" / f"{name}_counts.csv").set_index("what")["images"] for name in ids
    }
    # Every pair is counted in both: as a record, or with the reason why it is none.
    assert counts["yfcc"].sum() == counts["yfcc_test"].sum()
    assert counts["yfcc_test"][NO_CLASS_NAMED] > 0 and not any("label" in what for what in counts["yfcc"].index)
    for name, part in ids.items():
        kept = pd.read_parquet(studies[3] / "decontaminated" / f"{name}.parquet")["uid"]
        assert set(kept) <= {f"{name}/{photo}" for photo in part} and len(kept) >= 3


def test_slices_without_a_shard_are_empty_and_joined_all_the_same(stage, tmp_path):
    write_shards(tmp_path / "pairs", np.random.default_rng(0))
    (tmp_path / "classes.csv").write_text("class\ncat\n")
    shards = sorted(map(str, (tmp_path / "pairs").glob("*.tar")))[:2]
    made = {}
    for part in slices_of("mine", 3):
        files = files_of_slice(tmp_path / str(part.number))
        settings = {"shards": part.share_of(shards), "shard_names": part.share_of(["0", "1"])}
        stage("build_photo_records", {}, {"files": [], "fetched": [], "classes": str(tmp_path / "classes.csv")},
              {name: files[name] for name in ("records", "locations", "pack", "counts", "presence")},
              covered=None, slice=asdict(part), settings=settings, reader=DATA_KINDS["webdataset"].reader)  # fmt: skip
        stage("index_images", {}, {name: files[name] for name in ("locations", "pack")},
              {name: files[name] for name in ("images", "fingerprints", "failures")},
              border_pixels=0, page_colour="")  # fmt: skip
        made[part.number] = files
    sizes = [len(pd.read_parquet(files["records"])) for files in made.values()]
    assert sizes == [0, 6, 6]
    inputs = {name: [files[name] for files in made.values()] for name in made[1]}
    outputs = files_of_slice(tmp_path / "merged")
    merged = ("records", "counts", "unknown_labels", "images", "fingerprints", "failures")
    outputs = {name: outputs[name] for name in merged}
    stage("join_slices", {"photo_dataset": "mine"}, inputs, outputs, keeps_first_of_repeats=False,
          whole_size={"expected": None, "allow_short": False}, allowed_failure_share=0.1,
          allowed_unknown_label_share=0.5)  # fmt: skip
    assert len(pd.read_parquet(outputs["records"])) == 12 and len(np.load(outputs["fingerprints"])) == 11
    store = PhotoStore.open(outputs["images"])
    rows = store.rows_of(["mine/1/0006", "mine/0/0001", "gone"])
    assert rows.tolist() == [6, 1, -1]
    assert [place[0] for place in store.locate(rows[:2])] == shards[::-1]


def test_slices_of_training_images_find_the_near_duplicates_that_all_together_find(
    stage, studies, tmp_path, monkeypatch
):
    """Chunks of 5 images, so that there are several to share out; as they are, each slice has whole ones."""
    results = studies[1]

    def files(name):
        images = results / "images"
        return {"images": str(images / f"{name}.arrow"), "fingerprints": str(images / f"{name}_fingerprints.npy"),
                "records": str(results / "records" / f"{name}.parquet")}  # fmt: skip

    test, source, outcome = files("shift"), files("mine"), {}
    compared = {kind: {count: [str(tmp_path / f"{number}-of-{count}_{kind}.parquet") for number in range(count)]
                       for count in (1, 3)} for kind in ("removed", "counts", "pairs")}  # fmt: skip
    monkeypatch.setattr(decontamination, "TRAINING_IMAGES_PER_CHUNK", 5)
    for part in [*slices_of("mine", 1), *slices_of("mine", 3)]:
        tests = {f"test_{key}": [value] for key, value in test.items()}
        outputs = {kind: paths[part.count][part.number - 1] for kind, paths in compared.items()}
        stage("compare_images", {}, source | tests, outputs, slice=asdict(part),
              **{f"test_{key}": {"shift": path} for key, path in test.items()},
              near_duplicate=0.5, repeat=None)  # fmt: skip
    assert sum(len(pd.read_parquet(path)) > 0 for path in compared["removed"][3]) > 1
    for count in (1, 3):
        kept = [str(tmp_path / f"{name}_{count}.parquet") for name in ("mine", "shift")]
        outputs = {name: str(tmp_path / f"{name}_{count}.csv") for name in ("removed", "counts", "pairs", "sizes")}
        given = {key: {"mine": source[key], "shift": test[key]} for key in source}
        slices = {f"compared_{kind}": {"mine": paths[count]} for kind, paths in compared.items()}
        stage("decontaminate", {}, {}, outputs, sources=["mine"], test_sets=["shift"],
              kept=dict(zip(("mine", "shift"), kept, strict=True)), repeat=None, **given, **slices)  # fmt: skip
        outcome[count] = [pd.read_csv(path) for path in outputs.values()] + [pd.read_parquet(path) for path in kept]
    for whole, sliced in zip(outcome[1], outcome[3], strict=True):
        pd.testing.assert_frame_equal(whole, sliced)
    assert len(outcome[1][0]) > 5 and 0 < len(outcome[1][4]) < len(PhotoStore.open(source["images"]))


def jobs_run(done):
    """Return the names of rules, and of slices where there are any, of the jobs that Snakemake says it runs."""
    jobs = []
    for block in re.split(r"\n\s*\n", done.stdout + done.stderr):
        part = re.search(r"wildcards: photo_slice=\S+/(\d+-of-\d+)", block)
        jobs += [(rule, part[1] if part else "") for rule in re.findall(r"^(?:local)?rule (\w+):", block, re.MULTILINE)]
    return sorted(jobs)


def test_a_damaged_shard_is_built_again_alone(tmp_path, root, snakemake):
    folder, target = write_study(tmp_path, root, 3), "results/sliced/images/mine.arrow"
    write_shards(folder / "pairs", np.random.default_rng(0), broken=(38, 39, 40))
    good = (folder / "pairs" / "00003.tar").read_bytes()
    (folder / "pairs" / "00003.tar").write_bytes(good[:1000])
    cut_off = snakemake(folder, target, "--cores", "2", "--keep-going")
    assert cut_off.returncode != 0 and "00003.tar" in cut_off.stdout + cut_off.stderr

    (folder / "pairs" / "00003.tar").write_bytes(good)
    # --quiet host: each job with its wildcards, which the default profile does not show.
    too_many = snakemake(folder, target, "--cores", "2", "--quiet", "host")
    assert jobs_run(too_many) == [("build_photo_records", "2-of-3"), ("index_images", "2-of-3"), ("join_slices", "")]
    # That too many do not decode is known when all slices are there, and counted over all of them.
    assert too_many.returncode != 0 and "4 of 42 images failed" in too_many.stdout + too_many.stderr
    assert not (folder / target).exists()

    members = [file for number in range(36, 42) for file in pair(number, np.random.default_rng(1))]
    write_tar(folder / "pairs" / "00006.tar", members)
    mended = snakemake(folder, target, "--cores", "2", "--quiet", "host")
    assert mended.returncode == 0, mended.stderr[-3000:]
    assert jobs_run(mended) == [("build_photo_records", "3-of-3"), ("index_images", "3-of-3"), ("join_slices", "")]
