"""The table of files that can be downloaded: what it says, and what is wrong with one that cannot be used."""

from __future__ import annotations

from dataclasses import replace

import pytest

from whyrobust.study.pinned_sources import SourcesTableError, read_pinned_sources


def test_the_committed_table_reads(root):
    table = read_pinned_sources(root / "resources" / "sources.tsv")
    assert table["iconify"].version == "2.2.535"
    assert table["imagenet_captions"].images == 463_622 and len(table["objectnet"].addresses) > 1
    assert all(row.addresses or row.how_to_get for row in table.values())
    assert all(row.licence and row.citation for row in table.values())


def test_a_download_is_given_time_by_its_size(root):
    row = read_pinned_sources(root / "resources" / "sources.tsv")["iconify"]
    assert replace(row, bytes=10 * 60 * 5_000_000).minutes == 40
    assert replace(row, bytes=None).minutes == 24 * 60


@pytest.mark.parametrize(
    "change, message",
    [
        (("\tlicence\t", "\tlicense\t"), "no column 'licence'"),
        (("104043282", "many"), "line 2: bytes is 'many'"),
        (("sha512-", "sha513-"), "line 2: checksum"),
        (("sha512-nAV60", "sha512-nAV"), "line 2: checksum"),
        (("md5:1d675b", "md5:1d675x"), "line 4: checksum"),
        (("sha256:f0c37f", "sha256:f0c3"), "line 7: checksum"),
        (("\timagenet_captions.zip\t", "\t./Iconify.tgz\t"), "line 3: the file './Iconify.tgz' is that of line 2 too"),
        (("\tcitation", "\tbytes"), "no column 'citation'"),
        (("\tcitation", "\tcitation\tchecksum"), "the column 'checksum' twice"),
        (("\t104043282\t", "\t" + "9" * 400 + "\t"), "line 2: bytes is '999"),
        (("npm:@iconify/json", "npm:--script-shell=x"), "line 2: the address is 'npm:--script-shell=x'"),
        (("npm:@iconify/json", "npm:../folder"), "npm's registry"),
        (("npm:@iconify/json", "npm:git+ssh://x/y.git"), "npm's registry"),
        (("\t2.2.535\t", "\tlatest\t"), "version 'latest'"),
        (("\t2.2.535\t", "\t1.0.0 --x\t"), "version '1.0.0 --x'"),
        (("https://github.com", "ftp://me:secret@github.com"), "line 3: an address begins with 'ftp': give https"),
        (("https://github.com", "https:github.com"), "line 3: an address begins with 'https'"),
        (("\nimagenet_train\t", "\niconify\t"), "'iconify' comes twice"),
        (("\ticonify.tgz\t", "\t../iconify.tgz\t"), "inside the folder for downloads"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_place(root, tmp_path, change, message):
    text = (root / "resources" / "sources.tsv").read_text(encoding="utf-8").replace(*change)
    (tmp_path / "s.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(SourcesTableError, match=message):
        read_pinned_sources(tmp_path / "s.tsv")
