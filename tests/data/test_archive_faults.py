"""Archives of strangers: nothing is written outside, nothing is lost without a word, errors name the member."""

from __future__ import annotations

import bz2
import errno
import io
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.readers.record_buffers import records_of, rows_of
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import LocationError, Pack, list_archive, list_folder, list_tar, read_bytes
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.imagenet import read_caption_list, read_wnid_folders
from whyrobust.data.readers.webdataset import read_webdataset
from whyrobust.data.readers.yfcc import read_yfcc_ids
from whyrobust.data.records import write_records
from whyrobust.study.slices import ShardError

CONTENT = bytes(range(256)) * 5
NAMES = ["a/1.jpg", "b/2.jpg", "c/3.jpg"]


def everything(_name):
    return True


def write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def samples(folder):
    """Return whole archives of every kind by the way they are written."""
    members = [(name, CONTENT) for name in NAMES]
    made = {mode: write_tar(folder / "x", members, mode).read_bytes() for mode in ("w", "w:gz", "w:bz2", "w:xz")}
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        made[f"zip {compression}"] = write_zip(folder / "x", members, compression).read_bytes()
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return samples(tmp_path_factory.mktemp("archives"))


def read_all(path, folder):
    with (folder / "pack.bin").open("wb") as handle:
        found = list(list_archive(path, Pack(handle, folder / "pack.bin"), everything))
    return {member.name: read_bytes(member.file, member.offset, member.length) for member in found}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_archive_is_whole_or_an_error_that_names_it(whole, tmp_path, data):
    kind = data.draw(st.sampled_from(sorted(whole)))
    content = bytearray(whole[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + 1] = data.draw(st.binary(max_size=3))
    (tmp_path / "archive").write_bytes(content)
    try:
        read_all(tmp_path / "archive", tmp_path)
    except LocationError as error:
        assert "archive" in str(error)


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip 0", "zip 8"])
def test_an_archive_cut_off_anywhere_never_loses_members_in_silence(whole, tmp_path, kind):
    content = whole[kind]
    lost = []
    for cut in sorted({*range(40), *range(0, len(content) - 1, 97), *range(0, len(content) - 1, 512)}):
        (tmp_path / "archive").write_bytes(content[:cut])
        try:
            found = read_all(tmp_path / "archive", tmp_path)
        except LocationError:
            continue
        if found != dict.fromkeys(NAMES, CONTENT):
            lost.append(cut)
    assert not lost


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(name, CONTENT) for name in NAMES])
    content = bytearray(path.read_bytes())
    second = content.index(b"b/2.jpg")
    content[second + 150] ^= 0xFF  # in its checksum
    path.write_bytes(content)
    with pytest.raises(LocationError, match=r"a\.tar cannot be read as a tar file after member 'a/1\.jpg'"):
        list(list_tar(path))
    outer = write_tar(tmp_path / "o.tar", [("n01.tar", bytes(content))])
    with pytest.raises(LocationError, match=r"o\.tar, member 'n01\.tar', cannot be read .* after member 'a/1\.jpg'"):
        list(list_tar(outer, nested=True))


def test_a_damaged_name_before_a_zip_member_is_an_error_that_names_it(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(NAMES[0], CONTENT)], zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[7] |= 0x08  # says that the name is UTF-8
    content[content.index(b"a/1.jpg")] = 0xFF
    path.write_bytes(content)
    with pytest.raises(LocationError, match=r"a\.zip: member 'a/1\.jpg' cannot be read"):
        read_all(path, tmp_path)


EVIL = [
    "../../evil.jpg",
    "/tmp/evil.jpg",
    "a/../../../evil.jpg",
    "C:\\evil.jpg",
    "a//b/./evil.jpg",
    "\u202egpj.evil.jpg",
]


def test_a_zip_member_without_a_name_is_passed_over(tmp_path):
    """A damaged directory of a zip may begin a name with a NUL, where zipfile ends it."""
    path = write_zip(tmp_path / "a.zip", [("x.jpg", CONTENT), (NAMES[0], CONTENT)], zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"x.jpg", b"\0.jpg"))
    with (tmp_path / "pack").open("wb") as handle:
        found = list(list_archive(path, Pack(handle, tmp_path / "pack"), lambda name: True))
    assert [member.name for member in found] == [NAMES[0]]


@pytest.mark.parametrize("kind", ["w", "w:gz", "zip"])
def test_names_that_lead_outside_write_nothing_outside(tmp_path, kind):
    members = [(name, CONTENT) for name in EVIL]
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    path = write_zip(inside / "x", members) if kind == "zip" else write_tar(inside / "x", members, kind)
    before = sorted(tmp_path.rglob("*"))
    assert set(read_all(path, inside).values()) == {CONTENT}
    assert sorted(tmp_path.rglob("*")) == sorted([*before, inside / "pack.bin"])


