"""The record of a finished study."""

import json
from types import SimpleNamespace

import pandas as pd

from whyrobust.report import provenance
from whyrobust.study.finished_work import TAKEN


def test_stage_times_are_summed_by_stage(tmp_path):
    (tmp_path / "train_run").mkdir()
    for number, seconds in enumerate((1.5, 2.0)):
        (tmp_path / "train_run" / f"{number}.tsv").write_text(f"s\tmax_rss\n{seconds}\t{100 + number}\n")
    (tmp_path / "score_heads.tsv").write_text("s\tmax_rss\n3\t-\n")
    times = provenance.stage_times(tmp_path, {"train_run", "score_heads"})
    assert times["train_run"] == {"jobs": 2, "seconds": 3.5, "memory_mb": 101.0}
    assert times["score_heads"]["memory_mb"] == 0.0


def test_a_record_has_the_times_of_stages_that_end_before_it_is_written(tmp_path):
    """Figures are drawn beside the page: whether they are done by then, or were drawn before, makes no difference."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "logs").mkdir()
    for stage in ("train_run", "draw_figures"):
        (tmp_path / "benchmarks" / f"{stage}.tsv").write_text("s\tmax_rss\n3\t100\n")
        (tmp_path / "logs" / f"{stage}{TAKEN}").write_text(json.dumps({"stage": stage, "seconds": 5.0}))
    # A job that begins anew removes what it left before, or writes it just now.
    (tmp_path / "benchmarks" / "draw_figures.tsv").write_text("s")
    (tmp_path / "benchmarks" / "draw_figures").mkdir()
    (tmp_path / "benchmarks" / "draw_figures" / "gone.tsv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "logs" / f"gone{TAKEN}").symlink_to(tmp_path / "nowhere")
    record = provenance.record_study("s", {}, [], pd.DataFrame(), pd.DataFrame(), [], [], tmp_path)
    assert set(record["seconds_by_stage"]) == set(record["taken_from_finished_work"]) == {"train_run"}


def test_a_record_shows_no_password():
    config = {"test_sets": {"objectnet": {"password": "secret", "sets": [{"password": "secret"}, 1]}}, "seeds": (0, 1)}
    shown = provenance.without_secrets(config)
    assert "secret" not in str(shown) and shown["seeds"] == [0, 1]
    assert set(shown["test_sets"]["objectnet"]) == {"password", "sets"}


def test_every_source_is_licensed_but_no_excluded_set():
    file = SimpleNamespace(name="archive", citation="Somebody 2024", licence="MIT")
    icon_sets = pd.DataFrame(
        [("kept", "a team", "web", "Apache-2.0"), ("left out", "a team", "excluded", "MIT")],
        columns=["set", "team", "part", "licence"],
    )
    licences = provenance.list_licences([file], icon_sets)
    assert licences["name"].tolist() == ["archive", "kept"]
    assert licences["by"].tolist() == ["Somebody 2024", "a team"]
    assert licences["part"].tolist() == ["downloaded", "web"]
    assert list(provenance.list_licences([], None)) == ["name", "by", "part", "licence"]


def test_images_are_counted_for_the_stages_that_process_them():
    accuracy = pd.DataFrame({"test_set": ["v2", "sketch", "v2", "v2@sketch"], "images": [100, 20, 100, 10]})
    counts = provenance.count_images(5_000, accuracy, ["v2", "sketch"], pd.DataFrame({"decoded": [7, 3]}), 2)
    assert counts["train_run"] == 5_000 and counts["embed_test_sets"] == 240 and counts["decontaminate"] == 10
