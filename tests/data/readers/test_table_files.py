"""Tables as people and the hub have them: Parquet in many files, compressed text, JSON lines, no header, raw quotes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.readers.record_buffers import read_dataset, records_of, rows_of, write_picture
from tests.data.test_photo_store import encoded, picture
from tests.studies import short_config
from whyrobust.data.archives import Pack, read_bytes
from whyrobust.data.dataset_checks import DatasetError, LabelCounts
from whyrobust.data.readers import table_files, tables
from whyrobust.data.readers.table_files import read_rows
from whyrobust.data.readers.tables import list_named_pictures
from whyrobust.data.readers.yfcc import read_yfcc_ids
from whyrobust.study.study import Study

HUB_NAMES = ["dog", "cat", "sofa"]


def write_hub_parquet(path, images, numbers, names=HUB_NAMES, row_group=2):
    """Write a table as the datasets library does: a struct of bytes and path, and numbers named in the metadata."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [{"bytes": image, "path": f"{row}.jpg"} for row, image in enumerate(images)]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table([rows, numbers], schema=schema), path, row_group_size=row_group)


@pytest.fixture
def hub(workspace):
    """Return a study whose source and test set are Parquet in three files, and the pictures in them."""
    images = [encoded(picture()) for _ in range(7)]
    for number, rows in enumerate((range(3), range(3, 5), range(5, 7))):
        write_hub_parquet(
            workspace / "data" / f"train-{number:05d}-of-00003.parquet",
            [images[row] for row in rows], [row % 3 for row in rows],
        )  # fmt: skip
    (workspace / "classes.csv").write_text("class\ncat\ndog\n")
    write_picture(workspace / "test" / "cat" / "1.jpg")

    def study(**more):
        source = {"kind": "image_table", "table": "data/train-*.parquet", "image": "image", "label": "label"} | more
        return Study.load(short_config({"mine": source}, "test"), workspace)

    return study, images


@pytest.mark.parametrize("table", ["data/train-*.parquet", "data", "data/train-{00000..00002}-of-00003.parquet"])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_parquet_of_the_hub_in_many_files_is_read_in_any_number_of_slices(hub, monkeypatch, workspace, table, slices):
    plan, images = hub
    monkeypatch.chdir(workspace)
    datasets = plan(table=table, slices=slices).datasets
    found, labels, files = [], LabelCounts(), []
    for name in datasets.photo_slices_of("mine"):
        files += datasets.files_of_slice(name)
        with (workspace / "pack").open("wb") as handle:
            buffer = read_dataset(datasets.slice_settings(name), Pack(handle, workspace / "pack"), ["cat", "dog"])
        found += [
            (record["uid"], record["label"], read_bytes(member.file, member.offset, member.length))
            for record, member in rows_of(buffer)
        ]
        labels += buffer.labels
    wanted = ["dog", "cat", None, "dog", "cat", None, "dog"]
    uids = [f"train-{shard:05d}-of-00003/row_{row}" for shard, count in enumerate((3, 2, 2)) for row in range(count)]
    assert found == list(zip(uids, wanted, images, strict=True))
    assert (labels.known, labels.unknown) == (5, 2) and labels.first_unknown[1] == "sofa"
    assert files == [f"data/train-{number:05d}-of-00003.parquet" for number in range(3)]


def test_numbers_are_named_by_a_list_before_the_metadata_and_are_classes_where_classes_are_numbers(tmp_path, pack):
    write_hub_parquet(tmp_path / "t.parquet", [encoded(picture())] * 3, [0, 1, 2])
    settings = {"kind": "image_table", "table": [tmp_path / "t.parquet"], "image": "image", "label": "label"}
    (tmp_path / "names.txt").write_text("mug\ncat\n")
    named = read_dataset(settings | {"class_names": tmp_path / "names.txt"}, pack)
    assert records_of(named, "t")["label"].tolist() == ["mug", "cat", None]
    numbers = read_dataset(settings, pack, ["0", "1", "2"])
    assert records_of(numbers, "t")["label"].tolist() == ["0", "1", "2"]


