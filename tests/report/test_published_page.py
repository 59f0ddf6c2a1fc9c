"""The page of published models: words and tables agree, and in a browser it finds models and lists pairs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pages import FAINT_MARKS, make_page, make_reference
from whyrobust.analysis.pretraining import read_pretraining
from whyrobust.analysis.published_lines import TESTBED_LINE
from whyrobust.analysis.published_study import make_tables, read_tables
from whyrobust.files import write_table
from whyrobust.report.number_format import format_points
from whyrobust.report.published_findings import (
    CAVEATS,
    HASHTAG_LABELS,
    NAMED,
    QUESTIONS,
    answers,
    choose_main,
    headline,
    mean_effects,
    summarise,
)
from whyrobust.report.published_page import render_published
from whyrobust.study.display_names import MEAN

REFERENCE = Path(__file__).parents[2] / "resources" / "reference"
POINTS = ".mark-symbol path[d]:not([d=''])"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """Return the tables as the rule reads them from files."""
    folder = tmp_path_factory.mktemp("published")
    for name, table in make_tables(REFERENCE).items():
        write_table(folder / f"{name}.csv", table)
    return read_tables(folder)


@pytest.fixture(scope="module")
def html(tables):
    return render_published(tables, read_pretraining(REFERENCE))


def row_of(tables, question, control, treatment, basis=""):
    effects = tables["effects"]
    chosen = effects[
        (effects["question"] == question)
        & (effects["control"] == control)
        & (effects["treatment"] == treatment)
        & (effects["basis"] == basis)
        & (effects["line"] == TESTBED_LINE)
        & (effects["shift"] == MEAN)
    ]
    (row,) = chosen.to_dict("records")
    return row


# --- Words --------------------------------------------------------------------------------------------------


def test_every_comparison_that_a_question_names_is_told_with_the_numbers_of_the_table(tables):
    told = {one.question: one.sentences for one in answers(tables["effects"], tables["indirect"])}
    assert list(told) == list(QUESTIONS)
    for question, named in NAMED.items():
        for place, (control, treatment, basis) in enumerate(named):
            row, sentence = row_of(tables, question, control, treatment, basis), told[question][place]
            assert format_points(row["effect_points"]) in sentence
            if row["architectures"] == 1:
                assert "1 architecture, so no interval" in sentence and "raises" not in sentence
            else:
                ends = f"({format_points(row['low_points'])} to {format_points(row['high_points'])};"
                assert ends in sentence and f"{row['architectures']} architectures" in sentence
            clause = {"raises": "raises effective", "lowers": "lowers effective", "within ±2": "less than 2 points"}
            assert row["verdict"] not in clause or clause[row["verdict"]] in sentence


def test_caveats_are_those_of_the_pairs(tables):
    for (control, treatment), said in CAVEATS.items():
        pairs = tables["pairs"]
        differs = pairs.loc[(pairs["control"] == control) & (pairs["treatment"] == treatment), "also_differs"]
        for word, field in (("teacher", "teacher"), ("number of images", "images"), ("data", "data")):
            if word in said:
                assert len(differs) and differs.str.contains(f"(?:^|; ){field}: ").mean() > 0.9, (
                    control,
                    treatment,
                    field,
                )


def test_words_follow_the_verdicts(tables):
    """The same effect with other intervals is told with other words, and none claims more than its interval."""
    effects = tables["effects"].copy()
    chosen = (effects["treatment"] == "CoCa") & (effects["shift"] == MEAN)
    for verdict, words in (("raises", "raises effective robustness"), ("undecided", ": undecided")):
        effects.loc[chosen, "verdict"] = verdict
        (sentence,) = answers(effects, tables["indirect"])[-1].sentences
        assert words in sentence
    assert "1 undecided" in answers(effects, tables["indirect"])[-1].summary
    hashtags = answers(tables["effects"], tables["indirect"])[2].sentences[-1]
    indirect = tables["indirect"]
    row = indirect[
        (indirect["second"] == HASHTAG_LABELS)
        & (indirect["first"] == "captions")
        & (indirect["control"] == "labels of ImageNet-1k")
        & (indirect["shift"] == MEAN)
        & (indirect["line"] == TESTBED_LINE)
    ].iloc[0]
    assert row["verdict"] == "undecided" and hashtags.endswith("undecided.")
    assert f"{format_points(row['effect_points'])} points" in hashtags


def test_a_question_without_its_comparisons_says_so(tables):
    one = mean_effects(tables["effects"], "size")
    single = one[one["architectures"] == 1]
    assert "none has an interval" in summarise(single) and not choose_main(single).any()
    nothing = answers(tables["effects"].iloc[:0], tables["indirect"].iloc[:0])
    assert all("nothing published compares" in one.sentences[0] for one in nothing)
    assert "None of 7 published models" in headline(tables["effects"].iloc[:0], 7)


def test_the_headline_is_the_largest_main_comparison(tables):
    text = headline(tables["effects"], len(tables["models"]))
    table = mean_effects(tables["effects"], "distribution")
    main = table[table["architectures"] >= 3]
    assert f"by up to {main['effect_points'].abs().max():.1f} points where the training data are others" in text
    assert f"{len(tables['models']):,} published models" in text


# --- The page -----------------------------------------------------------------------------------------------


def test_the_page_shows_the_answers_and_every_comparison_of_the_table(open_page, html, tables):
    page = open_page(html)
    shown = page.locator("#answer").inner_text()
    for one in answers(tables["effects"], tables["indirect"]):
        assert all(sentence in shown for sentence in one.sentences)
    rows = page.locator("table.comparisons tbody tr")
    effects = tables["effects"]
    assert rows.count() == ((effects["line"] == TESTBED_LINE) & (effects["shift"] == MEAN)).sum()
    row = row_of(tables, "distribution", "YFCC-100M", "Instagram hashtags (IG-1B)", "one method")
    cells = rows.filter(has_text="instead of YFCC-100M").first.locator("td").all_inner_texts()
    assert cells[1] == format_points(row["raw_id_points"]) and cells[2] == format_points(row["raw_shift_points"])
    assert cells[3].split() == [
        format_points(row["effect_points"]),
        format_points(row["low_points"]),
        "to",
        format_points(row["high_points"]),
        row["verdict"],
    ]


def test_pairs_are_listed_on_demand_and_put_away(open_page, html, tables):
    page = open_page(html)
    row = page.locator("table.comparisons tbody tr", has_text="instead of YFCC-100M").first
    button = row.locator("button[data-pairs]")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    listed = page.locator(".pairs-row tbody tr")
    assert listed.count() == 6
    assert "resnet50.fb_ssl_yfcc100m_ft_in1k" in page.locator(".pairs-row").inner_text()
    page.keyboard.press("Enter")
    assert page.locator(".pairs-row").count() == 0


def test_the_explorer_finds_a_model_by_its_name(open_page, html, tables):
    page = open_page(html)
    page.get_by_label("Find a model").fill("FB_SWSL")
    names = page.locator("[data-found] .names button")
    assert names.count() == 6
    names.filter(has_text=re.compile("^resnet50.fb_swsl")).click()
    table = page.locator("[data-found] tbody tr").evaluate_all(
        "all => all.map(r => [...r.cells].map(c => c.textContent))"
    )
    measured = tables["effective_robustness"]
    row = measured[
        (measured["model"] == "resnet50.fb_swsl_ig1b_ft_in1k")
        & (measured["shift"] == "imagenet-sketch")
        & (measured["line"] == TESTBED_LINE)
    ].iloc[0]
    (sketch,) = (cells for cells in table if cells[0] == "ImageNet-Sketch")
    assert sketch[1:] == [
        f"{100 * row['id_accuracy']:.1f} %",
        f"{100 * row['shift_accuracy']:.1f} %",
        format_points(row["er_points"]),
    ]
    # The other line gives another effective robustness.
    page.locator("select[data-line]").select_option(index=1)
    again = page.locator("[data-found] tbody tr", has_text="ImageNet-Sketch").locator("td").last.inner_text()
    assert again != sketch[-1]
    page.get_by_label("Find a model").fill("no such model")
    assert "No model has this in its name" in page.locator("[data-found]").inner_text()


def test_points_follow_colours_and_filters(open_page, html):
    page = open_page(html)
    first = page.locator("[data-spec=models-1]")
    whole = first.locator(POINTS).count()
    page.get_by_label("Colour and shape by").select_option(label="how it predicts")
    page.locator("[data-controls=models] .legend button", has_text="classifier").first.click()
    fewer = f'document.querySelectorAll("[data-spec=models-1] {POINTS}").length < {whole / 2}'
    page.wait_for_function(fewer, timeout=30_000)
    assert first.locator(POINTS).count() > 0
    assert "1,637 models shown" in page.locator("[data-controls=models] [role=status]").inner_text()


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_page_of_published_models(open_page, html, width):
    page = open_page(html, width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_hinders_access_and_charts_have_names(open_page, html, scheme):
    page = open_page(html, scheme=scheme)
    names = page.locator("[data-spec]").evaluate_all("all => all.map(chart => chart.getAttribute('aria-label'))")
    assert len(names) == len(set(names)) == 5 + 5 and all(len(name) > 40 for name in names)
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    marks = page.evaluate(FAINT_MARKS)
    assert marks["faint"] == {} and marks["seen"]["mark-symbol"] > 1000


def test_links_lead_to_sections_tables_and_sources(open_page, html, tables):
    page = open_page(html)
    links = page.locator("a[href]").evaluate_all("all => all.map(link => link.getAttribute('href'))")
    inside = [link[1:] for link in links if link.startswith("#")]
    assert all(page.locator(f"[id='{name}']").count() == 1 for name in inside)
    assert {f"{name}.csv" for name in tables} <= set(links)
    assert set(read_pretraining(REFERENCE)["url"]) <= set(links)


# --- Pages of studies ---------------------------------------------------------------------------------------


def test_a_studys_page_links_to_it_and_shows_its_answers_on_imagenets_shifts(tables):
    plain = make_page()
    assert 'href="../published/report.html"' in plain and "make published" in plain
    assert "What published models say" not in plain
    reference = replace(make_reference(), effects=tables["effects"], indirect=tables["indirect"])
    shown = make_page(test_kinds={"v2": "imagenet_v2"}, reference=reference)
    assert "What published models say" in shown
    row = row_of(tables, "language_test", "zero-shot prompts", "classifier")
    assert f"{format_points(row['effect_points'])} points" in shown
