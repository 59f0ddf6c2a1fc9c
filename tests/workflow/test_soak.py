"""Whole studies that are killed again and again, and bad inputs by the thousand: `make soak`, not `make test`."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from tests.bad_tables import DOCUMENTED, make_tables
from tests.data.readers.record_buffers import CLASSES
from tests.data.test_archive_faults import everything, samples
from tests.data.test_image_faults import SAMPLES
from tests.faulty_server import serve_faults
from tests.photo_study import make_photo_folder, write_pictures
from tests.studies import ALONE, differences, digests, make_folder, run_study, snakemake_command
from whyrobust.data.archives import LocationError, Pack, list_archive
from whyrobust.data.decoding import PhotographError, decode
from whyrobust.data.text_cleaning import clean_web_text

pytestmark = pytest.mark.soak

#: How many kills, and how many bad inputs of each kind; fewer to try it out.
KILLS = int(os.environ.get("SOAK_KILLS", "50"))
INPUTS = int(os.environ.get("SOAK_INPUTS", "10000"))
CORES = max(2, os.cpu_count() or 2)

#: Longest time, in seconds, between one kill and the next.
LONGEST_PAUSE_SECONDS = 30.0

#: Share of the calls of Snakemake in which no file may grow beyond a few kilobytes or megabytes: a disk that is full.
FULL_DISK_SHARE = 0.2


class Study:
    """A study in a folder that is run, killed and taken up again until it is whole."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.folder, self.rng = folder, rng
        self.process: subprocess.Popen[bytes] | None = None
        self.disturbed = False
        self.full_disks = 0

    def start(self) -> None:
        """Call Snakemake as a user would after a crash: unlock, then go on."""
        subprocess.run(snakemake_command("--unlock"), cwd=self.folder, capture_output=True, check=False)
        limit = int(10 ** self.rng.uniform(3.5, 6.5)) if self.rng.random() < FULL_DISK_SHARE else None
        self.disturbed = limit is not None
        self.full_disks += limit is not None

        def fill_disk() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        with (self.folder / "terminal.log").open("ab") as log:
            self.process = subprocess.Popen(
                snakemake_command("--cores", str(CORES), "--rerun-incomplete"),
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True, preexec_fn=fill_disk,
                env=os.environ | ALONE,
            )  # fmt: skip

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return what runs in the folder: Snakemake itself, jobs, workers of jobs, and img2dataset."""
        found: dict[str, list[psutil.Process]] = {"snakemake": [], "job": [], "worker": [], "img2dataset": []}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.cwd() != str(self.folder):
                    continue
                command = " ".join(process.cmdline())
                kind = (
                    "img2dataset" if "--url_list" in command
                    else "worker" if "spawn_main" in command
                    else "job" if ".snakemake/scripts" in command
                    else "snakemake" if "-m snakemake" in command and "--cores" in command
                    else ""
                )  # fmt: skip
                if kind:
                    found[kind].append(process)
        return found

    def kill(self) -> str:
        """Kill one process at random and return what it was; nothing where none runs."""
        running = {kind: processes for kind, processes in self.processes().items() if processes}
        if not running:
            return ""
        kind = self.rng.choice(sorted(running))
        number = self.rng.choice([signal.SIGKILL, signal.SIGTERM])
        with contextlib.suppress(psutil.NoSuchProcess):
            self.rng.choice(running[kind]).send_signal(number)
            self.disturbed = True
            return f"{number.name} of {kind if kind in ('snakemake', 'img2dataset') else f'a {kind}'}"
        return ""

    def begin_anew(self) -> None:
        """Take away all that the study has made."""
        shutil.rmtree(self.folder / "results")
        shutil.rmtree(self.folder / ".snakemake")


def kill_again_and_again(
    study: Study, expected: dict[str, str], compared: Callable[[Path], dict[str, str]], soak_counts: Counter[str]
) -> None:
    """Run a study to its end as often as it takes to kill it `KILLS` times; each end must be as expected."""
    rng, kinds = study.rng, Counter[str]()
    study.start()
    while True:
        assert study.process is not None
        if sum(kinds.values()) < KILLS:
            deadline = time.monotonic() + rng.uniform(1.0, LONGEST_PAUSE_SECONDS)
            while study.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            if study.process.poll() is None:
                killed = study.kill()
                if killed:
                    kinds[killed] += 1
                    print(f"{sum(kinds.values())}: {killed}", flush=True)
                continue
        elif study.process.wait() and study.disturbed:
            study.start()
            continue
        if study.process.returncode != 0:
            assert study.disturbed, (study.folder / "terminal.log").read_text(encoding="utf-8")[-4000:]
            soak_counts["interruptions"] += 1
            study.start()
            continue
        found = differences(expected, compared(study.folder))
        soak_counts["differences found"] += len(found)
        soak_counts["studies completed"] += 1
        assert not found, found
        if sum(kinds.values()) >= KILLS:
            break
        study.begin_anew()
        study.start()
    soak_counts["kills survived"] += sum(kinds.values())
    soak_counts["full disks"] += study.full_disks
    soak_counts["faults injected"] += sum(kinds.values()) + study.full_disks
    for kind, count in kinds.items():
        soak_counts[f"  {kind}"] += count


def soak_generator(soak_counts: Counter[str]) -> random.Random:
    """Return a generator by the seed of the environment, or by the time."""
    seed = int(os.environ.get("SOAK_SEED", time.time_ns() % 10**6))
    soak_counts[f"seed {seed}"] = 1
    return random.Random(seed)


def test_a_study_that_is_killed_again_and_again_completes_and_equals_an_undisturbed_one(tmp_path, soak_counts):
    reference = Path(os.environ["SOAK_REFERENCE"]) if "SOAK_REFERENCE" in os.environ else None
    if reference is None:
        reference = make_folder(tmp_path / "undisturbed")
        run_study(reference, CORES)
    study = Study(make_folder(tmp_path / "killed study"), soak_generator(soak_counts))
    kill_again_and_again(study, digests(reference), digests, soak_counts)


def whatever_the_order_of_arrival(folder: Path) -> dict[str, str]:
    """Return the checksums of a study, but of files that hold what was fetched in the order in which it came.

    What is drawn from them does not depend on the order, and counts: subsets, checkpoints and all that follows.
    """
    ordered = ("pairs/", "slices/links", "records/links", "images/links", "decoded/links", "decontaminated/links",
               "compared/links", "text_match/links", "captions/links")  # fmt: skip
    found = digests(folder)
    study = {path: digest for path, digest in found.items() if not path.partition("/")[2].startswith(ordered)}
    records = pq.read_table(folder / "results" / "photographs" / "records" / "links.parquet").sort_by("uid")
    return study | {"records of links": repr(records.to_pylist())}


def test_a_study_of_photographs_that_is_killed_again_and_again_equals_an_undisturbed_one(tmp_path, soak_counts):
    write_pictures(tmp_path / "web")
    with serve_faults(tmp_path / "web") as address:
        reference = make_photo_folder(tmp_path / "undisturbed", address)
        run_study(reference, CORES)
    with serve_faults(tmp_path / "web", int(address.rpartition(":")[2])) as address:  # which makes its faults anew
        study = Study(make_photo_folder(tmp_path / "killed study", address), soak_generator(soak_counts))
        expected = whatever_the_order_of_arrival(reference)
        kill_again_and_again(study, expected, whatever_the_order_of_arrival, soak_counts)


def damage(content: bytes, rng: random.Random) -> bytes:
    """Change, cut, add or take away bytes, more often near the start."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(min(len(changed), rng.choice([40, 400, 10**6])) or 1)
        kind = rng.randrange(4)
        if kind == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randrange(5))
        else:
            changed[at : at + 4] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    return bytes(changed)