def test_links_and_devices_are_passed_over_in_every_kind(tmp_path):
    for mode in ("w", "w:gz"):
        with tarfile.open(tmp_path / "x", mode) as archive:
            for number, kind in enumerate(
                (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
            ):
                info = tarfile.TarInfo(f"{number}.jpg")
                info.type, info.linkname = kind, "/etc/passwd"
                archive.addfile(info)
        assert read_all(tmp_path / "x", tmp_path) == {}
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        info = zipfile.ZipInfo("l.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert read_all(tmp_path / "x", tmp_path) == {}


@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "zip"])
def test_a_bomb_stops_before_the_disk_is_full_and_names_the_member(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("whyrobust.data.archives.MAXIMUM_BYTES", 2**20)
    for name, members, message in (
        ("one", [("bomb.jpg", b"\0" * (2**20 + 1))], r"member 'bomb\.jpg' has more than 1048576 bytes"),
        (
            "many",
            [(f"{n}.jpg", b"\0" * 2**19) for n in range(40)],
            r"with member '\d+\.jpg' it has unpacked to more than 20",
        ),
    ):
        path = tmp_path / name
        path = write_zip(path, members) if kind == "zip" else write_tar(path, members, kind)
        with pytest.raises(LocationError, match=message) as caught:
            read_all(path, tmp_path)
        assert "fetch it again" not in str(caught.value)
        assert (tmp_path / "pack.bin").stat().st_size < 2**20 + 20 * path.stat().st_size + 2**20


def test_a_full_disk_is_not_blamed_on_the_archive(tmp_path):
    class FullDisk(io.BytesIO):
        def write(self, _content):
            raise OSError(errno.ENOSPC, "No space left on device")

    members = [(name, CONTENT) for name in NAMES]
    for path in (write_tar(tmp_path / "a.tar.gz", members, "w:gz"), write_zip(tmp_path / "a.zip", members)):
        with pytest.raises(OSError, match="No space left") as caught:
            list(list_archive(path, Pack(FullDisk(), tmp_path / "pack"), everything))
        assert not isinstance(caught.value, LocationError)


def test_names_that_come_twice_are_named_and_names_that_differ_in_case_are_two(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("n01/A.jpg", b"1"), ("n01/a.jpg", b"2")])
    with (tmp_path / "pack").open("wb") as handle:
        buffer = read_wnid_folders(path, ["n01"], Pack(handle, tmp_path / "pack"))
        assert [record["uid"] for record, _ in rows_of(buffer)] == ["n01/A.jpg", "n01/a.jpg"]
        write_tar(path, [("n01/a.jpg", b"1"), ("n01/a.jpg", b"2")])
        buffer = read_wnid_folders(path, ["n01"], Pack(handle, tmp_path / "pack"))
    with pytest.raises(ValueError, match=r"'set/n01/a\.jpg' occurs more than once"):
        write_records(tmp_path / "r.parquet", records_of(buffer, "set"))


def test_pairs_that_come_twice_are_counted_and_shards_of_one_name_are_not_mixed_up(tmp_path):
    jpeg = encoded(picture())
    shards = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        members = [("0.jpg", jpeg), ("0.txt", folder.encode()), ("0.jpg", jpeg), ("0.txt", b"again")]
        shards.append(write_tar(tmp_path / folder / "00000.tar", members))
    buffer = read_webdataset(shards)
    assert [(record["uid"], record["title"]) for record, _ in rows_of(buffer)] == [
        ("one/00000/0", "one"),
        ("two/00000/0", "two"),
    ]
    assert buffer.left_out == {"it came before": 2}
    with pytest.raises(ShardError, match="one name, 'one/00000': give each once"):
        read_webdataset([*shards, shards[0]])


def test_names_that_are_no_text_can_be_stored(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        info = tarfile.TarInfo("caf\xe9.jpg")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert [member.name for member in list_tar(path)] == ["caf\\xe9.jpg"]
    (tmp_path / "folder").mkdir()
    try:
        (tmp_path / "folder" / "caf\udce9.jpg").write_bytes(b"x")
    except (OSError, UnicodeError):
        pytest.skip("this file system holds no such names")
    with pytest.raises(LocationError, match=r"named 'caf\\xe9\.jpg', which is no UTF-8"):
        list(list_folder(tmp_path / "folder"))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'[{"filename": "a", "wnid": "b"}, 3]', "not a JSON list"),
        (b"{}", "not a JSON list"),
        (b"\xff", "cannot be read as JSON"),
    ],
)
def test_a_list_of_texts_that_is_none_is_named(tmp_path, content, message):
    (tmp_path / "captions.json").write_bytes(content)
    with pytest.raises(DatasetError, match=rf"captions\.json.*{message}"):
        read_caption_list(tmp_path / "captions.json")
    path = write_zip(tmp_path / "c.zip", [("captions.json", content)])
    damaged = bytearray(path.read_bytes())
    damaged[40:50] = b"\xff" * 10
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"c\.zip"):
        read_caption_list(path)


def test_a_list_that_was_cut_off_says_after_which_line(tmp_path):
    text = "".join(f"{n}\t{n}\th\n" for n in range(200_000)).encode()
    content = bz2.compress(text)
    (tmp_path / "s.tsv.bz2").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"s\.tsv\.bz2 cannot be read after line \d+"):
        read_yfcc_ids(tmp_path / "s.tsv.bz2")
    (tmp_path / "s.tsv.bz2").write_bytes(bz2.compress(b"1\t2\t\xff\n"))
    with pytest.raises(DatasetError, match="cannot be read after line 0"):
        read_yfcc_ids(tmp_path / "s.tsv.bz2")
