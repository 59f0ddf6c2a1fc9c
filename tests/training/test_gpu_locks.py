"""GPUs of one's own: never two jobs on one, none lost by a job that is killed, none waited for in vain."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from whyrobust.training.gpu_locks import (
    HELD,
    ORDER,
    VISIBLE,
    GpuError,
    environment_elsewhere,
    hold_gpus,
    machine_gpus,
    own_gpus,
    visible_gpus,
)

#: Stand-ins: nothing here needs a GPU.
MACHINE = ["GPU-a", "GPU-b", "GPU-c"]

#: A job: takes GPUs, notes when it has them, stays a while, notes when it lets go.
JOB = """
import sys, time
from pathlib import Path
from whyrobust.training.gpu_locks import own_gpus
folder, notes = Path(sys.argv[1]), Path(sys.argv[2])
count, seconds = int(sys.argv[3]), float(sys.argv[4])
with own_gpus("cuda", count, sys.argv[5:], folder, pause_seconds=0.02) as own:
    with notes.open("a") as handle:
        handle.write(f"{time.monotonic()} has {' '.join(own)}\\n")
    time.sleep(seconds)
    with notes.open("a") as handle:
        handle.write(f"{time.monotonic()} done\\n")
"""


@pytest.fixture(autouse=True)
def _no_choice_before(monkeypatch):
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.delenv(HELD, raising=False)
    monkeypatch.delenv(ORDER, raising=False)


@pytest.fixture
def start(tmp_path):
    """Start jobs that end with the test at the latest."""
    started = []

    def start_one(number, count, seconds, env=None):
        arguments = [str(tmp_path), str(tmp_path / f"{number}.notes"), str(count), str(seconds), *MACHINE]
        started.append(subprocess.Popen([sys.executable, "-c", JOB, *arguments], env=env))
        return started[-1]

    yield start_one
    for job in started:
        job.kill()
        job.wait()


def has_begun(path: Path) -> bool:
    return path.exists() and "has" in path.read_text()


def wait_for(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_jobs_never_share_a_gpu_whatever_is_killed(tmp_path, start):
    """Twelve jobs of one to three GPUs, some killed while they hold them: every other one gets its turn."""
    rng = random.Random(4)
    counts = [rng.randint(1, 3) for _ in range(12)]
    killed = dict.fromkeys((0, 3, 7), 0.0)
    jobs = [
        start(number, count, 600 if number in killed else rng.uniform(0.05, 0.3)) for number, count in enumerate(counts)
    ]
    waiting = set(killed)
    while waiting:
        wait_for(lambda: any(has_begun(tmp_path / f"{number}.notes") for number in waiting))
        for number in [number for number in waiting if has_begun(tmp_path / f"{number}.notes")]:
            jobs[number].kill()
            jobs[number].wait()
            killed[number] = time.monotonic()
            waiting.remove(number)
    for job in jobs:
        job.wait(timeout=60)
    spans = []
    for number, count in enumerate(counts):
        lines = [line.split() for line in (tmp_path / f"{number}.notes").read_text().splitlines()]
        assert lines[0][1] == "has" and len(set(lines[0][2:])) == count
        end = float(lines[1][0]) if len(lines) > 1 else killed[number]
        assert (len(lines) == 2) == (number not in killed)
        spans += [(gpu, float(lines[0][0]), end) for gpu in lines[0][2:]]
    spans.sort()
    # What a killed job held is free from the kill on, a little before that is noted.
    for (gpu, _, end), (other, begin, _) in pairwise(spans):
        assert gpu != other or begin >= end - 0.1 * (end in killed.values())


def test_a_gpu_is_free_once_its_job_is_killed(tmp_path, start):
    job = start(0, 3, 600)
    wait_for(lambda: has_begun(tmp_path / "0.notes"))
    waiting = start(1, 1, 0)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=2)
    assert not (tmp_path / "1.notes").exists()
    job.kill()
    job.wait()
    assert waiting.wait(timeout=60) == 0


def test_what_a_job_has_is_what_cuda_sees_and_others_take_the_rest(tmp_path, start):
    with own_gpus("cuda", 1, MACHINE, tmp_path) as first:
        assert first == ["GPU-a"] and os.environ[VISIBLE] == "GPU-a" and os.environ[ORDER] == "PCI_BUS_ID"
        environment = {name: value for name, value in os.environ.items() if name not in (VISIBLE, HELD)}
        assert start(0, 2, 0, environment).wait(timeout=60) == 0
        assert "has GPU-b GPU-c" in (tmp_path / "0.notes").read_text()
    assert VISIBLE not in os.environ and HELD not in os.environ and ORDER not in os.environ


def test_a_process_of_a_job_shares_its_gpus(tmp_path):
    with own_gpus("cuda", 2, MACHINE, tmp_path) as own, own_gpus("cuda", 2, MACHINE, tmp_path) as again:
        assert again == own == ["GPU-a", "GPU-b"]


def test_what_a_scheduler_gave_is_kept_to(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "2,1")
    with own_gpus("cuda", 1, MACHINE, tmp_path) as own:
        assert own == ["GPU-c"]
    assert os.environ[VISIBLE] == "2,1"


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (None, MACHINE), ("", []), ("-1", []), ("0", ["GPU-a"]), ("2,0", ["GPU-c", "GPU-a"]), ("1,-1,0", ["GPU-b"]),
        ("GPU-b", ["GPU-b"]), ("MIG-1, MIG-2", ["MIG-1", "MIG-2"]), ("1,1", ["GPU-b"]),
    ],
)  # fmt: skip
def test_a_choice_is_read_as_cuda_reads_it(chosen, expected):
    assert visible_gpus(MACHINE, chosen) == expected


#: What `nvidia-smi -L` says of a machine whose second GPU is divided.
LISTING = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-02348a17-a825-300c-0336-48e33d0dadb2)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
"""


