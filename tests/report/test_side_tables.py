"""What the page says of the tables beside the answer: bands of similarity, nearest sources, trends, architectures."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from tests.pages import make_architectures, make_bands, make_doses, make_nearest, make_shifts, make_trends
from whyrobust.report.sections.architectures import architectures_section
from whyrobust.report.sections.distribution import note_trend
from whyrobust.report.sections.similarity import band_table, name_band, nearest_rows


def test_bands_are_named_by_the_source_that_is_nearer():
    edges = ((-2.0, -0.1), (-0.1, -0.03), (-0.03, 0.03), (0.03, 0.1), (0.1, 2.0))
    assert [name_band(low, high, "studio", "web") for low, high in edges] == [
        "studio nearer by .10 or more",
        "studio nearer by .03 to .10",
        "equally near",
        "web nearer by .03 to .10",
        "web nearer by .10 or more",
    ]


def test_bands_have_a_row_each_and_a_cell_a_test_set_and_are_summed_up_over_the_shifts_that_count():
    shifts = make_shifts()
    bands = make_bands()
    bands.loc[bands["test_set"] == "sketch", "difference_points"] += 40  # a case study, in no sum
    table = band_table(bands, list(shifts.loc[shifts["role"] == "shift", "test_set"]))
    assert table.rows[0]["words"] == "studio nearer by .10 or more" and len(table.rows) == 5
    assert "sketch" not in table.rows[0]["cells"] and set(table.rows[1]["cells"]) == set(table.test_sets)
    assert table.rows[4]["cells"]["v2"] == {
        "effect": "+12.0",
        "interval": "+10.0 to +14.0",
        "images": "80 images",
        "few": False,
    }
    assert table.summary == (
        "On images equally near to both, +0.5 points on 1 shift (0 of 1 intervals leave out zero); on those that web "
        "comes clearly nearer to, +12.0 points on 1 shift (1 of 1 intervals leave out zero)."
    )
    assert table.title == "web instead of studio, cross-entropy, 2 pairs" and table.warning == ""
    bands.loc[bands["test_set"] == "v2", "images"] = [29, 30, 30, 30, 4]
    table = band_table(bands, ["v2"])
    assert [row["cells"]["v2"]["few"] for row in table.rows] == [True, False, False, False, True]
    assert table.warning.startswith("2 of 19 cells rest on fewer than 30 images, marked with")


def test_shares_of_nearest_sources_and_of_none_are_whole():
    row = nearest_rows(make_nearest())[2]
    assert row["test_set"] == "v2" and row["equal"] == "50.0 %"
    assert row["cells"] == {
        "studio": {"similarity": "0.86", "nearest": "10.0 %"},
        "web": {"similarity": "0.91", "nearest": "40.0 %"},
    }


def test_a_trend_comes_with_its_interval_and_with_what_could_be_seen_of_it():
    assert note_trend(make_trends(), make_doses(), "v2") == [
        "Trend: +9.1 points (+7.0 to +11.2; p = .04; 2 seeds).",
        "At the largest dose, 100 %, the prediction leaves 20 % of an effect that grows with the dose to be seen.",
    ]
    # A share a little below zero is none.
    assert note_trend(make_trends(), make_doses(), "mean")[1].startswith(
        "At the largest dose, 100 %, the prediction leaves 0 %"
    )
    assert note_trend(make_trends().iloc[:0], make_doses(), "v2") == []
    several = make_trends()
    several = several.loc[several.index.repeat(2)].assign(objective=["clip", "cross_entropy"] * 3)
    doses = make_doses().assign(objective="clip")
    assert (
        note_trend(several, doses, "v2")[0].startswith("Trend: clip: +9.1")
        and len(note_trend(several, doses, "v2")) == 3
    )


def test_differences_between_architectures_are_told_in_points_with_what_they_show():
    section = architectures_section(make_architectures(), 0.5, "logit")
    mean, v2 = section["rows"]
    assert mean["models"] == ("icon cnn", "icon resnet") and mean["is_mean"] and not v2["is_mean"]
    ends = [100 * (expit(logits) - 0.5) for logits in (0.2, 0.6)]
    assert v2["interval"] == f"{ends[0]:+.1f} to {ends[1]:+.1f}" and not v2["spans_zero"]
    assert float(v2["difference"]) == pytest.approx(100 * (expit(0.4) - 0.5), abs=0.05)
    (sentence,) = section["sentences"]
    assert "icon resnet less that with icon cnn" in sentence and "p = .49" in sentence
    assert sentence.endswith("so no difference is shown, nor that there is none.")
    clear = make_architectures().assign(low=0.1, high=0.3)
    assert "so it depends on the architecture" in architectures_section(clear, 0.5, "logit")["sentences"][0]
    unknown = make_architectures().assign(low=np.nan, high=np.nan)
    assert "no difference is shown" in architectures_section(unknown, 0.5, "logit")["sentences"][0]
    assert architectures_section(make_architectures().iloc[:0], 0.5, "logit") == {"rows": [], "sentences": []}
