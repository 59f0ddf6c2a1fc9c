"""WebDataset shards: files grouped by key, and names of pairs that are unique over all shards."""

from __future__ import annotations

import json

import pytest
from clip_benchmark.datasets.builder import build_wds_dataset

from tests.data.readers.record_buffers import CLASSES, read_dataset, records_of, rows_of
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import read_bytes
from whyrobust.data.dataset_checks import DatasetError, LabelCounts
from whyrobust.data.decoding import decode
from whyrobust.data.readers.webdataset import NOT_OF_KEY, PairLayout, read_webdataset
from whyrobust.data.record_writer import check_labels
from whyrobust.study.file_patterns import matching_files
from whyrobust.study.input_files import read_prompts
from whyrobust.study.slices import ShardError, shard_names


def test_shards_are_grouped_by_key(tmp_path):
    image = encoded(picture())
    metadata = json.dumps({"caption": "a+dog", "label": "dog"}).encode()
    shard = write_tar(
        tmp_path / "00000.tar",
        [
            ("000.jpg", image), ("000.txt", b"a <i>cat</i>"), ("000.json", metadata),
            ("001.txt", b"no picture"),
            ("002.jpg", image), ("002.json", b"{broken"), ("002.txt", b"\xff\xfe caf"),
            ("sub/002.PNG", image),
        ],
    )  # fmt: skip
    buffer = read_webdataset([shard], PairLayout(label="label"), CLASSES)
    records = records_of(buffer, "cc")
    assert records["uid"].tolist() == ["cc/00000/000", "cc/00000/002", "cc/00000/sub/002"]
    assert records["title"].tolist()[0] == "a cat" and records["label"].tolist() == ["dog", None, None]
    assert buffer.left_out["it has no picture"] == 1
    by_json = read_dataset({"kind": "webdataset", "shards": [str(shard)], "fields": {"title": "caption"}})
    assert records_of(by_json, "cc")["title"].tolist() == ["a+dog", "", ""]
    further = read_dataset({"kind": "webdataset", "shards": [str(shard)], "captions": {"generated": "caption"}})
    assert [record["caption_generated"] for record, _ in rows_of(further)] == ["a+dog", "", ""]
    further.require(["generated"])
    assert (
        records_of(further, "cc")["uid"].tolist() == ["cc/00000/000"] and further.left_out["it has no generated"] == 2
    )


def test_shards_of_one_name_in_two_folders_lose_nothing(tmp_path):
    image = encoded(picture())
    shards = []
    for folder in ("cc/a", "cc/b"):
        (tmp_path / folder).mkdir(parents=True)
        shards.append(write_tar(tmp_path / folder / "00000.tar", [(f"{n:03}.jpg", image) for n in range(3)]))
    buffer = read_webdataset(shards)
    assert [record["uid"] for record, _ in rows_of(buffer)] == [f"{f}/00000/{n:03}" for f in "ab" for n in range(3)]
    assert not buffer.left_out
    assert shard_names([tmp_path / "cc" / "a" / "00000.tar"]) == ["00000"]
    with pytest.raises(ShardError, match="have one name, '00000'"):
        read_webdataset([shards[0], shards[0]])


def test_names_with_several_dots_belong_to_one_key_and_what_has_no_picture_is_counted(tmp_path):
    image = encoded(picture())
    names = ["img.v1.jpg", "img.v1.txt", "img.v2.jpg", "img.v2.txt", "a.jpg", "a.txt", "a.mask.png", "b.txt"]
    shard = write_tar(tmp_path / "0.tar", [(name, image if name[-3:] != "txt" else b"words") for name in names])
    buffer = read_webdataset([shard])
    assert [record["uid"] for record, _ in rows_of(buffer)] == ["0/a"]
    assert buffer.missing == {NOT_OF_KEY: 2, "it has no picture": 1}
    assert buffer.first_missing == ("0/img.v1.jpg", NOT_OF_KEY)
    assert buffer.left_out["it is a further picture of its key"] == 1
    one = read_webdataset([shard], PairLayout(image_endings=("v2.jpg", "jpg"), text_ending="v2.txt"))
    assert [(record["uid"], record["title"]) for record, _ in rows_of(one)] == [("0/img", "words"), ("0/a", "")]


