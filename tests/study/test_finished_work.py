"""Finished work is found again by what it was made from, and by nothing else; whatever happens to it, a job goes on."""

from __future__ import annotations

import io
import json
import os
import time
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tools.forget import main as forget_command
from whyrobust.data import photo_checks
from whyrobust.data.archives import Member, list_files, write_locations
from whyrobust.data.photo_store import write_photographs
from whyrobust.study import content_digests, finished_work
from whyrobust.study.config import load_config
from whyrobust.study.content_digests import content_digest, digest_of_all
from whyrobust.study.finished_work import (
    OFF,
    VARIABLE,
    FinishedWork,
    chosen_folder,
    describe,
    forget,
    size_of,
    sum_taken,
)


@pytest.fixture
def store(tmp_path, monkeypatch):
    folder = tmp_path / "store"
    monkeypatch.setenv(VARIABLE, str(folder))
    return folder


def picture_of(seed):
    """Return the bytes of a picture that is unlike those of other seeds."""
    made = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(made, "PNG")
    return made.getvalue()


class Job:
    """A job of a study that copies its inputs, in a folder of its own, as Snakemake describes it to its script."""

    def __init__(self, study: Path, code="1", order=("one", "two"), contents=("one", "two"), **params):
        made = study / "results" / study.name
        (study / "given").mkdir(parents=True, exist_ok=True)
        self.paths = [study / "given" / name for name in order]
        for path, content in zip(self.paths, contents, strict=True):
            path.write_text(content, encoding="utf-8")
        self.table, self.folder = made / "table.csv", made / "folder"
        self.described = SimpleNamespace(
            input={"first": str(self.paths[0]), "others": [str(path) for path in self.paths[1:]]},
            output={"table": str(self.table), "folder": str(self.folder)},
            params={
                "by_name": {"a": str(self.paths[1])}, "size": 1, "code": {"code": code, "inputs": str(study)},
                "checkpoint": str(made / "r.pt"),
            } | params,
            log=[str(made / "logs" / "copy" / "a.log")],
        )  # fmt: skip

    def open(self) -> FinishedWork:
        """Look for what it makes."""
        return FinishedWork.of_job("copy", self.described, leave_out=["checkpoint"])

    def make(self) -> None:
        """Make it."""
        text = "".join(path.read_text(encoding="utf-8") for path in self.paths)
        (self.folder / "deep").mkdir(parents=True, exist_ok=True)
        self.table.write_text(text, encoding="utf-8")
        (self.folder / "deep" / "x.txt").write_text(text.upper(), encoding="utf-8")

    def run(self) -> bool:
        """Take the results or make and keep them; return whether they were taken."""
        work = self.open()
        taken = work.take()
        if not taken:
            self.make()
            work.keep()
        assert self.table.read_text() == "".join(path.read_text() for path in self.paths)
        assert (self.folder / "deep" / "x.txt").read_text() == self.table.read_text().upper()
        return taken


def test_what_one_study_made_another_takes_whatever_its_name_and_place(store, tmp_path):
    first, second = Job(tmp_path / "a"), Job(tmp_path / "elsewhere" / "b")
    assert not first.run() and second.run()
    assert size_of(store) == (1, 2 * len("onetwo"))
    logs = second.table.parent / "logs"
    assert sum_taken(logs) == {"copy": {"results": 1, "seconds": pytest.approx(0, abs=5)}}
    assert describe(store, logs) == (
        "Taken from finished work: 1 of copy. Kept for other studies: the work of 1 job, 0.0 MB, in "
        f"{store} (make forget DAYS=0 empties it)"
    )
    # A study's files are its own: they may change, and go, without harm to others.
    second.table.write_text("spoilt")
    assert Job(tmp_path / "c").run()
    # A result that is made after all is no longer told to be taken.
    changed = Job(tmp_path / "elsewhere" / "b", size=2)
    assert not changed.run() and sum_taken(logs) == {}
    assert describe(store, logs).startswith("Kept for other studies: the work of 2 jobs")


def test_a_job_that_is_told_of_no_folder_takes_and_keeps_nothing(tmp_path, monkeypatch):
    for value in (None, OFF):
        monkeypatch.delenv(VARIABLE) if value is None else monkeypatch.setenv(VARIABLE, value)
        assert not Job(tmp_path / "a").run() and not Job(tmp_path / "a").run()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        {"code": "2"}, {"size": 2}, {"size": 1.0}, {"size": True}, {"contents": ("one", "twp")},
        {"contents": ("two", "one")}, {"by_name": {"b": "x"}}, {"new": None},
    ],
)  # fmt: skip
def test_what_was_made_from_anything_else_is_made_anew(store, tmp_path, change):
    assert not Job(tmp_path / "a").run()
    assert not Job(tmp_path / "b", **change).run()


