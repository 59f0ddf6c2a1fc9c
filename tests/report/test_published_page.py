"""The page of published models: words and tables agree, and in a browser it finds models and lists pairs."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pages import FAINT_MARKS, make_page, make_reference
from whyrobust.analysis.pretraining import read_pretraining
from whyrobust.analysis.published_lines import MAIN_SHIFTS, TESTBED_LINE
from whyrobust.analysis.published_study import make_tables, read_tables
from whyrobust.files import write_table
from whyrobust.report.charts.published import DRAWN_FROM, NOT_DOCUMENTED, OTHER_DATA, drawn_on, model_points
from whyrobust.report.charts.strips import order_families
from whyrobust.report.number_format import format_points
from whyrobust.report.published_findings import (
    CAVEATS,
    HASHTAG_LABELS,
    NAMED,
    QUESTIONS,
    answers,
    choose_main,
    effect_words,
    headline,
    mean_effects,
    summarise,
)
from whyrobust.report.published_page import render_published
from whyrobust.study.display_names import MEAN, capital

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
    nothing = headline(tables["effects"].iloc[:0], 7)
    assert "None of 7 published models" in nothing.lead and not nothing.lines


def test_the_headline_is_the_largest_main_comparison(tables):
    made = headline(tables["effects"], len(tables["models"]))
    table = mean_effects(tables["effects"], "distribution")
    main = table[table["architectures"] >= 3]
    row = main.loc[main["effect_points"].abs().idxmax()]
    assert f"by up to {abs(row['effect_points']):.1f} points with other training data" in made.lead
    assert f"{len(tables['models']):,} published models" in made.lead
    what, says = made.lines[0]
    assert what == "Other training data" and says.startswith(f"{capital(row['treatment'])} instead of {row['control']}")
    assert effect_words(row) in says and len(made.lines) == 3


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


def numbers_of(tables, model, shift="imagenet-sketch"):
    """Return what the page says of a model on a shift: both accuracies and effective robustness."""
    measured = tables["effective_robustness"]
    chosen = (measured["model"] == model) & (measured["shift"] == shift) & (measured["line"] == TESTBED_LINE)
    row = measured[chosen & (measured["x_test_set"] == "imagenet")].iloc[0]
    return [f"{100 * row[f'{name}_accuracy']:.1f} %" for name in ("id", "shift")] + [format_points(row["er_points"])]


def found_on(page, shift="ImageNet-Sketch"):
    """Return what the table of the model that is found says of a shift; a shift stands in it once."""
    rows = "all => all.map(r => [...r.cells].map(c => c.textContent))"
    (cells,) = (row for row in page.locator("[data-found] tbody tr").evaluate_all(rows) if row[0] == shift)
    return cells[1:]


#: Centres of the points of a chart that are not faded, and of its rings.
CLEAR = """chart => {
    const marks = [...chart.querySelectorAll(".mark-symbol path[d]:not([d=''])")];
    const boxes = (some) => some.map((mark) => mark.getBoundingClientRect());
    const centres = (some) => boxes(some).map((box) => [box.x + box.width / 2, box.y + box.height / 2]);
    const isRing = (mark) => parseFloat(getComputedStyle(mark).strokeWidth) === 2;
    const shown = marks.filter((mark) => isRing(mark) || parseFloat(getComputedStyle(mark).opacity) > 0.5);
    return { rings: centres(shown.filter(isRing)), points: centres(shown.filter((mark) => !isRing(mark))) };
}"""


#: Tells whether a chart has so many rings.
RINGS = f"([key, count]) => ({CLEAR})(document.querySelector(`[data-spec=${{key}}]`)).rings.length === count"


def test_the_explorer_finds_a_model_by_its_name(open_page, html, tables):
    page = open_page(html)
    strips = page.locator("[data-spec=models-strips-2]")
    box = page.get_by_label("Find a model")
    box.fill("FB_SWSL")
    names = page.locator("[data-found] .names button")
    assert names.count() == 6
    page.wait_for_function(RINGS, arg=["models-strips-2", 6])
    assert page.locator("[data-found] table").count() == 0
    model = "resnet50.fb_swsl_ig1b_ft_in1k"
    names.filter(has_text=re.compile("^resnet50.fb_swsl")).click()
    expected = numbers_of(tables, model)
    assert found_on(page) == expected
    # The name in full needs no choice: its point is ringed, the others are faded, and its numbers are shown.
    box.fill("")
    assert page.locator("[data-found] table").count() == 0
    box.fill(model.upper())
    assert found_on(page) == expected
    page.wait_for_function(RINGS, arg=["models-strips-2", 2])
    clear = strips.evaluate(CLEAR)
    (point,) = clear["points"]
    assert all(abs(a - b) < 1 for ring in clear["rings"] for a, b in zip(ring, point, strict=True))
    # The other line gives another effective robustness.
    page.locator("select[data-line]").select_option(index=1)
    assert found_on(page)[:2] == expected[:2] and found_on(page)[2] != expected[2]
    page.locator("select[data-line]").select_option(index=0)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the points shown as CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text(encoding="utf-8").splitlines()))
    (row,) = (row for row in rows if row["model"] == model and row["shift"] == "ImageNet-Sketch")
    told = [row["accuracy on ImageNet, %"], row["accuracy on the shift, %"]]
    assert [f"{value} %" for value in told] == expected[:2] and row["training data"] == "Instagram hashtags (IG-1B)"
    assert format_points(float(row["effective robustness, points (testbed, to 2020)"])) == expected[2]
    box.fill("no such model")
    assert "No model has this in its name" in page.locator("[data-found]").inner_text()


def test_strips_have_a_row_a_family_with_its_mean_and_follow_colours_and_filters(open_page, html, tables):
    page = open_page(html)
    strips = page.locator("[data-spec=models-strips-1]")
    points = model_points(tables["models"], tables["effective_robustness"])
    here = drawn_on(points, "imagenet-v2")
    expected = here.groupby("data")["er_testbed"].agg(["mean", "size"]).sort_values("mean")

    def means():
        texts = [text.replace("\N{MINUS SIGN}", "-") for text in strips.locator("svg text").all_text_contents()]
        found = [re.fullmatch(r"([+-][\d.]+) \(([\d,]+)\)", text) for text in texts]
        return sorted((float(one[1]), int(one[2].replace(",", ""))) for one in found if one)

    assert len(means()) == len(expected) > 10
    for size, rows in expected.groupby("size"):
        shown = [mean for mean, models in means() if models == size]
        assert shown == pytest.approx(rows["mean"].tolist(), abs=0.11)  # of effects in tenths of a point
    bars = "all => all.filter(bar => parseFloat(getComputedStyle(bar).strokeWidth) === 2.5).length"
    assert strips.locator(".mark-rule line").evaluate_all(bars) == len(expected)
    whole = strips.locator(POINTS).count()
    assert whole == len(here)
    # What is found by its name alone counts as no point shown.
    assert strips.locator("xpath=ancestor::figure").locator(".live").inner_text() == f"{len(here):,} points shown."
    page.get_by_label("Colour and shape by").select_option(label="how it predicts")
    page.locator("[data-controls=models] .legend button", has_text="classifier").first.click()
    fewer = f'document.querySelectorAll("[data-spec=models-strips-1] {POINTS}").length < {whole / 2}'
    page.wait_for_function(fewer, timeout=30_000)
    assert strips.locator(POINTS).count() > 0
    assert "1,637 models shown" in page.locator("[data-controls=models] [role=status]").inner_text()
    # One family alone lies in the row of its name.
    page.get_by_role("button", name="Reset").click()
    page.get_by_role("button", name="Only LAION", exact=True).click()
    count = int(expected.loc["LAION", "size"])
    alone = f'document.querySelectorAll("[data-spec=models-strips-1] {POINTS}").length === {count}'
    page.wait_for_function(alone, timeout=30_000)
    assert len(means()) == 1
    name = strips.locator("svg text", has_text=re.compile("^LAION$")).bounding_box()
    heights = [y - name["y"] - name["height"] / 2 for _, y in strips.evaluate(CLEAR)["points"]]
    assert max(heights) < 13 and min(heights) > -13 and max(heights) - min(heights) > 8


def test_families_stand_from_the_most_robust_to_the_least_and_collective_names_last(tables):
    points = model_points(tables["models"], tables["effective_robustness"])
    order = order_families(points)
    assert set(order) == set(points["data"]) and set(order[-2:]) == {OTHER_DATA, NOT_DOCUMENTED}
    drawn = points[points["shift"].isin(MAIN_SHIFTS) & (points["id_accuracy"] >= DRAWN_FROM)]
    means = drawn.groupby(["data", "shift"])["er_testbed"].mean().groupby("data").mean()
    assert list(means[order[:-2]]) == sorted(means[order[:-2]], reverse=True)
    assert order.index("WIT-400M (OpenAI)") < order.index("ImageNet-1k")


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_is_wider_than_the_page_of_published_models(open_page, html, width):
    page = open_page(html, width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_hinders_access_and_charts_have_names(open_page, html, scheme):
    page = open_page(html, scheme=scheme)
    names = page.locator("[data-spec]").evaluate_all("all => all.map(chart => chart.getAttribute('aria-label'))")
    assert len(names) == len(set(names)) == 5 + 5 + 5 and all(len(name) > 40 for name in names)
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    marks = page.evaluate(FAINT_MARKS)
    assert marks["faint"] == {} and marks["seen"]["mark-symbol"] > 1000
    # Accuracies, by choice: every mark is seen there, too.
    page.locator("[data-controls=models] select").first.select_option("accuracies")
    page.locator("[data-view=accuracies]").scroll_into_view_if_needed()
    page.wait_for_selector("[data-spec=models-accuracies-1] svg.marks", timeout=60_000)
    assert not page.locator("[data-spec=models-strips-1]").is_visible()
    page.wait_for_selector("html[data-charts=drawn]", timeout=60_000)
    marks = page.evaluate(FAINT_MARKS)
    assert marks["faint"] == {} and marks["seen"]["mark-symbol"] > 1000 and marks["seen"]["mark-line"] > 2


def test_strips_are_steered_by_keyboard_alone(open_page, html):
    page = open_page(html, all_charts=False)
    controls = "[data-controls=models]"
    focused = """() => {
        const one = document.activeElement, place = one.closest("label") || one;
        return [one.tagName, (one.getAttribute("aria-label") || place.textContent).trim()];
    }"""
    page.locator("[data-controls=models] select").first.focus()
    seen = []

    def go_to(tag, words):
        """Press Tab until an element has the focus."""
        for _ in range(60):
            seen.append(page.evaluate(focused))
            if seen[-1][0] == tag and words in seen[-1][1]:
                outline = "parseFloat(getComputedStyle(document.activeElement).outlineWidth)"
                assert page.evaluate(outline) >= 1  # it is seen where the focus is
                return
            page.keyboard.press("Tab")
        raise AssertionError((words, seen))

    shown = page.locator(f"{controls} [role=status]")
    whole = shown.inner_text()
    go_to("INPUT", "Find a model")
    page.keyboard.type("fb_swsl")
    page.wait_for_function("document.querySelectorAll('[data-found] .names button').length === 6")
    go_to("BUTTON", "Only LAION")
    page.keyboard.press("Enter")
    assert shown.inner_text() != whole
    page.keyboard.press("Enter")
    assert shown.inner_text() == whole and page.evaluate(focused) == ["BUTTON", "Only LAION"]
    go_to("SUMMARY", "Filter")
    page.keyboard.press("Enter")
    go_to("INPUT", "classifier")
    page.keyboard.press("Space")
    assert shown.inner_text() != whole
    go_to("BUTTON", "resnet50.fb_swsl_ig1b_ft_in1k")
    page.keyboard.press("Enter")
    assert page.locator("[data-found] tbody tr").count() == 5
    for _ in range(80):
        if page.evaluate(focused) == ["BUTTON", "Reset"]:
            break
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert shown.inner_text() == whole and page.locator("[data-found] table").count() == 0
    # The view is a list of its own, which arrows walk through.
    page.locator(f"{controls} select").first.focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("[data-view=accuracies]").is_visible() and not page.locator("[data-view=strips]").is_visible()


def test_links_lead_to_sections_tables_and_sources(open_page, html, tables):
    page = open_page(html)
    links = page.locator("a[href]").evaluate_all("all => all.map(link => link.getAttribute('href'))")
    inside = [link[1:] for link in links if link.startswith("#")]
    assert all(page.locator(f"[id='{name}']").count() == 1 for name in inside)
    assert {f"{name}.csv" for name in tables} <= set(links)
    assert set(read_pretraining(REFERENCE)["url"]) <= set(links)


# --- Pages of studies ---------------------------------------------------------------------------------------


def test_a_studys_page_links_to_it_and_shows_the_same_on_imagenets_shifts(open_page, tables):
    plain = make_page(reference=replace(make_reference(), published=tables))
    assert 'href="../published/report.html"' in plain and "make published" in plain
    assert "What published models say" not in plain and "models-strips" not in plain
    shown = make_page(test_kinds={"v2": "imagenet_v2"}, reference=replace(make_reference(), published=tables))
    assert "What published models say" in shown
    row = row_of(tables, "language_test", "zero-shot prompts", "classifier")
    assert f"{format_points(row['effect_points'])} points" in shown
    # The study's shifts alone.
    assert re.findall(r'data-spec="(models-[^"]+)"', shown) == ["models-strips-1", "models-accuracies-1"]
    page = open_page(shown, all_charts=False)
    strips = page.locator("[data-spec=models-strips-1]")
    strips.scroll_into_view_if_needed()
    page.wait_for_selector("[data-spec=models-strips-1] svg.marks", timeout=60_000)
    points = strips.locator(POINTS).count()
    # A run that is chosen is no published model: none of them fades.
    page.locator("#runs-table button.show").first.press("Enter")
    page.wait_for_timeout(300)
    assert len(strips.evaluate(CLEAR)["points"]) == points > 1000
    model = "resnet50.fb_swsl_ig1b_ft_in1k"
    page.get_by_label("Find a model").fill(model)
    assert found_on(page, "ImageNet-V2") == numbers_of(tables, model, "imagenet-v2")
    page.wait_for_timeout(300)
    assert len(strips.evaluate(CLEAR)["points"]) == 1
