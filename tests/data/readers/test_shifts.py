"""The shifts of today, each read by its own reader from a replica of its archive."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile

import pytest

from tests import shift_replicas
from tests.data.readers.record_buffers import read_dataset, records_of, rows_of
from tests.replicas import CLASSES, WNIDS
from whyrobust.data.archives import Pack, read_bytes
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.record_writer import OTHER_CLASS, classes_between
from whyrobust.study.class_table import read_class_names
from whyrobust.study.data_kinds import DATA_KINDS


@pytest.fixture(scope="module")
def wnids(root):
    return read_class_names(root / "resources" / "imagenet" / "classes.csv")


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    """A folder with a replica of each shift."""
    folder = tmp_path_factory.mktemp("shifts")
    for form in shift_replicas.V2_FORMS:
        shift_replicas.imagenet_v2(folder, form, random.Random(form))
    for write in (shift_replicas.imagenet_o, shift_replicas.counter_animal, shift_replicas.style_tables):
        write(folder, random.Random(write.__name__))
    shift_replicas.domainnet(folder, random.Random(0), ("clipart", "quickdraw", "sketch"))
    return folder


@pytest.fixture(scope="module")
def domainnet_classes(root):
    return read_class_names(root / "resources" / "domainnet" / "classes.csv")


def unpacked(archive, folder):
    """Return the folder into which an archive is unpacked."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def first_bytes(buffer):
    record, member = rows_of(buffer)[0]
    return record, read_bytes(member.file, member.offset, member.length)


V2_KINDS = dict(zip(("imagenet_v2", "imagenet_v2_threshold", "imagenet_v2_top"), shift_replicas.V2_FORMS, strict=True))


@pytest.mark.parametrize("kind", V2_KINDS)
def test_each_form_of_imagenet_v2_is_read_as_itself_alone(replicas, wnids, kind):
    for other, form in V2_KINDS.items():
        archive = replicas / f"imagenetv2-{form}.tar.gz"
        if other != kind:
            with pytest.raises(DatasetError, match=rf"form {form}: give the kind {other}"):
                read_dataset({"kind": kind, "archive": archive}, classes=wnids)
            continue
        with tarfile.open(archive) as opened:
            folders = [name.split("/")[1] for name in opened.getnames()]
        found = records_of(read_dataset({"kind": kind, "archive": archive}, classes=wnids), "t")
        assert sorted(found["label"]) == sorted(wnids[int(number)] for number in folders)
        assert len(found) == len(WNIDS) * shift_replicas.V2_PER_CLASS
    assert DATA_KINDS[kind].expected_images() == 10_000


def test_imagenet_o_is_refused_where_it_is_given_as_another_shift(replicas, wnids, tmp_path):
    with pytest.raises(DatasetError, match=r"imagenet-o\.tar is not what its kind says: ImageNet-O is no shift"):
        read_dataset({"kind": "imagenet_a", "archive": replicas / "imagenet-o.tar"}, classes=wnids)
    with tarfile.open(replicas / "imagenet-o.tar") as opened:
        opened.extractall(tmp_path, filter="data")
    with pytest.raises(DatasetError, match="ImageNet-O is no shift"):
        read_dataset({"kind": "imagenet_r", "archive": tmp_path / "imagenet-o"}, classes=wnids)


@pytest.mark.parametrize("as_folder", [False, True])
def test_the_groups_of_counter_animal_are_two_test_sets(replicas, wnids, tmp_path, as_folder):
    archive = replicas / "CounterAnimal.zip"
    place = unpacked(archive, tmp_path) if as_folder else archive
    seen = set()
    for group, column, count in (("common", 0, shift_replicas.COMMON), ("counter", 1, shift_replicas.COUNTER)):
        found = records_of(
            read_dataset({"kind": "counter_animal", "archive": place, "split": group}, classes=wnids), group
        )
        wanted = {wnid: f"{group}-{grounds[column]}" for wnid, grounds in shift_replicas.ANIMALS.items()}
        assert found.groupby("label").size().to_dict() == dict.fromkeys(wanted, count)
        assert found.groupby("label")["collection"].unique().map(list).to_dict() == {k: [v] for k, v in wanted.items()}
        seen |= set(found["uid"].str.partition("/")[2])
    assert len(seen) == 3 * (shift_replicas.COMMON + shift_replicas.COUNTER)
    kind = DATA_KINDS["counter_animal"]
    assert (kind.expected_images("common"), kind.expected_images("counter"), kind.source) == (7_174, 5_926, False)


