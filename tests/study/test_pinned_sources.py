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
        (("\nimagenet_train\t", "\niconify\t"), "'iconify' comes twice"),
        (("\ticonify.tgz\t", "\t../iconify.tgz\t"), "inside the folder for downloads"),
    ],
)
def test_a_wrong_table_is_an_error_that_names_the_place(root, tmp_path, change, message):
    text = (root / "resources" / "sources.tsv").read_text(encoding="utf-8").replace(*change)
    (tmp_path / "s.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(SourcesTableError, match=message):
        read_pinned_sources(tmp_path / "s.tsv")