def test_the_order_of_settings_and_the_names_of_stages_count(store, tmp_path):
    def key(stage="copy", **params):
        return FinishedWork.of_job(stage, Job(tmp_path / "a", **params).described).key

    assert key(sets={"a": 1, "b": 2}) != key(sets={"b": 2, "a": 1})
    assert key() != key("other") and key(list=["a", "b"]) != key(list=["ab"]) and key(x=[1]) != key(x=[[1]])
    assert key(x={"a": "b"}) != key(x=[["a", "b"]])


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=300), data=st.data())
def test_a_changed_byte_is_never_served_what_was_made_before_whatever_its_time_says(store, tmp_path, content, data):
    """A checksum that is remembered for unchanged files must not hide it either, in a file as in a folder."""
    folder, memory = tmp_path / "input", store / "digests"
    folder.mkdir(exist_ok=True)
    path = folder / "x.bin"
    path.write_bytes(content)
    settled = content_digests.SETTLED_SECONDS
    try:
        content_digests.SETTLED_SECONDS = 0.0  # remember at once; a step of the file system's clock is waited for
        time.sleep(0.012)
        before = [content_digest(each, memory) for each in (path, folder)]
        assert before == [content_digest(each, memory) for each in (path, folder)]
        place = data.draw(st.integers(0, len(content) - 1))
        other = bytes([content[place] ^ data.draw(st.integers(1, 255))])
        status = path.stat()
        path.write_bytes(content[:place] + other + content[place + 1 :])
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        after = [content_digest(each, memory) for each in (path, folder)]
    finally:
        content_digests.SETTLED_SECONDS = settled
    assert before[0] != after[0] and before[1] != after[1]


