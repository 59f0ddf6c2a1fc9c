"""GPUs of one's own, or a share: never too many jobs on one, none lost by a kill, none waited for in vain."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

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
    why_no_job_can_start,
)

#: Stand-ins: nothing here needs a GPU.
MACHINE = ["GPU-a", "GPU-b", "GPU-c"]

#: A job: takes GPUs, notes when it has them, stays a while, notes when it lets go.
JOB = """
import sys, time
from pathlib import Path
from whyrobust.training.gpu_locks import own_gpus
folder, notes = Path(sys.argv[1]), Path(sys.argv[2])
count, seconds, runs_per_gpu = int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
with own_gpus("cuda", count, sys.argv[6:], folder, pause_seconds=0.02, runs_per_gpu=runs_per_gpu) as own:
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

    def start_one(number, count, seconds, env=None, runs_per_gpu=1, machine=MACHINE):
        arguments = [str(tmp_path), str(tmp_path / f"{number}.notes")]
        arguments += [*map(str, (count, seconds, runs_per_gpu)), *machine]
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


def spans_of_jobs(folder, start, asked, killed):
    """Start jobs, kill some while they hold GPUs, and let each of the others have its turn.

    Args:
        folder: of locks and notes.
        start: the fixture.
        asked: for each job how many GPUs it asks for, and how many jobs may share one.
        killed: jobs that hold GPUs until they are killed.

    Returns:
        for each GPU of each job: its name, when the job had it from and to, and the number of the job.
    """
    rng = random.Random(4)
    jobs = [
        start(number, count, 600 if number in killed else rng.uniform(0.05, 0.3), runs_per_gpu=runs_per_gpu)
        for number, (count, runs_per_gpu) in enumerate(asked)
    ]
    killed = dict.fromkeys(killed, 0.0)
    waiting = set(killed)
    while waiting:
        wait_for(lambda: any(has_begun(folder / f"{number}.notes") for number in waiting))
        for number in [number for number in waiting if has_begun(folder / f"{number}.notes")]:
            jobs[number].kill()
            jobs[number].wait()
            killed[number] = time.monotonic()
            waiting.remove(number)
    for job in jobs:
        job.wait(timeout=60)
    spans = []
    for number, (count, _) in enumerate(asked):
        lines = [line.split() for line in (folder / f"{number}.notes").read_text().splitlines()]
        assert lines[0][1] == "has" and len(set(lines[0][2:])) == count
        end = float(lines[1][0]) if len(lines) > 1 else killed[number]
        assert (len(lines) == 2) == (number not in killed)
        # What a killed job held is free from the kill on, a little before that is noted.
        spans += [(gpu, float(lines[0][0]), end - 0.1 * (number in killed), number) for gpu in lines[0][2:]]
    return sorted(spans)


def test_jobs_never_share_a_gpu_whatever_is_killed(tmp_path, start):
    """Twelve jobs of one to three GPUs, some killed while they hold them: every other one gets its turn."""
    rng = random.Random(4)
    asked = [(rng.randint(1, 3), 1) for _ in range(12)]
    for (gpu, _, end, _), (other, begin, _, _) in pairwise(spans_of_jobs(tmp_path, start, asked, (0, 3, 7))):
        assert gpu != other or begin >= end


def test_jobs_never_have_more_than_a_gpu_together_whatever_is_killed(tmp_path, start):
    """Eighteen jobs, alone on one to three GPUs or sharing one with others of their size or of another."""
    rng = random.Random(5)
    asked = [rng.choice([(1, 1), (1, 2), (1, 2), (1, 3), (1, 4), (1, 4), (2, 4), (3, 1)]) for _ in range(18)]
    spans = spans_of_jobs(tmp_path, start, asked, (1, 4, 9))
    shares = [Fraction(1, runs_per_gpu if count == 1 else 1) for count, runs_per_gpu in asked]
    together = [
        [number for other, from_, to, number in spans if other == gpu and from_ <= begin < to]
        for gpu, begin, _, _ in spans
    ]
    assert max(sum(shares[number] for number in numbers) for numbers in together) <= 1
    assert max(map(len, together)) > 1, "none were shared"
    assert not list(tmp_path.glob("*wanted*")), "all have left the queue"


@contextmanager
def job(folder, *, runs_per_gpu, count=1, machine=MACHINE):
    """Take GPUs as another process would, whose environment is not this one's."""
    before = dict(os.environ)
    with own_gpus("cuda", count, machine, folder, runs_per_gpu=runs_per_gpu) as own:
        after = dict(os.environ)
        os.environ.clear()
        os.environ.update(before)
        try:
            yield own
        finally:
            os.environ.clear()
            os.environ.update(after)


