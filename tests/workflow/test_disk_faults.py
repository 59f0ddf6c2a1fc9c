"""A disk without room: a clear error, what was there before stays whole, nothing half is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whyrobust.data.archives import LOCATION_SCHEMA, Member, write_locations
from whyrobust.data.img2dataset import write_pairs
from whyrobust.data.photo_store import index_of, write_photographs
from whyrobust.data.pixel_store import write_pixels
from whyrobust.data.readers.yfcc import YFCC_TEXTS
from whyrobust.data.records import write_drawings, write_records
from whyrobust.files import atomic_path, checksum, write_json, write_table
from whyrobust.logs import advice
from whyrobust.training.checkpoints import Checkpoints
from whyrobust.training.weights import save_weights

RNG = np.random.default_rng(0)
WORDS = ["".join(map(chr, row)) for row in RNG.integers(97, 122, (3000, 60))]


def records():
    columns = {"uid": WORDS, "title": WORDS, "description": WORDS, "tags": [[word] for word in WORDS], "label": None}
    return pd.DataFrame(columns | {"group": WORDS, "collection": "x"})


def located():
    columns = [pa.array(WORDS), pa.array(WORDS).dictionary_encode(), pa.array(range(3000)), pa.array(range(3000))]
    return pa.Table.from_arrays(columns, schema=LOCATION_SCHEMA)


def write_array(path):
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, RNG.random(20_000))


def write_archive(path):
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, a=RNG.random(20_000))


PAIR = {"url": "u", "photoid": "1", "description": "d", "usertags": "t"}

#: Every way in which a stage writes.
WRITERS = {
    "images.arrow": lambda path: write_pixels(path, WORDS[:40], RNG.integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)),
    "photographs.arrow": lambda path: write_photographs(path, index_of(located(), range(len(located()))), 0),
    "records.parquet": lambda path: write_records(path, records()),
    "drawings.parquet": lambda path: write_drawings(path, pd.DataFrame({"uid": WORDS, "svg": WORDS})),
    "locations.parquet": lambda path: write_locations(path, [(word, Member(word, word, 0, 1)) for word in WORDS]),
    "pairs.parquet": lambda path: write_pairs(path, YFCC_TEXTS, (PAIR | {"title": word} for word in WORDS)),
    "model.safetensors": lambda path: save_weights(path, {"a": torch.randn(50_000)}, {"run": "x"}),
    "checkpoint.pt": lambda path: Checkpoints(path).write({"a": torch.randn(50_000)}),
    "facts.json": lambda path: write_json(path, WORDS),
    "table.csv": lambda path: write_table(path, pd.DataFrame({"a": WORDS})),
    "table.parquet": lambda path: write_table(path, pd.DataFrame({"a": WORDS})),
    "fingerprints.npy": write_array,
    "draws.npz": write_archive,
}


@contextlib.contextmanager
def room_for(size):
    """Let no file grow beyond a size: what the kernel then says is what it says of a full disk, with another number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", list(WRITERS))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.95))
def test_a_full_disk_leaves_the_old_file_whole_and_nothing_half(tmp_path, name, share):
    path = tmp_path / name
    WRITERS[name](path)
    before, size = checksum(path), path.stat().st_size
    assert size > 1000
    with (
        pytest.raises(Exception, match=r"(?i)too large|\(os error 27\)|written|Errno 27") as caught,
        room_for(int(share * size)),
    ):
        WRITERS[name](path)
    if name != "fingerprints.npy":  # numpy says how much was written, and no more
        assert isinstance(caught.value, OSError) and caught.value.filename == str(path)
        assert str(path) in str(caught.value) and "run the same command again" in advice(caught.value, tmp_path)
    assert checksum(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    WRITERS[name](path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_what_to_do_about_a_full_disk_is_said(tmp_path, number):
    assert "make room, then run the same command again" in advice(OSError(number, os.strerror(number)), tmp_path)


def test_what_to_do_about_a_folder_that_may_not_be_written_to_is_said(tmp_path):
    assert "may not be written to" in advice(OSError(errno.EROFS, "Read-only file system"), tmp_path)
    assert advice(ValueError("the table lacks a column"), tmp_path) == ""


def test_the_room_that_is_said_is_that_of_the_file_that_could_not_be_written(tmp_path):
    other = tmp_path / "results" / "not there yet"
    for error in (OSError(errno.ENOSPC, "No space", str(other / "a.csv")), OSError(errno.ENOSPC, "No space")):
        where = other if error.filename else tmp_path
        assert f"are free in {where})" in advice(error, tmp_path)
    assert advice(PermissionError(errno.EACCES, "No", str(other / "a.csv")), tmp_path).startswith(str(other))


def test_the_first_error_of_a_disk_that_became_read_only_is_the_one_that_is_raised(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(ValueError, match="of the writer"), atomic_path(tmp_path / "a.csv"):
        raise ValueError("of the writer")


def test_results_that_cannot_be_written_stop_a_study_by_one_line(workspace, snakemake):
    (workspace / "results").mkdir()
    # Nobody may put files there, root included.
    (workspace / "results" / "icons").symlink_to("/sys/fs")
    done = snakemake(workspace, "--cores", "1", "--until", "build_records")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said
    assert "Nothing can be written into results/icons" in said and "Finished job" not in said


def test_the_log_and_the_terminal_have_the_advice(tmp_path):
    program = (
        "import errno, os\nfrom whyrobust.logs import start_log\nstart_log('study.log')\n"
        "raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode != 0
    for text in (done.stderr, (tmp_path / "study.log").read_text(encoding="utf-8")):
        assert "No space left on device" in text and "make room" in text


def test_a_place_that_is_no_folder_is_an_error_that_names_it(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises((NotADirectoryError, FileExistsError), match="results"):
        write_json(tmp_path / "results" / "a.json", {})


@pytest.mark.parametrize("folder", ["with space", "ümläut ñ 图", "percent %20 {brace} 'quote'"])
def test_paths_of_any_letters_are_written_and_read(tmp_path, folder):
    from whyrobust.data.pixel_store import PixelStore
    from whyrobust.training.weights import read_weights

    place = tmp_path / folder
    for name, write in WRITERS.items():
        write(place / name)
    assert len(PixelStore.open(place / "images.arrow")) == 40
    assert read_weights(place / "model.safetensors")["a"].shape == (50_000,)
