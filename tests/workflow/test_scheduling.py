"""How Snakemake looks for jobs to start: its main process takes part of the cores that training could have."""

from __future__ import annotations

import os

import yaml


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


def test_gpus_that_this_machine_lacks_stop_a_run_before_its_first_job(snakemake, workspace, monkeypatch):
    """A dry run may be on a login node, and jobs that need no GPU run anywhere."""
    config = yaml.safe_load((workspace / "config.yaml").read_text(encoding="utf-8"))
    config["training"] |= {"device": "cuda"}
    (workspace / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (workspace / "nvidia-smi").write_text("#!/bin/sh\necho 'No devices found.'\n", encoding="utf-8")
    (workspace / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{workspace}{os.pathsep}{os.environ['PATH']}")
    assert snakemake(workspace, "--dry-run").returncode == 0
    assert snakemake(workspace, "--cores", "1", "results/reference/baselines.csv").returncode == 0
    done = snakemake(workspace, "--cores", "1", timeout=120)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "Traceback" not in said and "Finished job" not in said
    assert "training.device is cuda, and this machine has no GPU (nvidia-smi lists none): set it to cpu or auto" in said
    assert not (workspace / "results" / "icons").exists()