def test_parquet_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    write_hub_parquet(tmp_path / "t.parquet", [b"x" * 1000] * 50, [0] * 50, row_group=50)
    monkeypatch.setattr(table_files, "PARQUET_ROWS", 4)
    before = pa.total_allocated_bytes()
    rows = read_rows(tmp_path / "t.parquet", {"image": "image"}, table_files.USUAL_FORM)
    assert next(rows)["image"]["path"] == "0.jpg"
    assert pa.total_allocated_bytes() - before < 200_000 and sum(1 for _ in rows) == 49


def test_a_small_file_with_one_large_picture_in_all_rows_fills_neither_memory_nor_disk(tmp_path, monkeypatch, pack):
    pq.write_table(pa.table({"image": [b"\0" * 2000] * 5000}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 20_000
    monkeypatch.setattr(table_files, "PARQUET_BYTES", 10_000)
    before = pa.total_allocated_bytes()
    read = read_rows(tmp_path / "t.parquet", {"image": "image"}, table_files.USUAL_FORM)
    assert next(read)["image"] == b"\0" * 2000 and pa.total_allocated_bytes() - before < 100_000
    monkeypatch.setattr(tables, "MAXIMUM_BYTES", 10_000)
    with pytest.raises(DatasetError, match=r"row \d\d: its pictures have unpacked to more than 20 times"):
        read_dataset({"kind": "image_table", "table": [tmp_path / "t.parquet"], "image": "image"}, pack)


def test_a_small_file_that_unpacks_to_one_long_line_is_no_table(tmp_path):
    line = b"x" * (table_files.MAXIMUM_FIELD_CHARACTERS + 9)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"file\n" + line, 1))
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(b'{"file": "a"}\n"' + line, 1))
    (tmp_path / "t.tsv.bz2").write_bytes(bz2.compress(b"1\t2\t3\n" + line, 1))
    for name in ("t.csv.gz", "t.jsonl.gz"):
        with pytest.raises(DatasetError, match=r"line 2 has more than 16,777,216 characters"):
            list(read_rows(tmp_path / name, {"file": "file"}, table_files.USUAL_FORM))
    with pytest.raises(DatasetError, match="line 2 has more than"):
        read_yfcc_ids(tmp_path / "t.tsv.bz2")


TEXT = "file\ttext\nphotos/0.jpg\ta cat\nphotos/1.jpg\t\u00fcber dogs\n"
LINES = '{"file": "photos/0.jpg", "text": "a cat"}\n\n{"text": "\u00fcber dogs", "file": "photos/1.jpg", "x": [1]}\n'


