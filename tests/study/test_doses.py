"""The series of mixtures of a study."""

from __future__ import annotations

from whyrobust.study.config import load_config
from whyrobust.study.doses import DoseSeries, dose_series


def test_the_mixtures_of_two_sources_are_a_series_by_rising_share(config):
    sources = load_config(config).sources
    (series,) = dose_series(sources, sources)
    assert (series.start, series.end) == ("studio", "web")
    assert list(series.shares.items()) == [
        ("studio", 0.0), ("tenth_web", 0.1), ("quarter_web", 0.25), ("half_web", 0.5), ("three_quarters_web", 0.75),
        ("web", 1.0),
    ]  # fmt: skip
    assert series.views == {"web_at_studio_classes": 1.0}


def test_mixtures_that_no_run_is_trained_on_and_those_of_three_are_left_out(config):
    config["sources"]["third"] = {"kind": "icons", "part": "web"}
    config["sources"]["all"] = {"kind": "mixture", "shares": {"studio": 0.5, "web": 0.25, "third": 0.25}}
    config["sources"]["other"] = {"kind": "mixture", "shares": {"web": 0.4, "third": 0.6}}
    sources = load_config(config).sources
    assert dose_series(sources, ["studio", "web", "half_web", "all", "other"]) == [
        DoseSeries("studio", "web", {"studio": 0.0, "half_web": 0.5, "web": 1.0}, {}),
        DoseSeries("web", "third", {"web": 0.0, "other": 0.6, "third": 1.0}, {}),
    ]
    assert dose_series(sources, ["studio", "web"]) == []
