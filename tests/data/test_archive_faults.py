"""Archives of strangers: nothing is written outside, nothing is lost without a word, errors name the member."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import subprocess
import tarfile
import time
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.readers.record_buffers import records_of, rows_of
from tests.data.test_photo_store import encoded, picture, write_tar
from whyrobust.data.archives import (
    LINK,
    NO_FILE,
    LocationError,
    Pack,
    list_archive,
    list_folder,
    list_tar,
    read_bytes,
)
from whyrobust.data.dataset_checks import DatasetError
from whyrobust.data.readers.imagenet import read_caption_list, read_wnid_folders
from whyrobust.data.readers.webdataset import read_webdataset
from whyrobust.data.readers.yfcc import read_yfcc_ids
from whyrobust.data.records import write_records
from whyrobust.data.tar_headers import what_instead_of_tar
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


@pytest.mark.parametrize("mode", ["w", "w:gz", "zip", "inner"])
def test_links_in_archives_are_followed_or_missing_and_devices_are_missing(tmp_path, mode):
    def add(archive, name, kind, linkname=""):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, linkname
        archive.addfile(info)

    path = tmp_path / "x"
    if mode == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo("l.jpg")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/passwd")
        wanted, missing = {}, {"l.jpg": LINK}
    else:
        with tarfile.open(
            tmp_path / "n01.tar" if mode == "inner" else path, mode if mode != "inner" else "w"
        ) as archive:
            info = tarfile.TarInfo("a/1.jpg")
            info.size = len(CONTENT)
            archive.addfile(info, io.BytesIO(CONTENT))
            add(archive, "b/hard.jpg", tarfile.LNKTYPE, "a/1.jpg")
            add(archive, "b/soft.jpg", tarfile.SYMTYPE, "../a/1.jpg")
            add(archive, "b/out.jpg", tarfile.SYMTYPE, "/etc/passwd")
            add(archive, "b/gone.jpg", tarfile.LNKTYPE, "1.jpg")
            add(archive, "b/pipe.jpg", tarfile.FIFOTYPE)
            add(archive, "b", tarfile.DIRTYPE)
        wanted = dict.fromkeys(("a/1.jpg", "b/hard.jpg", "b/soft.jpg"), CONTENT)
        missing = {"b/out.jpg": LINK, "b/gone.jpg": LINK, "b/pipe.jpg": NO_FILE}
    if mode == "inner":
        path = write_tar(tmp_path / "outer.tar", [("n01.tar", (tmp_path / "n01.tar").read_bytes())])
        wanted, missing = ({f"n01/{name}": value for name, value in each.items()} for each in (wanted, missing))
    with (tmp_path / "pack").open("wb") as handle:
        members = list(list_archive(path, Pack(handle, tmp_path / "pack"), everything, nested=mode == "inner"))
    assert {m.name: m.missing for m in members if m.missing} == missing
    assert {m.name: read_bytes(m.file, m.offset, m.length) for m in members if not m.missing} == wanted


def gnu_tar(path, folder, *options):
    """Pack a folder by the tar program of this machine."""
    subprocess.run(["tar", "-cf", str(path), *options, "-C", str(folder), "."], check=True)
    return path


@pytest.mark.parametrize(
    "options", [["--format=gnu"], *(["--format=posix", f"--sparse-version={v}"] for v in ("0.0", "0.1", "1.0"))]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_member_that_is_stored_with_holes_is_refused_by_name(tmp_path, options, compressed):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "1.jpg").write_bytes(CONTENT)
    with (tmp_path / "set" / "2.jpg").open("wb") as handle:
        handle.write(CONTENT)
        handle.seek(2**20)
        handle.write(CONTENT)
    path = gnu_tar(tmp_path / "x.tar", tmp_path / "set", "--sparse", *options)
    assert path.stat().st_size < 2**19  # there are holes
    if compressed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(LocationError, match=r"x\.tar cannot be read .*member '\./2\.jpg' is stored with holes"):
        read_all(path, tmp_path)


def header(name, size=0, kind=tarfile.REGTYPE):
    """Return the bytes of a header of one member."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    block[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(block))[0]
    return bytes(block)


def padded(content):
    return content + bytes(-len(content) % 512)


def pax(record, kind=tarfile.XHDTYPE):
    return header("pax", len(record), kind) + padded(record)


HOSTILE = {
    "a negative size": header("2.jpg", -512),
    "a negative size of a header": header("2.jpg", -1024, tarfile.XHDTYPE),
    "a negative size in PAX": pax(b"13 size=-512\n") + header("2.jpg", 0),
    "a PAX header of megabytes": pax(b"1" * 2**22) + header("2.jpg", 0),
    "a global header of megabytes": pax(b"1" * 2**22, tarfile.XGLTYPE) + header("2.jpg", 0),
    "a long name of megabytes": header("L", 2**22, tarfile.GNUTYPE_LONGNAME) + bytes(2**22) + header("2.jpg"),
    "nested long names": (header("L", 2, tarfile.GNUTYPE_LONGNAME) + padded(b"x\0")) * 5000 + header("2.jpg"),
    "nested long links": (header("K", 2, tarfile.GNUTYPE_LONGLINK) + padded(b"x\0")) * 5000 + header("2.jpg"),
    "nested PAX headers": pax(b"11 path=ab\n") * 5000 + header("2.jpg"),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("first", [True, False])
def test_headers_made_to_hang_or_to_overflow_are_damage_in_one_line(tmp_path, what, first):
    whole = b"" if first else header("1.jpg", len(CONTENT)) + padded(CONTENT)
    began = time.monotonic()
    for number, content in enumerate((whole + HOSTILE[what] + bytes(1024), gzip.compress(whole + HOSTILE[what]))):
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content)
        with pytest.raises(LocationError, match=r"cannot be read as a tar file.*: fetch it again") as caught:
            read_all(path, tmp_path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "content, said",
    [
        (
            gzip.compress(bytes(2000), mtime=0),
            r"is compressed by gzip, not a tar: gunzip -c '.*0\.tar' > '.*0-plain\.tar'",
        ),
        (bz2.compress(bytes(2000)), "compressed by bzip2.*bunzip2 -c"),
        (lzma.compress(bytes(2000)), "compressed by xz.*unxz -c"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed by zstd.*zstd -dc"),
        (b"PK\x03\x04" + bytes(600), "is a zip file.*unpack it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS.*git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"", "is empty: fetch it again"),
    ],
)
def test_a_shard_that_is_no_tar_says_what_it_is_and_what_to_do(tmp_path, content, said):
    (tmp_path / "0.tar").write_bytes(content)
    with pytest.raises(LocationError, match=said):
        read_webdataset([tmp_path / "0.tar"])
    with pytest.raises(LocationError, match="is a folder"):
        read_webdataset([tmp_path])


def test_a_shard_named_as_what_it_is_unpacks_to_a_tar_name(tmp_path):
    for name, wanted in (
        ("0.tar.zst", "0.tar"),
        ("0.tgz", "0.tar"),
        ("a.b.tar.gz", "a.b.tar"),
        ("0.tar", "0-plain.tar"),
    ):
        (tmp_path / name).write_bytes(b"\x28\xb5\x2f\xfd")
        assert what_instead_of_tar(tmp_path / name).endswith(f"> '{tmp_path / wanted}'")


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
