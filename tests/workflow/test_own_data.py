"""docs/own-data.md, run exactly as it stands on a folder that has what the page says."""

from __future__ import annotations

import random
import re
import shlex

import pandas as pd

from tests.replicas import own_data


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_it_stands(root, tmp_path, snakemake):
    page = (root / "docs" / "own-data.md").read_text(encoding="utf-8")
    (tmp_path / "resources").symlink_to(root / "resources")
    own_data(tmp_path / "my-data", random.Random(0))
    commands, layout = blocks(page, "")[:2]
    targets = re.findall(r"^make (\S+)", commands, re.MULTILINE)
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    assert targets == ["new", "describe"] and all(f"\n{target}: " in makefile for target in targets)
    listed = re.findall(r"^  (\S+)", layout, re.MULTILINE)
    assert listed
    for name in listed:
        assert (tmp_path / "my-data" / name.split("<")[0].rstrip("/")).exists(), name
    for written, file in zip(blocks(page, "csv"), ("classes.csv", "captions.csv"), strict=True):
        header = (tmp_path / "my-data" / file).read_text(encoding="utf-8").splitlines()[0]
        assert header == written.splitlines()[0]
    config = blocks(page, "yaml")[0]
    assert len(config.splitlines()) < 30
    (tmp_path / "my-study.yaml").write_text(config, encoding="utf-8")
    program, *arguments = shlex.split(blocks(page, "bash")[0])
    assert program.endswith("snakemake")
    done = snakemake(tmp_path, *arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    results = tmp_path / "results" / "mine"
    assert (results / "report.html").exists()
    causes = pd.read_csv(results / "causes.csv")
    assert set(causes["cause"]) == {"language_at_training"} and (causes["pairs"] == 4).all()
    accuracy = pd.read_csv(results / "accuracy.csv")
    labels = accuracy[(accuracy["objective"] == "cross_entropy") & (accuracy["test_set"] == "same")]
    assert labels["accuracy"].max() > 0.5  # six classes: chance is 0.17
