"""Effects over architectures: against plain means and t intervals, moderation by simulation, verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tools.write_published import PAGES, fill
from whyrobust.analysis.published_study import TABLES, make_tables
from whyrobust.study.display_names import MEAN, NO_INTERVAL, RAISES, UNDECIDED

ROOT = Path(__file__).parents[2]
SWSL = "pseudo-labels of Instagram hashtags (IG-1B) (teacher: Instagram hashtags)"
SSL = "pseudo-labels of YFCC-100M (teacher: ImageNet-1k labels)"
IN1K = "labels of ImageNet-1k"


@pytest.fixture(scope="module")
def tables():
    return make_tables(ROOT / "resources" / "reference")


def effect(tables, question, control, treatment, shift=MEAN, line="testbed"):
    table = tables["effects"]
    chosen = (table["question"] == question) & (table["control"] == control) & (table["treatment"] == treatment)
    rows = table[chosen & (table["shift"] == shift) & (table["line"] == line)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_the_rule_writes_every_table(tables):
    text = (ROOT / "workflow" / "rules" / "published.smk").read_text(encoding="utf-8")
    assert set(tables) == set(TABLES)
    for name, table in tables.items():
        assert f'{name}="results/published/{name}.csv"' in text and len(table), name


def test_means_and_plain_intervals_are_those_of_the_pairs(tables):
    """An architecture is one unit, however many pairs it has."""
    pairs = tables["pairs"]
    for shift in ("imagenet-v2", "imagenet-r"):
        for control, treatment in ((IN1K, SWSL), (IN1K, "labels of ImageNet-21k")):
            chosen = (pairs["control"] == control) & (pairs["treatment"] == treatment) & (pairs["shift"] == shift)
            mine = pairs[chosen & (pairs["line"] == "testbed")]
            units = [group["effect_logits"].mean() for _, group in mine.groupby("architecture_class")]
            row = effect(tables, "language_training", control, treatment, shift)
            assert (row["pairs"], row["architectures"]) == (len(mine), len(units))
            assert row["effect_logits"] == pytest.approx(np.mean(units))
            half = stats.t.ppf(0.975, len(units) - 1) * np.std(units, ddof=1) / np.sqrt(len(units))
            assert row["high_plain_logits"] - row["effect_logits"] == pytest.approx(half)
            assert row["extrapolated_share"] == pytest.approx(mine["extrapolated"].mean())


def test_the_mean_is_over_three_shifts_of_one_architecture(tables):
    parts = [
        effect(tables, "language_training", IN1K, SWSL, shift)
        for shift in ("imagenet-v2", "imagenet-sketch", "imagenet-r")
    ]
    row = effect(tables, "language_training", IN1K, SWSL)
    assert row["effect_logits"] == pytest.approx(np.mean([part["effect_logits"] for part in parts]))
    assert row["raw_shift_points"] == pytest.approx(np.mean([part["raw_shift_points"] for part in parts]))
    assert row["pairs"] == parts[0]["pairs"]


def test_one_architecture_has_no_interval(tables):
    row = effect(tables, "distribution", "YFCC-15M", "CC-12M")
    assert row["architectures"] == 1 and row["verdict"] == NO_INTERVAL
    assert np.isnan(row[["low_points", "high_points", "p", "q", "detectable_points"]].astype(float)).all()
    several = tables["effects"][tables["effects"]["architectures"] >= 2]
    assert several["low_points"].notna().all() and (several["low_points"] <= several["effect_points"]).all()


def test_hashtags_are_as_robust_as_captions_and_yfcc_is_not(tables):
    """The claim of the issue, on pairs that the rule picked."""
    hashtags = effect(tables, "language_training", IN1K, SWSL)
    captions = effect(tables, "language_training", IN1K, "captions")
    yfcc = effect(tables, "language_training", IN1K, SSL)
    assert hashtags["verdict"] == captions["verdict"] == RAISES and yfcc["verdict"] == "within ±2"
    assert hashtags["effect_points"] == pytest.approx(12.7, abs=0.1)
    assert captions["effect_points"] == pytest.approx(10.3, abs=0.1)
    assert yfcc["effect_points"] == pytest.approx(0.7, abs=0.1)
    direct = effect(tables, "distribution", "YFCC-100M", "Instagram hashtags (IG-1B)")
    assert direct["verdict"] == RAISES and direct["architectures"] == 6
    indirect = tables["indirect"]
    rows = indirect[(indirect["shift"] == MEAN) & (indirect["line"] == "testbed") & (indirect["control"] == IN1K)]
    row = rows[(rows["first"] == "captions") & (rows["second"] == SWSL)].iloc[0]
    assert row["effect_logits"] == pytest.approx(hashtags["effect_logits"] - captions["effect_logits"])
    assert row["low_points"] < 0 < row["high_points"] and row["verdict"] == UNDECIDED
    variance = hashtags["se_logits"] ** 2 + captions["se_logits"] ** 2
    degrees = variance**2 / (
        hashtags["se_logits"] ** 4 / hashtags["degrees_of_freedom"]
        + captions["se_logits"] ** 4 / captions["degrees_of_freedom"]
    )
    half = stats.t.ppf(0.975, degrees) * np.sqrt(variance)
    assert row["high_logits"] == pytest.approx(row["effect_logits"] + half)


def test_treatments_with_a_common_architecture_are_not_compared_indirectly(tables):
    rows = tables["indirect"]
    assert rows[(rows["first"] == SWSL) & (rows["second"] == SSL)].empty
    assert rows[(rows["first"] == SSL) & (rows["second"] == SWSL)].empty


def test_claims_stand_side_by_side(tables):
    claims = tables["claims_by_line"]
    row = claims[(claims["control"] == IN1K) & (claims["treatment"] == SWSL) & (claims["shift"] == MEAN)].iloc[0]
    assert (row["verdict_testbed"], row["verdict_timm_in1k"], row["depends_on_line"]) == (RAISES, RAISES, False)
    changed = claims["verdict_testbed"] != claims["verdict_timm_in1k"]
    assert claims.loc[changed, "depends_on_line"].all()
    effects = tables["effects"]
    timm = effects[(effects["line"] == "timm_in1k")]
    assert len(claims) == len(timm) and "objectnet" not in set(claims["shift"])


def test_families_left_out(tables):
    pairs, rows = tables["pairs"], tables["families"]
    row = rows[(rows["control"] == IN1K) & (rows["treatment"] == SWSL) & (rows["line"] == "testbed")]
    row = row[row["shift"] == "imagenet-r"].iloc[0]
    chosen = (pairs["control"] == IN1K) & (pairs["treatment"] == SWSL) & (pairs["shift"] == "imagenet-r")
    mine = pairs[chosen & (pairs["line"] == "testbed")]
    assert set(mine["family"]) == {"resnet", "resnext"} and row["sign_holds"]
    kept = mine[mine["family"] != row["without_lowest"]].groupby("architecture_class")["effect_logits"].mean().mean()
    assert kept < mine.groupby("architecture_class")["effect_logits"].mean().mean()
    assert row["lowest_points"] < row["effect_points"] < row["highest_points"]


def test_undocumented_models_and_their_fields(tables):
    table = tables["undocumented"].set_index("model")
    assert "teacher" in table.loc["hgnetv2_b0.ssld_stage2_ft_in1k", "empty"]
    assert table.loc["nextvit_small.bd_ssld_6m_in1k", "empty"] == "data, teacher"
    assert "resnet50.fb_swsl_ig1b_ft_in1k" not in table.index
    used = pd.concat([tables["pairs"]["model_control"], tables["pairs"]["model_treatment"]])
    assert not set(used) & set(table.index)


def test_pages_have_the_tables_of_today(tables):
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert "made by python -m tools.write_published" in text
        assert fill(text, tables) == text, "run python -m tools.write_published"
