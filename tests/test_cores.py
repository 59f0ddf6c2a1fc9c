"""Cores that jobs of all studies of a user hold: never more at work than there are, whatever ends a job."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from whyrobust.cores import ON, VARIABLE, cores_in_use, hold_cores, how_to_go_on, lock_folder, stopped_holders

HOLD = """
import sys, time
from pathlib import Path
from whyrobust import cores
cores.LOOK_SECONDS = 0.3
cores.hold_cores(int(sys.argv[2]), lambda stopped: print("waits", *stopped, flush=True), [0, 1], Path(sys.argv[1]))
print("works", flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """Start jobs that hold cores until they are killed."""
    started = []

    def start_one(count, environment=ON):
        job = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(count)],
            stdout=subprocess.PIPE, text=True, env=os.environ | {VARIABLE: environment},
        )  # fmt: skip
        started.append(job)
        return job

    yield start_one
    for job in started:
        job.kill()
        job.wait()


def used(tmp_path):
    return cores_in_use([0, 1], tmp_path)


def end(job):
    job.kill()
    job.wait()


def test_jobs_wait_for_cores_that_a_killed_job_leaves_and_one_with_more_threads_is_not_passed(
    start, tmp_path, monkeypatch
):
    monkeypatch.setenv(VARIABLE, ON)
    assert used(tmp_path) == 0
    first, second = start(1), start(1)
    assert [first.stdout.readline(), second.stdout.readline()] == ["works\n", "works\n"]
    assert used(tmp_path) == 2
    both = start(5)  # more than there are: all of them
    assert both.stdout.readline() == "waits\n"
    later = start(1)
    assert later.stdout.readline() == "waits\n"
    end(first)
    time.sleep(0.5)  # the one that is first in the queue takes the free core
    end(second)
    assert both.stdout.readline() == "works\n"
    assert used(tmp_path) == 2
    end(both)
    assert later.stdout.readline() == "works\n"
    assert used(tmp_path) == 1


def stop(job):
    """Stop a job, as Ctrl-Z does, and wait until it has stopped."""
    job.send_signal(signal.SIGSTOP)
    while psutil.Process(job.pid).status() != psutil.STATUS_STOPPED:
        time.sleep(0.01)


def test_a_job_says_that_what_it_waits_for_is_stopped(start, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, ON)
    holder = start(2)
    assert holder.stdout.readline() == "works\n"
    waiting = start(1)
    assert waiting.stdout.readline() == "waits\n"
    assert stopped_holders([0, 1], tmp_path) == []
    stop(holder)
    assert waiting.stdout.readline() == f"waits {holder.pid}\n"
    behind = start(1)
    assert behind.stdout.readline() == f"waits {holder.pid}\n"
    assert stopped_holders([0, 1], tmp_path) == [holder.pid]
    holder.send_signal(signal.SIGCONT)
    assert [waiting.stdout.readline(), behind.stdout.readline()] == ["waits\n", "waits\n"]
    # The head of the queue keeps those behind it waiting, though cores are free.
    stop(waiting)
    end(holder)
    assert behind.stdout.readline() == f"waits {waiting.pid}\n"
    assert stopped_holders([0, 1], tmp_path) == [waiting.pid]
    waiting.send_signal(signal.SIGCONT)
    assert waiting.stdout.readline() == "works\n"
    # Where it looks once more before its turn comes, it says that nobody is stopped.
    said = behind.stdout.readline()
    assert (behind.stdout.readline() if said == "waits\n" else said) == "works\n"


def test_what_to_do_about_stopped_processes():
    assert how_to_go_on([]) == ""
    assert re.search(r"process 7, which holds cores .* is stopped .* kill -CONT 7,", how_to_go_on([7]))
    assert re.search(r"processes 7 8, which hold cores .* are stopped .* kill -CONT 7 8,", how_to_go_on([7, 8]))


def test_nothing_is_held_where_cores_are_not_shared(start, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, ON)
    jobs = [start(2, "no") for _ in range(2)]
    assert [job.stdout.readline() for job in jobs] == ["works\n", "works\n"]
    assert used(tmp_path) == 0


def test_a_job_of_low_priority_holds_no_core_that_another_waits_for(tmp_path, monkeypatch):
    for name, value in ((VARIABLE, ON), ("TMPDIR", str(tmp_path))):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    hold = HOLD.replace("Path(sys.argv[1])", "None")

    def start(*before):
        command = [*before, sys.executable, "-c", hold, "", "2"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    jobs = [start("nice", "-n", "3"), start()]
    try:
        assert [job.stdout.readline() for job in jobs] == ["works\n", "works\n"]
        assert cores_in_use([0, 1]) == 2
        jobs.append(start("nice", "-n", "3"))
        assert jobs[-1].stdout.readline() == "waits\n"
    finally:
        for job in jobs:
            end(job)


def test_a_folder_of_locks_that_another_user_made_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(VARIABLE, ON)
    assert lock_folder() == lock_folder()
    other = os.getuid() + 1
    (tmp_path / f"whyrobust-cores-{other}").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(PermissionError, match="is of user"):
        lock_folder()
    hold_cores(1, pytest.fail)  # goes on without any
    assert cores_in_use() == 0 and list((tmp_path / f"whyrobust-cores-{other}").iterdir()) == []