class WaitError(Exception):
    """A job would wait."""


@pytest.fixture
def _no_waiting(monkeypatch):
    def refuse(seconds):
        raise WaitError

    monkeypatch.setattr("whyrobust.training.gpu_locks.time.sleep", refuse)


@pytest.mark.usefixtures("_no_waiting")
def test_jobs_share_a_gpu_where_no_other_is_free_and_no_more_than_may(tmp_path):
    with ExitStack() as jobs:
        own = [jobs.enter_context(job(tmp_path, runs_per_gpu=2)) for _ in range(5)]
        assert own == [["GPU-a"], ["GPU-b"], ["GPU-c"], ["GPU-a"], ["GPU-b"]]
        with job(tmp_path, runs_per_gpu=2) as last, pytest.raises(WaitError), job(tmp_path, runs_per_gpu=2):
            pass
        assert last == ["GPU-c"]
        with job(tmp_path, runs_per_gpu=2) as again:
            assert again == last, "what a job has left is free"


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize(
    ("there", "another", "fits"),
    [
        ([4], 1, False), ([1], 4, False), ([2, 4], 4, True), ([4, 4, 4], 2, False), ([2, 2], 4, False),
        ([3, 3], 3, True), ([4, 4, 2], 10**6, False),
    ],
)  # fmt: skip
def test_jobs_that_say_different_numbers_have_no_more_than_a_gpu_together(tmp_path, there, another, fits):
    with ExitStack() as jobs:
        for runs_per_gpu in there:
            jobs.enter_context(job(tmp_path, runs_per_gpu=runs_per_gpu, machine=["GPU-a"]))
        if not fits:
            jobs.enter_context(pytest.raises(WaitError))
        jobs.enter_context(job(tmp_path, runs_per_gpu=another, machine=["GPU-a"]))


@pytest.mark.usefixtures("_no_waiting")
def test_a_job_on_several_gpus_has_them_whole(tmp_path):
    with job(tmp_path, runs_per_gpu=4) as small:
        with job(tmp_path, runs_per_gpu=4, count=2) as large, job(tmp_path, runs_per_gpu=4) as other:
            assert (small, large, other) == (["GPU-a"], ["GPU-b", "GPU-c"], ["GPU-a"])
        with pytest.raises(WaitError), job(tmp_path, runs_per_gpu=4, count=3):
            pass
        with job(tmp_path, runs_per_gpu=4, count=2) as again:
            assert again == large, "those that were tried in vain are free"


@pytest.mark.usefixtures("_no_waiting")
def test_a_job_that_knows_of_no_shares_and_locks_the_file_of_a_gpu_has_it_alone(tmp_path):
    """The one file, under the name that it always had, is all that jobs without shares look at."""
    alone = FileLock(tmp_path / "GPU-a.lock")
    with alone, pytest.raises(WaitError), job(tmp_path, runs_per_gpu=4, machine=["GPU-a"]):
        pass
    with job(tmp_path, runs_per_gpu=4, machine=["GPU-a"]), pytest.raises(Timeout), alone.acquire(timeout=0):
        pass
    with alone:
        pass


@pytest.mark.usefixtures("_no_waiting")
def test_what_a_scheduler_gave_and_slices_are_shared_like_whole_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv(VISIBLE, "2")
    with job(tmp_path, runs_per_gpu=2) as one, job(tmp_path, runs_per_gpu=2) as two:
        assert one == two == ["GPU-c"]
        with pytest.raises(WaitError), job(tmp_path, runs_per_gpu=2):
            pass
    monkeypatch.delenv(VISIBLE)
    slices = ["MIG-1", "MIG-2"]
    with ExitStack() as jobs:
        own = [jobs.enter_context(job(tmp_path, runs_per_gpu=2, machine=slices)) for _ in range(4)]
        assert own == [["MIG-1"], ["MIG-2"], ["MIG-1"], ["MIG-2"]]