def test_thousands_of_damaged_pictures_archives_texts_tables_and_shards(tmp_path, soak_counts):
    rng = random.Random(int(os.environ.get("SOAK_SEED", "0")))
    archives = list(samples(tmp_path).values())
    (tmp_path / "names.txt").write_text("\n".join(CLASSES))
    tables = make_tables(tmp_path)
    for content, name, read in tables.values():  # undamaged ones are read
        (tmp_path / name).write_bytes(content)
        read(str(tmp_path / name))
    for _ in range(INPUTS):
        with contextlib.suppress(PhotographError):
            assert decode(damage(rng.choice(SAMPLES), rng)).mode == "RGB"
        (tmp_path / "archive").write_bytes(damage(rng.choice(archives), rng))
        with contextlib.suppress(LocationError), (tmp_path / "pack").open("wb") as handle:
            list(list_archive(tmp_path / "archive", Pack(handle, tmp_path / "pack"), everything))
        text = damage("<a>caf\u00c3\u00a9 &amp;lt; %20 \u0301 \u202e😀</a>".encode(), rng).decode(
            "utf-8", "surrogateescape"
        )
        clean_web_text(text, rng.random() < 0.5).encode("utf-8")
        content, name, read = tables[rng.choice(list(tables))]
        (tmp_path / name).write_bytes(damage(content, rng))
        with contextlib.suppress(*DOCUMENTED):
            read(str(tmp_path / name))
        soak_counts["bad inputs tried"] += 4
