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


def test_a_dry_run_that_shows_no_jobs_finds_what_each_asks_for(snakemake, workspace):
    """It formats nothing that is not shown, but an expression in a profile that is wrong stops it."""
    done = snakemake(workspace, "--dry-run")
    output = done.stdout + done.stderr
    assert done.returncode == 0 and "draw_subset" in output and "rule draw_subset:" not in output
    assert "Warning" not in output, "no warning about sizes of inputs that are not there yet"
    wrong = snakemake(workspace, "--dry-run", "--set-resources", "draw_subset:mem_mb=attempt/0")
    assert wrong.returncode != 0 and "draw_subset" in wrong.stdout + wrong.stderr
