"""The result card: what it holds is what results/README.md says, and only a card of this layout is read."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest

from tests.pages import make_card_of, make_runs, make_study
from whyrobust.files import write_json
from whyrobust.report.result_card import LAYOUT, read_card


@pytest.fixture(scope="module")
def study():
    return make_study(make_runs())


def test_a_card_comes_back_from_its_file_with_the_numbers_of_the_tables(study, tmp_path):
    write_json(tmp_path / "card.json", make_card_of(study))
    card = read_card(tmp_path)
    causes = study.causes
    assert len(card["effects"]) == len(causes) and len(card["test_sets"]) == len(study.shifts)
    assert [row["effect_points"] for row in card["effects"]] == causes["effect_points"].tolist()
    # What is missing in a table is null, and so missing in a table made of the card.
    sketch = next(row for row in card["effects"] if row["shift"] == "sketch")
    assert sketch["p_adjusted"] is None and pd.DataFrame(card["effects"])["p_adjusted"].isna().sum() == 4
    model = card["models"][-1]  # has another head too
    main = study.accuracy[study.accuracy["main"] & (study.accuracy["run"] == model["run"])]
    assert model["accuracy"] == dict(zip(main["test_set"], main["accuracy"], strict=True))
    effective = study.effective[study.effective["main"] & (study.effective["run"] == model["run"])]
    assert model["effective_robustness_points"] == pytest.approx(
        dict(zip(effective["shift"], effective["effective_robustness_points"], strict=True))
    )


def test_the_layout_is_the_one_that_the_page_on_results_describes(study, root):
    page = (root / "results" / "README.md").read_text(encoding="utf-8")
    section = page[page.index("\n## `card.json`") :]
    card = make_card_of(study)
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(card)
    assert f"Layout {LAYOUT}." in section and card["layout"] == LAYOUT
    assert all(f"`{name}`" in section for name in card["versions"])
    # The columns of effects are described with the table that they come from.
    assert all(f"`{name}`" in page for name in (*card["effects"][0], *card["test_sets"][0]))


def test_what_is_no_card_of_this_layout_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no card\.json: give the results folder of a finished study"):
        read_card(tmp_path)
    path = tmp_path / "card.json"
    for text, words in (("{", "is no JSON"), ("[]", "layout None"), (json.dumps({"layout": LAYOUT + 1}), "layout 2")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            read_card(tmp_path)
