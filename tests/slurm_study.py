"""`make test-slurm`: the smoke study by the SLURM profile, on a real SLURM that is started on this machine for it.

A job is cancelled in the middle of its work; the study has to end with every output, and that job to have run twice.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.one_node_slurm import missing_commands, one_node_slurm
from tests.studies import ROOT, differences, digests, make_folder, snakemake_command

#: Longest time, in seconds, for the whole study, on a machine with much other work.
LIMIT_SECONDS = 1800.0

#: What the profile leaves to the cluster: the size of the one node here, and how often to look at so short jobs.
CORES = max(2, os.cpu_count() or 2)
MEMORY_MB = 32_000
FOR_THIS_CLUSTER = (
    "--cores", str(CORES), "--max-threads", str(CORES), "--resources", f"mem_mb={MEMORY_MB}", "gpu=1", "turn=1",
    # Each look that finds nothing ended makes the plugin wait 10 s longer for the next.
    "--slurm-init-seconds-before-status-checks", "3", "--seconds-between-status-checks", "1", "--latency-wait", "10",
    # Two submissions of heads at most, as many as run at one time: each starts Snakemake anew.
    "--group-components", "texts=4", "images=8", "labels=4", "subsets=16", "heads=6",
)  # fmt: skip

#: The rule whose first job is cancelled, once its script is at work.
CANCELLED_RULE = "train_run"


def jobs_of(env: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return number, state and comment of all jobs that SLURM knows, in the order of submission."""
    lines = subprocess.run(
        ["squeue", "--states=all", "--noheader", "--sort=i", "--format=%i|%T|%k"],
        env=env, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return [(number, state, comment) for number, state, comment in (line.strip().split("|", 2) for line in lines)]


def cancel_one(env: Mapping[str, str], study: Path) -> str | None:
    """Cancel the first job of the rule, once a script of it has begun its log; return its number, or None."""
    begun = any((study / "results" / "smoke" / "logs" / CANCELLED_RULE).glob("*.log"))
    running = [number for number, state, comment in jobs_of(env) if state == "RUNNING" and CANCELLED_RULE in comment]
    if not begun or not running:
        return None
    subprocess.run(["scancel", running[0]], env=env, check=True)
    return running[0]


def run_study(env: Mapping[str, str], study: Path) -> tuple[int, str | None]:
    """Run the study, cancel a job of it; return the exit status of Snakemake and the number of the cancelled job."""
    command = snakemake_command(
        "--workflow-profile", str(ROOT / "profiles" / "slurm"), *FOR_THIS_CLUSTER
    )  # fmt: skip
    cancelled: str | None = None
    process = subprocess.Popen(command, cwd=study, env=env, start_new_session=True)
    try:
        end = time.monotonic() + LIMIT_SECONDS
        while process.poll() is None and time.monotonic() < end:
            cancelled = cancelled or cancel_one(env, study)
            time.sleep(0.5)
    finally:
        if process.poll() is None:
            # Its jobs end with the SLURM.
            process.kill()
            process.wait()
    return process.returncode, cancelled


def faults(status: int, cancelled: str | None, jobs: list[tuple[str, str, str]], study: Path) -> list[str]:
    """Return what is not as it should be after the study."""
    found = []
    if status != 0:
        found.append(f"Snakemake ended with status {status}")
    rest = subprocess.run(
        snakemake_command("--dry-run", "--quiet"), cwd=study, capture_output=True, text=True, check=False
    )
    if rest.returncode != 0 or "Nothing to be done" not in rest.stdout + rest.stderr:
        found.append(f"not everything is there:\n{rest.stdout[-2000:]}{rest.stderr[-2000:]}")
    states = defaultdict(list)
    for number, state, comment in jobs:
        states[comment].append((number, state))
    again = next((of_job for of_job in states.values() if cancelled in dict(of_job)), [])
    if [state for _, state in again] != ["CANCELLED", "COMPLETED"]:
        found.append(f"the job that was cancelled did not run again to its end: {again}")
    other = [job for job in jobs if job[0] != cancelled and job[1] != "COMPLETED"]
    found += [f"job {number} ({comment}) ended as {state}" for number, state, comment in other]
    return found


def main() -> int:
    """Return 0 where all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", type=Path, help="folder of a finished smoke study, to compare every file with")
    given = parser.parse_args()
    missing = missing_commands()
    if missing or os.geteuid() != 0:
        print(f"root and Debian's slurmctld, slurmd, slurm-client and munge are needed (missing: {missing or 'root'})")
        return 2
    # An interrupt or `kill` stops the daemons too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="whyrobust slurm ") as folder, one_node_slurm(CORES, MEMORY_MB) as env:
        study = make_folder(Path(folder, "study"))
        status, cancelled = run_study(env, study)
        jobs = jobs_of(env)
        found = faults(status, cancelled, jobs, study)
        if given.compare:
            one, other = digests(given.compare), digests(study)
            found += [f"differs from {given.compare}: {path}" for path in differences(one, other)]
            print(f"{len(other)} files compared with {given.compare}")
    for line in found:
        print(line)
    print(f"{len(jobs)} submissions, one of them cancelled: {len(found)} faults, in {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