@pytest.mark.parametrize("order", ["sorted by ending", "texts first", "with files of macOS"])
def test_files_of_one_key_need_not_lie_side_by_side(tmp_path, order):
    image = encoded(picture())
    pictures = [(f"{key}.jpg", image) for key in "abc"]
    texts = [(f"{key}.txt", f"of {key}".encode()) for key in "abc"]
    members = {
        "sorted by ending": pictures + texts,
        "texts first": texts + pictures,
        "with files of macOS": [
            each for pair in zip(pictures, texts, strict=True) for name, content in pair
            for each in ((f"._{name}", b"attributes"), (name, content))
        ],
    }[order]  # fmt: skip
    buffer = read_webdataset([write_tar(tmp_path / "0.tar", members)])
    found = [(record["uid"], record["title"]) for record, _ in rows_of(buffer)]
    assert found == [(f"0/{key}", f"of {key}") for key in "abc"] and not buffer.left_out


def write_classification_set(folder, images, split="test", shards=2):
    """Write a set as `clip_benchmark.webdataset_builder` does; ``images`` are (content, ending, number of class)."""
    (folder / split).mkdir(parents=True)
    (folder / "classnames.txt").write_text("tabby cat\ndog\ncafé mug\n", encoding="utf-8")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nthe {c}, drawn.\n")
    (folder / split / "nshards.txt").write_text(str(shards))
    for shard in range(shards):
        members = []
        for row, (content, ending, number) in list(enumerate(images))[shard::shards]:
            members += [(f"s{row:07d}.cls", str(number).encode()), (f"s{row:07d}.{ending}", content)]
        write_tar(folder / split / f"{shard}.tar", members)


def test_classification_sets_of_the_hub_are_read_as_clip_benchmark_reads_them(tmp_path):
    endings = ["webp", "jpg", "png", "webp", "jpg"]
    formats = {"webp": "WEBP", "jpg": "JPEG", "png": "PNG"}
    images = [(encoded(picture(), formats[ending]), ending, row % 3) for row, ending in enumerate(endings)]
    write_classification_set(tmp_path / "set", images)
    classes = ["dog", "café mug", "tabby cat"]  # in another order than in the set
    shards = matching_files([str(tmp_path / "set" / "test")], tmp_path, (".tar",))
    assert shards == [str(tmp_path / "set" / "test" / f"{number}.tar") for number in range(2)]
    settings = {"kind": "webdataset", "shards": shards, "class_names": str(tmp_path / "set" / "classnames.txt")}
    ours = rows_of(read_dataset(settings, classes=classes))
    theirs = build_wds_dataset("own", lambda image: image.convert("RGB"), "test", str(tmp_path / "set"))
    pairs = list(theirs)
    assert len(ours) == len(pairs) == 5
    for (record, member), (image, number) in zip(ours, pairs, strict=True):
        assert record["label"] == theirs.classes[number]
        assert decode(read_bytes(member.file, member.offset, member.length)).tobytes() == image.tobytes()
    templates = read_prompts(tmp_path / "set" / "zeroshot_classification_templates.txt", "prompts.own")
    assert [each.format(**{"class": "dog"}) for each in templates] == [
        each.format(c="dog") for each in theirs.templates
    ]


def test_numbers_without_a_name_are_no_class(tmp_path):
    images = [(encoded(picture()), "jpg", number) for number in (0, 1, 3)]
    write_classification_set(tmp_path / "set", images, shards=1)
    settings = {"kind": "webdataset", "shards": [str(tmp_path / "set" / "test" / "0.tar")]}
    named = settings | {"class_names": str(tmp_path / "set" / "classnames.txt")}
    records = read_dataset(named, classes=["tabby cat", "dog"])
    assert records_of(records, "t")["label"].tolist() == ["tabby cat", "dog", None]
    assert records.labels == LabelCounts(2, 1, 0, ("0/s0000002", "3", ""))
    with pytest.raises(DatasetError, match=r"the label '0', .*class_names gives numbers names"):
        check_labels(read_dataset(settings, classes=["tabby cat", "dog"]), "t", ["tabby cat", "dog"])
    (tmp_path / "set" / "classnames.txt").write_text("\n")
    with pytest.raises(DatasetError, match="holds no name"):
        read_dataset(named)
