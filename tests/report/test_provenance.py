"""The record of a finished study."""

from whyrobust.report import provenance


def test_stage_times_are_summed_by_stage(tmp_path):
    (tmp_path / "train_run").mkdir()
    for number, seconds in enumerate((1.5, 2.0)):
        (tmp_path / "train_run" / f"{number}.tsv").write_text(f"s\tmax_rss\n{seconds}\t{100 + number}\n")
    (tmp_path / "score_heads.tsv").write_text("s\tmax_rss\n3\t-\n")
    times = provenance.stage_times(tmp_path)
    assert times["train_run"] == {"jobs": 2, "seconds": 3.5, "memory_mb": 101.0}
    assert times["score_heads"]["memory_mb"] == 0.0


def test_a_record_shows_no_password():
    config = {"test_sets": {"objectnet": {"password": "secret", "sets": [{"password": "secret"}, 1]}}, "seeds": (0, 1)}
    shown = provenance.without_secrets(config)
    assert "secret" not in str(shown) and shown["seeds"] == [0, 1]
    assert set(shown["test_sets"]["objectnet"]) == {"password", "sets"}
