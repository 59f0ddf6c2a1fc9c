"""Shards by patterns, braces, folders, home folders and joined lists; what is missing of them is named."""

from __future__ import annotations

import pytest

from tests.studies import short_config
from whyrobust.study.file_patterns import PatternError, expand_braces, matching_files
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.study import Study


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("a{0..2}.tar", ["a0.tar", "a1.tar", "a2.tar"]),
        ("{00009..00011}.tar", ["00009.tar", "00010.tar", "00011.tar"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{a,b}/{0..1}", ["a/0", "a/1", "b/0", "b/1"]),
        ("{a,}x", ["ax", "x"]),
        ("{class}/{}", ["{class}/{}"]),
        ("plain", ["plain"]),
    ],
)
def test_braces_stand_for_what_they_do_in_a_shell(text, wanted):
    assert expand_braces(text) == wanted


@pytest.mark.parametrize("text", ["{0..99999999999}", "{1..1000}{1..1000}{1..1000}"])
def test_braces_that_name_too_many_files_are_an_error(text):
    with pytest.raises(PatternError, match=r"names .* files"):
        expand_braces(text)


def test_two_stars_stand_for_folders_and_beside_other_letters_they_are_an_error(tmp_path):
    for name in ("s/0.tar", "s/a/1.tar", "s/a/b/2.tar", "s/a/b/x.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    everywhere = ["s/0.tar", "s/a/1.tar", "s/a/b/2.tar"]
    assert matching_files(["s/**/*.tar"], tmp_path) == matching_files(["s/**"], tmp_path, (".tar",)) == everywhere
    for text in ("s/**.tar", "s/a**/1.tar", "{s,t}/***/0.tar"):
        with pytest.raises(PatternError, match=r"has \*\* beside other letters"):
            matching_files([text], tmp_path)


@pytest.fixture
def shards_of(workspace, monkeypatch):
    """Return the shards that a study reads, or why it cannot be planned, by what its config says."""
    monkeypatch.setenv("HOME", str(workspace / "home"))
    for name in ("s/0.tar", "s/1.tar", "s/2.tar", "s/._0.tar", "home/x/0.tar", "test/cat/1.jpg", "{odd}/0.tar"):
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).touch()
    (workspace / "empty").mkdir()
    (workspace / "classes.csv").write_text("class\ncat\n")

    def shards(given):
        config = short_config({"mine": {"kind": "webdataset", "shards": given}}, "test")
        try:
            study = Study.load(config, workspace)
        except ConfigError as error:
            return str(error)
        return [path.replace(str(workspace), "W") for path in study.datasets.slice_settings("mine")["shards"]]

    return shards


@pytest.mark.parametrize(
    "given, wanted",
    [
        ("s/{0..2}.tar", ["s/0.tar", "s/1.tar", "s/2.tar"]),
        ("s", ["s/0.tar", "s/1.tar", "s/2.tar"]),
        ("s/*.tar", ["s/0.tar", "s/1.tar", "s/2.tar"]),
        ("s/{0,2}.tar::{odd}/0.tar", ["s/0.tar", "s/2.tar", "{odd}/0.tar"]),
        ("{odd}/0.tar", ["{odd}/0.tar"]),
        ("~/x/*.tar", ["W/home/x/0.tar"]),
        ("s/0.tar::~/x/*.tar", ["s/0.tar", "W/home/x/0.tar"]),
        (["s/0.tar", "~/x"], ["s/0.tar", "W/home/x/0.tar"]),
    ],
)
def test_shards_are_named_as_people_name_them(shards_of, given, wanted):
    assert shards_of(given) == wanted


@pytest.mark.parametrize(
    "given, said",
    [
        ("s/{0..3}.tar", "sources.mine.shards is 's/{0..3}.tar': there is no such file 's/3.tar'"),
        ("empty", "sources.mine.shards is 'empty': there is no such file"),
        ("s3://bucket/0.tar", "'s3://bucket/0.tar', an address: allowed are files on this machine"),
        ("pipe:curl -s x", "an address"),
        ("s/{0..9999999}.tar", "names 10,000,000 files"),
    ],
)
def test_shards_that_are_not_there_are_named_before_any_work(shards_of, given, said):
    assert said in shards_of(given)


def test_a_folder_that_lacks_shards_by_its_own_count_is_an_error(shards_of, workspace):
    (workspace / "s" / "nshards.txt").write_text("4\n")
    assert "nshards.txt says '4' shards, and there are 3: fetch those that are missing" in shards_of("s")
    assert "and there are 3" in shards_of("s/*.tar")
    assert shards_of("s/{0..1}.tar") == ["s/0.tar", "s/1.tar"]  # a choice
    (workspace / "s" / "nshards.txt").write_text("3\n")
    assert len(shards_of("s")) == 3