def index_pictures(folder, pictures):
    """Write pictures and the tables that name them, as a study does, and return jobs that decode what they name."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, content in zip(paths, pictures, strict=True):
        path.write_bytes(content)
    members = [(path.name, Member(path.name, str(path), 0, -1)) for path in paths]
    write_locations(folder / "locations.parquet", members)
    locations = pq.read_table(folder / "locations.parquet")
    with pytest.MonkeyPatch.context() as patch:  # starting a process for it takes a second
        patch.setattr(photo_checks, "map_isolated", lambda read, tasks, *_: [[read(task) for task in tasks]])
        decoded, _ = photo_checks.check_photographs(locations, 0, 1, folder / "fingerprints.npy")
    write_photographs(folder / "images.arrow", decoded, 0)
    shared = {"params": {"code": {"code": "1"}}, "output": {"made": "made"}, "log": [str(folder / "a.log")]}
    index = SimpleNamespace(input={"locations": str(folder / "locations.parquet")}, **shared)
    decode = SimpleNamespace(input={"images": str(folder / "images.arrow")}, **shared)
    return [
        FinishedWork.of_job("index_images", index, list_named=lambda: list_files(locations)),
        FinishedWork.of_job("decode_photographs", decode, list_named=lambda: list_files(decoded)),
    ]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_of_a_picture_that_a_table_names_finds_nothing_whatever_its_time_says(store, tmp_path, data):
    """Neither as the table was before the change, nor as it is made anew; and what comes back is found again."""
    pictures = [picture_of(seed) for seed in range(3)]
    works = index_pictures(tmp_path / "photos", pictures)
    path = tmp_path / "photos" / f"{data.draw(st.integers(0, 2))}.png"
    content, status = path.read_bytes(), path.stat()
    place = data.draw(st.integers(0, len(content) - 1))
    other = bytes([content[place] ^ data.draw(st.integers(1, 255))])
    path.write_bytes(content[:place] + other + content[place + 1 :])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert all(work.find_key() != work.key for work in works)
    changed = [picture if file != int(path.stem) else path.read_bytes() for file, picture in enumerate(pictures)]
    keys = [work.key for work in works]
    assert all(work.key not in ("", *keys) for work in index_pictures(tmp_path / "photos", changed))
    assert [work.key for work in index_pictures(tmp_path / "photos", pictures)] == keys


def test_pictures_that_change_under_a_job_are_kept_under_no_key_and_too_many_are_not_read(store, tmp_path, monkeypatch):
    job = Job(tmp_path / "a")
    named = tmp_path / "picture"
    named.write_text("x")
    work = FinishedWork.of_job("copy", job.described, list_named=lambda: [str(named)])
    named.write_text("y")
    job.make()
    work.keep()
    assert size_of(store) == (0, 0)
    monkeypatch.setattr(finished_work, "MOST_BYTES_READ", 0)
    work = FinishedWork.of_job("copy", job.described, list_named=lambda: [str(named)])
    assert work.folder is None and not work.take()


def test_large_files_that_inputs_name_are_remembered_and_small_ones_read_each_time(store, tmp_path, monkeypatch):
    monkeypatch.setattr(content_digests, "SETTLED_SECONDS", -3600.0)
    monkeypatch.setattr(content_digests, "LEAST_REMEMBERED_BYTES", 3)
    paths = [tmp_path / "small", tmp_path / "large"]
    for path in paths:
        path.write_text(path.name[:2] if path.name == "small" else path.name)
    assert len({digest_of_all(paths, store) for _ in range(2)}) == 1 and len(list(store.iterdir())) == 1
    assert digest_of_all(reversed(paths), store) != digest_of_all(paths, store)


def test_a_path_inside_an_input_counts_by_the_content_of_the_input(store, tmp_path):
    def key(study, inside):
        job = Job(tmp_path / study)
        (job.paths[0].parent / "f").mkdir(exist_ok=True)
        (job.paths[0].parent / "f" / "x").write_text("x")
        job.described.input["folder"] = str(job.paths[0].parent / "f")
        job.described.params["files"] = {"run": f"{job.described.input['folder']}/{inside}", "text": "a / b"}
        return job.open().key

    assert key("a", "x") == key("b", "x") != key("a", "y")


def test_a_file_that_has_just_been_written_is_read_each_time_and_an_old_one_once(store, tmp_path, monkeypatch):
    path, reads = tmp_path / "x", []
    path.write_text("x")
    checksum = content_digests.checksum
    monkeypatch.setattr(content_digests, "checksum", lambda path: reads.append(path) or checksum(path))
    assert len({content_digest(path, store) for _ in range(3)}) == 1 and len(reads) == 3
    monkeypatch.setattr(content_digests, "SETTLED_SECONDS", -3600.0)
    assert len({content_digest(path, store) for _ in range(3)}) == 1 and len(reads) == 4


def test_an_input_that_changes_under_a_job_is_kept_under_no_key(store, tmp_path):
    job = Job(tmp_path / "a")
    work = job.open()
    job.paths[0].write_text("changed")
    job.make()
    work.keep()
    assert size_of(store) == (0, 0)


@pytest.mark.parametrize("harm", ["change", "truncate", "remove", "manifest", "empty manifest", "other file"])
def test_damaged_work_is_made_anew_and_replaced(store, tmp_path, harm):
    assert not Job(tmp_path / "a").run()
    (manifest,) = store.glob("copy/*/manifest.json")
    kept = manifest.parent / "0"
    if harm == "change":
        kept.write_bytes(kept.read_bytes()[:-1] + b"!")
    elif harm == "truncate":
        kept.write_bytes(kept.read_bytes()[:-1])
    elif harm == "remove":
        kept.unlink()
    elif harm == "other file":
        (manifest.parent / "1" / "y.txt").write_text("")
    else:
        manifest.write_text("{}" if harm == "manifest" else "")
    assert not Job(tmp_path / "b").run()
    assert Job(tmp_path / "c").run()


def test_a_part_of_a_job_is_found_whatever_the_other_parts_are(store, tmp_path):
    """As the embeddings of a run are, in whichever group of runs, study and place."""
    notes = iter(range(9))

    def make(settings, weights):
        place = tmp_path / str(next(notes))
        place.mkdir()
        given, made = place / "given", place / "made"
        given.write_text(weights)
        work = FinishedWork.of_files(
            "embed", place / "a.taken.json", settings, [("weights", str(given))], [("run", str(made))]
        )
        taken = work.take()
        if not taken:
            made.write_text(weights.upper())
            work.begin().keep()
        assert made.read_text() == weights.upper()
        return taken

    assert not make({"prompts": 1}, "one") and make({"prompts": 1}, "one")
    assert not make({"prompts": 2}, "one") and not make({"prompts": 1}, "two")
    assert sum_taken(tmp_path)["embed"]["results"] == 1


def test_a_part_of_a_job_took_the_time_since_it_began(store, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("whyrobust.study.finished_work.time.monotonic", lambda: clock[0])
    given, made = tmp_path / "given", tmp_path / "made"
    given.write_text("one")
    asked = ("embed", tmp_path / "a.taken.json", {}, [("weights", str(given))], [("run", str(made))])
    work = FinishedWork.of_files(*asked)
    clock[0] = 100.0  # other parts were made meanwhile
    begun = work.begin()
    made.write_text("ONE")
    clock[0] = 103.0
    begun.keep()
    assert FinishedWork.of_files(*asked).take()
    assert sum_taken(tmp_path)["embed"]["seconds"] == 3


def test_a_writer_that_was_killed_leaves_nothing_that_is_taken_and_is_cleared_away(store, tmp_path, monkeypatch):
    job = Job(tmp_path / "a")
    with monkeypatch.context() as patch:
        patch.setattr(finished_work, "write_json", lambda *_: os._exit(9))
        child = get_context("fork").Process(target=job.run)
        child.start()
        child.join()
    assert child.exitcode == 9 and list(store.glob("copy/.*.part"))
    assert size_of(store) == (0, 0) and not Job(tmp_path / "b").run() and Job(tmp_path / "c").run()
    (left,) = store.glob("copy/.*.part")
    forget(store, 30)
    assert left.exists(), "it may still be written"
    os.utime(left, (0, 0))
    forget(store, 30)
    assert not left.exists() and size_of(store)[0] == 1


def test_two_writers_of_one_work_do_not_disturb_each_other(store, tmp_path):
    jobs = [Job(tmp_path / str(number)) for number in range(2)]
    works = [job.open() for job in jobs]
    assert [work.take() for work in works] == [False, False]
    for job, work in zip(jobs, works, strict=True):
        job.make()
        work.keep()
    assert size_of(store)[0] == 1 and Job(tmp_path / "c").run()
    assert not list(store.rglob("*.part"))


def test_a_folder_that_cannot_be_written_or_has_too_little_room_stops_no_job(store, tmp_path, monkeypatch):
    store.write_text("a file")
    assert not Job(tmp_path / "a").run() and not Job(tmp_path / "a").run()
    store.unlink()
    monkeypatch.setattr(finished_work, "LARGEST_BYTES", 5)
    assert not Job(tmp_path / "a").run() and size_of(store) == (0, 0)
    monkeypatch.setattr(finished_work, "LARGEST_BYTES", 100)
    monkeypatch.setattr(finished_work, "LEAST_FREE_BYTES", 2**80)
    assert not Job(tmp_path / "a").run() and size_of(store) == (0, 0)
    assert not Job(tmp_path / "a", size={"a set"}).run(), "a parameter that no key can be made of"


def test_what_is_not_used_is_forgotten_by_its_age(store, tmp_path, monkeypatch, capsys):
    for number in range(3):
        Job(tmp_path / "a", size=number).run()
    manifests = {json.loads(path.read_text())["key"]: path for path in store.glob("copy/*/manifest.json")}
    for path in manifests.values():
        os.utime(path, (0, time.time() - 40 * 86_400))
    assert Job(tmp_path / "b", size=1).run(), "and so it is in use again"
    monkeypatch.setattr("sys.argv", ["forget", "--days", "30"])
    forget_command()
    assert capsys.readouterr().out == (
        f"Forgotten in {store}: the work of 2 jobs, 0.0 MB, that no study has used for 30 days. "
        "Kept: of 1 job, 0.0 MB\n"
    )
    assert Job(tmp_path / "b", size=1).run() and not Job(tmp_path / "b", size=2).run()
    monkeypatch.setattr("sys.argv", ["forget", "--days", "0"])
    forget_command()
    assert size_of(store) == (0, 0) and not list(store.glob("digests/*"))


def test_the_folder_is_that_of_the_environment_or_the_config_or_the_users(tmp_path, config):
    home = {"XDG_CACHE_HOME": "/caches"}
    assert chosen_folder(home, None, tmp_path) == Path("/caches/whyrobust/finished")
    assert chosen_folder(home, "work", tmp_path) == tmp_path / "work"
    assert chosen_folder(home | {VARIABLE: "/shared"}, "work", tmp_path) == Path("/shared")
    assert chosen_folder(home | {VARIABLE: OFF}, "work", tmp_path) is None
    assert chosen_folder(home, OFF, tmp_path) is None
    assert chosen_folder({}, "~/work", tmp_path) == Path.home() / "work"
    # As a config is read: `off` would be no text in YAML.
    assert load_config(config | yaml.safe_load("finished_work: none")).finished_work == OFF
