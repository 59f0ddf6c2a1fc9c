"""What views and mixtures are made of."""

from __future__ import annotations

from whyrobust.study.config import load_config
from whyrobust.study.derived_sources import DerivedSource, derived_sources


def test_views_and_mixtures_are_described_and_other_sources_are_not(config):
    config["sources"]["web_in_grey"] = {"kind": "view", "of": "web", "colour": "grey"}
    config["sources"]["web_without_colour"] = {"kind": "view", "of": "web", "colour": "none"}
    sources = load_config(config).sources
    used = ["web", "web_without_colour", "studio", "tenth_web", "web_in_grey"]
    assert list(derived_sources(sources, used).items()) == [
        ("web_without_colour", DerivedSource({"web": 1.0})),
        ("tenth_web", DerivedSource({"studio": 0.9, "web": 0.1})),
        ("web_in_grey", DerivedSource({"web": 1.0}, grey=True)),
    ]