def test_a_job_that_needs_a_gpu_whole_is_not_passed_by_those_that_come_later(tmp_path, start):
    one = ["GPU-a"]
    small = [start(number, 1, 600, runs_per_gpu=2, machine=one) for number in (0, 1)]
    wait_for(lambda: all(has_begun(tmp_path / f"{number}.notes") for number in (0, 1)))
    waiting = start(2, 1, 600, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*-of-1.lock")))
    start(3, 1, 600, runs_per_gpu=2, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*-of-2.lock")))
    for each in small:
        each.kill()
        each.wait()
        time.sleep(0.5)
        assert not has_begun(tmp_path / "3.notes")
    wait_for(lambda: has_begun(tmp_path / "2.notes"))
    waiting.kill()
    wait_for(lambda: has_begun(tmp_path / "3.notes"))


def test_a_job_that_is_killed_while_it_waits_keeps_no_place(tmp_path, start):
    one = ["GPU-a"]
    start(0, 1, 600, runs_per_gpu=2, machine=one)
    wait_for(lambda: has_begun(tmp_path / "0.notes"))
    waiting = start(1, 1, 600, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*")))
    waiting.kill()
    waiting.wait()
    start(2, 1, 600, runs_per_gpu=2, machine=one)
    wait_for(lambda: has_begun(tmp_path / "2.notes"))
    assert not list(tmp_path.glob("GPU-a.wanted-*"))


def test_the_place_of_a_job_that_was_killed_goes_where_all_need_the_same(tmp_path, start):
    one = ["GPU-a"]
    first = start(0, 1, 600, machine=one)
    wait_for(lambda: has_begun(tmp_path / "0.notes"))
    waiting = start(1, 1, 600, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*")))
    waiting.kill()
    waiting.wait()
    first.kill()
    start(2, 1, 600, machine=one)
    wait_for(lambda: has_begun(tmp_path / "2.notes"))
    assert not list(tmp_path.glob("GPU-a.wanted-*"))


def test_a_job_that_came_first_is_not_kept_from_a_gpu_by_one_that_needs_more(tmp_path, start):
    one = ["GPU-a"]
    small = [start(number, 1, 600, runs_per_gpu=2, machine=one) for number in (0, 1)]
    wait_for(lambda: all(has_begun(tmp_path / f"{number}.notes") for number in (0, 1)))
    start(2, 1, 600, runs_per_gpu=2, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*-of-2.lock")))
    start(3, 1, 600, machine=one)
    wait_for(lambda: list(tmp_path.glob("GPU-a.wanted-*-of-1.lock")))
    small[0].kill()
    wait_for(lambda: has_begun(tmp_path / "2.notes"))
    assert not has_begun(tmp_path / "3.notes")


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
    with pytest.raises(GpuError, match=r"4 GPUs, and this machine has 3: ask"), own_gpus("cuda", 4, MACHINE, tmp_path):
        pass
    monkeypatch.setenv(VISIBLE, "1")
    with pytest.raises(GpuError, match=r"2 GPUs, and CUDA_VISIBLE_DEVICES=1 gives this job 1:"):
        own_gpus("cuda", 2, MACHINE, tmp_path).__enter__()
    monkeypatch.setenv(VISIBLE, "")
    with pytest.raises(GpuError, match=r"CUDA_VISIBLE_DEVICES= gives its jobs no GPU: unset"):
        own_gpus("cuda", 1, MACHINE, tmp_path).__enter__()
    monkeypatch.setenv("PATH", str(tmp_path))
    for chosen in (None, "0"):
        if chosen is None:
            monkeypatch.delenv(VISIBLE)
        else:
            monkeypatch.setenv(VISIBLE, chosen)
        with pytest.raises(
            GpuError, match=r"device is cuda, and this machine has no GPU \(there is no nvidia-smi .*cpu"
        ):
            own_gpus("cuda", 1, [], tmp_path).__enter__()


#: A program in the place of nvidia-smi, how many GPUs are asked for, and what is said before the first job.
ANSWERS = {
    "none": ("echo 'No devices found.'", 1, "this machine has no GPU (nvidia-smi lists none)"),
    "no driver": ("echo 'cannot reach the driver.'; exit 9", 1, "no GPU (nvidia-smi says: cannot reach the driver.)"),
    "one": ("echo 'GPU 0: NVIDIA X (UUID: GPU-x)'", 1, ""),
    "one of two": ("echo 'GPU 0: NVIDIA X (UUID: GPU-x)'", 2, "a job asks for 2 GPUs, and this machine has 1"),
}


@pytest.mark.parametrize(("answer", "count", "said"), ANSWERS.values(), ids=list(ANSWERS))
def test_what_jobs_will_find_is_said_before_the_first(tmp_path, monkeypatch, answer, count, said):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    found = why_no_job_can_start(count)
    assert said in found and bool(said) == bool(found)
    # In an environment without torch nobody knows, and the jobs will see.
    monkeypatch.setitem(sys.modules, "torch", None)
    if "driver" in answer:
        assert why_no_job_can_start(count) == ""


def test_nothing_is_taken_where_none_are_used(tmp_path):
    with own_gpus("cpu", 1, MACHINE, tmp_path) as none, own_gpus("auto", 1, [], tmp_path) as nothing:
        assert none == nothing == []
    assert not list(tmp_path.iterdir()) and VISIBLE not in os.environ
    assert hold_gpus("cpu") == []