@pytest.mark.parametrize(
    "name, content",
    [
        ("t.tsv", TEXT.encode()),
        ("T.TSV", TEXT.encode()),
        ("t.tab", TEXT.encode("utf-8-sig")),
        ("t.csv", TEXT.replace("\t", ",").encode()),
        ("t.csv.gz", gzip.compress(TEXT.replace("\t", ",").encode(), mtime=0)),
        ("t.tsv.bz2", bz2.compress(TEXT.encode())),
        ("t.v2.tsv.xz", lzma.compress(TEXT.encode())),
        ("t.jsonl", LINES.encode()),
        ("t.ndjson", LINES.encode()),
        ("t.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
    ],
)
def test_tables_of_text_are_read_by_their_ending(tmp_path, pack, name, content):
    for number in range(2):
        write_picture(tmp_path / "photos" / f"{number}.jpg")
    (tmp_path / name).write_bytes(content)
    settings = {"kind": "image_table", "table": [tmp_path / name], "image": "file", "title": "text"}
    found = [(record["uid"], record["title"]) for record, _ in rows_of(read_dataset(settings, pack))]
    assert found == [("photos/0.jpg", "a cat"), ("photos/1.jpg", "\u00fcber dogs")]
    assert list(list_named_pictures(settings)) == [tmp_path / "photos" / f"{number}.jpg" for number in range(2)]


@pytest.mark.parametrize(
    "name, content, said",
    [
        ("t.jsonl", b'{"file": "a.jpg"}\n{"file":\n', r"t\.jsonl, line 2 is no JSON"),
        ("t.jsonl", b'["a.jpg"]\n', "line 1 is no JSON object"),
        ("t.jsonl", b'{"path": "a.jpg"}\n', r"has no column 'file' \(key 'image'\): it has path"),
        ("t.tsv.gz", gzip.compress(TEXT.encode(), mtime=0)[:-12], r"t\..sv\.gz cannot be read .*fetch it again"),
        ("t.csv.gz", b"file\na.jpg\n", r"t\..sv\.gz cannot be read .*fetch it again"),
        ("t.xlsx", b"PK\x03\x04", r"t\.xlsx is no table by its name: tables end in \.csv"),
        ("t.csv.zst", b"\x28\xb5", "is no table by its name"),
        ("t", b"file\n", "is no table by its name"),
    ],
)
def test_tables_that_cannot_be_read_say_where_and_what_to_do(tmp_path, pack, name, content, said):
    (tmp_path / name).write_bytes(content)
    settings = {"kind": "image_table", "table": [tmp_path / name], "image": "file"}
    with pytest.raises(DatasetError, match=said):
        read_dataset(settings, pack)
    list(list_named_pictures(settings))  # the plan leaves it to the job to say so


def test_a_table_without_header_and_with_raw_quotes_is_read_by_two_keys(tmp_path, pack):
    for number in range(3):
        write_picture(tmp_path / f"{number}.jpg")
    (tmp_path / "t.tsv").write_text('a 27" screen\t0.jpg\n"open\t1.jpg\nsays "no" twice\t2.jpg\n')
    settings = {"kind": "image_table", "table": [tmp_path / "t.tsv"], "image": "file", "title": "caption"}
    with pytest.raises(DatasetError, match=r"no column 'file' \(key 'image'\): it has a 27\" screen, 0\.jpg"):
        read_dataset(settings, pack)
    named = settings | {"columns": ["caption", "file"]}
    with pytest.raises(DatasetError, match=r"line 3: .*quote|cannot be read"):
        read_dataset(named, pack)
    records = read_dataset(named | {"quoting": "none"}, pack)
    assert records_of(records, "t")["title"].tolist() == ['a 27" screen', '"open', 'says "no" twice']
    with pytest.raises(DatasetError, match="2 cells, the header has 1: give the names of all columns"):
        read_dataset(settings | {"columns": ["file"], "quoting": "none", "title": "file"}, pack)


def test_pictures_that_are_links_into_a_store_are_read_and_paths_upwards_are_not(tmp_path, pack):
    write_picture(tmp_path / "store" / "ab" / "cdef")
    (tmp_path / "mine" / "photos").mkdir(parents=True)
    (tmp_path / "mine" / "photos" / "0.jpg").symlink_to(tmp_path / "store" / "ab" / "cdef")
    (tmp_path / "mine" / "linked").symlink_to(tmp_path / "store")
    (tmp_path / "mine" / "photos" / "1.jpg").symlink_to(tmp_path / "store" / "gone")
    table = tmp_path / "mine" / "t.csv"
    settings = {"kind": "image_table", "table": [table], "image": "file"}
    absolute = tmp_path / "mine" / "photos" / "0.jpg"
    table.write_text(f"file\nphotos/0.jpg\nlinked/ab/cdef\nphotos/1.jpg\n{absolute}\n")
    records = read_dataset(settings, pack)
    assert [record["uid"] for record, _ in rows_of(records)] == ["photos/0.jpg", "linked/ab/cdef", str(absolute)]
    assert records.missing == {"its file is not there": 1}
    for path in (
        "../store/ab/cdef",
        "photos/../../store/ab/cdef",
        "..\\store\\ab",
        str(tmp_path / "store" / "ab" / "cdef"),
    ):
        table.write_text(f"file\n{path}\n")
        with pytest.raises(DatasetError, match=r"row 1: .* leads out of .*mine: keep pictures inside, or set root"):
            read_dataset(settings, pack)
    assert len(read_dataset(settings | {"root": "/"}, pack)) == 1


def test_paths_as_other_systems_write_them_find_their_pictures(tmp_path, pack):
    write_picture(tmp_path / "photos" / "Zo\u00eb.jpg")
    write_picture(tmp_path / "photos" / "A\u030a.jpg")
    table = tmp_path / "t.csv"
    table.write_text("file\nphotos\\Zo\u00eb.jpg\nphotos/\u00c5.jpg\n", encoding="utf-8")
    settings = {"kind": "image_table", "table": [table], "image": "file"}
    assert len(read_dataset(settings, pack)) == 2
    assert all(path.is_file() for path in list_named_pictures(settings))