def test_slices_of_a_gpu_are_listed_in_its_place(tmp_path, monkeypatch):
    (tmp_path / "listing").write_text(LISTING, encoding="utf-8")
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat {tmp_path}/listing\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    whole, *slices = machine_gpus()
    assert whole == "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
    assert slices == ["MIG-c7384736-a75d-5afc-978f-d2f1294409fd", "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d"]
    assert visible_gpus([whole, *slices], slices[1]) == slices[1:]
    assert visible_gpus(slices[:1], "0") == slices[:1], "where there is one, its number says which"
    with pytest.raises(GpuError, match=r"=1 gives numbers, .*slices"):
        visible_gpus([whole, *slices], "1")
    with pytest.raises(GpuError, match="ask for one"):
        own_gpus("cuda", 2, slices, tmp_path).__enter__()


def test_numbers_in_another_order_than_nvidia_smis_are_refused(monkeypatch):
    monkeypatch.setenv(ORDER, "FASTEST_FIRST")
    assert visible_gpus(MACHINE, "GPU-b") == ["GPU-b"] and visible_gpus(MACHINE, None) == MACHINE
    with pytest.raises(GpuError, match=r"CUDA_DEVICE_ORDER=FASTEST_FIRST .*UUIDs"):
        visible_gpus(MACHINE, "0")


def test_gpus_of_this_machine_are_named_on_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "1,2")
    assert environment_elsewhere()[VISIBLE] == "1,2", "a scheduler's choice is passed on"
    with own_gpus("cuda", 1, MACHINE, tmp_path):
        found = environment_elsewhere()
    assert VISIBLE not in found and HELD not in found and found["PATH"] == os.environ["PATH"]


def test_more_than_there_are_is_an_error_with_both_numbers(tmp_path, monkeypatch):
    with pytest.raises(GpuError, match=r"4 GPUs .* this machine has 3"), own_gpus("cuda", 4, MACHINE, tmp_path):
        pass
    monkeypatch.setenv(VISIBLE, "1")
    with pytest.raises(GpuError, match=r"2 GPUs .* CUDA_VISIBLE_DEVICES=1 gives this job 1"):
        own_gpus("cuda", 2, MACHINE, tmp_path).__enter__()
    with pytest.raises(GpuError, match="this machine has 0"):
        monkeypatch.delenv(VISIBLE)
        own_gpus("cuda", 1, [], tmp_path).__enter__()


def test_nothing_is_taken_where_none_are_used(tmp_path):
    with own_gpus("cpu", 1, MACHINE, tmp_path) as none, own_gpus("auto", 1, [], tmp_path) as nothing:
        assert none == nothing == []
    assert not list(tmp_path.iterdir()) and VISIBLE not in os.environ
    assert hold_gpus("cpu") == []
