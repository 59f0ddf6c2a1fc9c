"""How Snakemake looks for jobs to start: its main process takes part of the cores that training could have."""

from __future__ import annotations


def test_waiting_jobs_are_looked_at_when_a_job_ends_and_not_every_second(snakemake, workspace):
    """Three short jobs, one after another: one look at the start and one after each end but the last."""
    targets = ["results/reference/baselines.csv", "results/published/report.html"]
    done = snakemake(workspace, "--cores", "1", "--verbose", *targets)
    assert done.returncode == 0, done.stderr[-2000:]
    text = done.stdout + done.stderr
    ended, looks = text.count("Finished jobid"), text.count("Resources before job selection")
    assert ended == 3 and looks <= ended