def test_an_animal_whose_folder_has_no_number_is_an_error(wnids, tmp_path):
    place = tmp_path / "snail" / "common-earth" / "1.jpg"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"x")
    with pytest.raises(DatasetError, match="folder 'snail' is not a number from 0 to 999"):
        read_dataset({"kind": "counter_animal", "archive": tmp_path, "split": "common"}, classes=wnids)
    with pytest.raises(DatasetError, match="numbers are of 1,000 classes"):
        read_dataset({"kind": "counter_animal", "archive": tmp_path, "split": "common"}, classes=wnids[:3])


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_split_of_a_domain_has_the_pictures_of_its_list(replicas, domainnet_classes, tmp_path, as_folder):
    place = unpacked(replicas / "quickdraw.zip", tmp_path) / "quickdraw" if as_folder else replicas / "quickdraw.zip"
    read = {}
    for split, count in (("train", shift_replicas.TRAIN), ("test", shift_replicas.TEST), (None, None)):
        listed = {"pictures": replicas / f"quickdraw_{split}.txt"} if split else {}
        packed = tmp_path / f"{split}.pack"
        with packed.open("wb") as handle:
            buffer = read_dataset(
                {"kind": "domainnet", "archive": place} | listed, Pack(handle, packed), domainnet_classes
            )
        read[split] = records_of(buffer, "t")
        if split:
            lines = listed["pictures"].read_text().splitlines()
            assert sorted(read[split]["uid"]) == sorted(f"t/{line.split()[0]}" for line in lines)
            assert read[split]["label"].value_counts().to_dict() == dict.fromkeys(
                [name.lower() for name in shift_replicas.FOLDERS], count
            )
        record, content = first_bytes(buffer)
        with zipfile.ZipFile(replicas / "quickdraw.zip") as opened:
            assert content == opened.read(record["uid"])
    both = set(read["train"]["uid"]) | set(read["test"]["uid"])
    assert len(read[None]) == len(both) + 1 and both < set(read[None]["uid"])
    assert set(read[None]["collection"]) == {"quickdraw"}


def test_a_list_that_does_not_fit_the_domain_is_an_error_and_lost_pictures_are_missing(
    replicas, domainnet_classes, tmp_path
):
    settings = {"kind": "domainnet", "archive": replicas / "clipart.zip"}
    with pytest.raises(DatasetError, match=r"sketch_test\.txt names no picture of .*clipart\.zip, .* 'sketch/"):
        read_dataset(settings | {"pictures": replicas / "sketch_test.txt"}, classes=domainnet_classes)
    longer = tmp_path / "clipart_test.txt"
    longer.write_text((replicas / "clipart_test.txt").read_text() + "clipart/snail/gone.jpg 4\n\n")
    records = read_dataset(settings | {"pictures": longer}, classes=domainnet_classes)
    assert records.presence.first_missing[0] == "clipart/snail/gone.jpg" and sum(records.missing.values()) == 1
    longer.write_text("clipart/snail/1.jpg\n")
    with pytest.raises(DatasetError, match=r"line 1 is 'clipart/snail/1\.jpg': a list of DomainNet has"):
        read_dataset(settings | {"pictures": longer}, classes=domainnet_classes)
    records = read_dataset(settings, classes=["snail", "banana"])
    assert records.left_out == {"its folder is no class of the study": 6 * (shift_replicas.TRAIN + shift_replicas.TEST)}


def test_a_style_split_of_web_photographs_is_two_image_tables(replicas, wnids):
    for style, count in (("natural", 6), ("rendition", 4)):
        settings = {"kind": "image_table", "table": [replicas / f"{style}.parquet"], "image": "path",
                    "title": "caption", "label": "wnid"}  # fmt: skip
        found = records_of(read_dataset(settings, classes=wnids), style)
        assert len(found) == count and found["uid"].str.contains(f"images/{style}/").all()
        assert [f"a {CLASSES[wnid][1][0]}, stock photo" for wnid in found["label"]] == found["title"].tolist()


def test_halves_of_the_classes_meet_without_overlap_and_do_not_depend_on_the_order(domainnet_classes):
    first, second = (classes_between(domainnet_classes, *part) for part in ((0, 0.5), (0.5, 1)))
    assert not set(first) & set(second) and {*first, *second} == set(domainnet_classes)
    assert abs(len(first) - len(second)) == 1  # of 345
    assert classes_between(domainnet_classes[::-1], 0, 0.5) == first
    # No order that a table may have: neither half is of one end of the alphabet.
    places = sorted(domainnet_classes.index(name) for name in first)
    assert 140 < sum(places) / len(places) < 205


def test_a_data_set_of_half_of_the_classes_has_no_other_and_nothing_without_a_label(tmp_path):
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "mug/1.jpg", "both/1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "t.csv").write_text("folder,classes\ncat,cat\ndog,dog\nboth,cat;dog\nmug,mug\n")
    settings = {"kind": "image_folder", "folder": tmp_path, "class_table": tmp_path / "t.csv"}
    buffer = read_dataset(settings)
    buffer.keep_classes(["cat", "mug"])
    assert sorted(records_of(buffer, "t")["label"]) == ["cat", "cat", "mug"] and len(buffer) == 3
    assert buffer.left_out[OTHER_CLASS] == 2
    table = tmp_path / "t2.csv"
    table.write_text("file,class\ncat/1.jpg,cat\ncat/2.jpg,\n")
    buffer = read_dataset({"kind": "image_table", "table": [table], "image": "file", "label": "class"},
                          Pack(io.BytesIO(), "p"))  # fmt: skip
    buffer.keep_classes(["cat"])
    assert records_of(buffer, "t")["label"].tolist() == ["cat"]
