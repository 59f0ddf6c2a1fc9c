"""The report page in a browser: it does what it says, at every width, by mouse and by keyboard, whole or in parts."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html import unescape
from importlib import resources

import altair as alt
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from hypothesis import given
from hypothesis import strategies as st

from tests.pages import (
    FAINT_MARKS,
    SETTINGS,
    emptied,
    make_data,
    make_details,
    make_page,
    make_reference,
    make_runs,
    make_study,
)
from tools.browser import ALL_DRAWN, SMALL_LETTERS, count_sheets
from whyrobust.report.charts.points import describe_points
from whyrobust.report.page_parts import ChartData, Panel, picture_uri
from whyrobust.report.sections.run_details import run_details
from whyrobust.report.sections.runs import false_negative_rows, run_rows
from whyrobust.study.derived_sources import DerivedSource
from whyrobust.study.stages import STAGES

WIDTHS = (390, 1280, 2560)
#: Sheets of A4 of the made-up study's page; the default study's takes 12.
MOST_SHEETS = 8
POINTS = ".mark-symbol path[d]:not([d=''])"


@pytest.fixture(scope="module")
def html():
    return make_page()


def panel(page, number=1):
    return page.locator(f"[data-spec=shift-{number}]")


def accuracy_panel(page, number=1):
    return page.locator(f"[data-spec=accuracy-{number}]")


def show_accuracies(page):
    page.locator("[data-controls=study] select").first.select_option("accuracies")
    page.locator("[data-view=accuracies]").scroll_into_view_if_needed()
    page.wait_for_function("document.querySelectorAll('[data-spec^=accuracy] svg.marks').length === 2")


def count(page, selector):
    return page.locator(selector).count()


def fills(page, number=1):
    """Return the colours of the points of a panel."""
    return set(panel(page, number).locator(POINTS).evaluate_all("all => all.map(p => p.getAttribute('fill'))"))


def test_every_chart_of_the_page_is_valid_vega_lite(monkeypatch):
    specs, add = [], ChartData.add

    def keep(charts, key, panel):
        specs.append(panel.spec)
        return add(charts, key, panel)

    monkeypatch.setattr(ChartData, "add", keep)
    make_page()
    for spec in specs:
        alt.Root.validate(dict(spec))
    assert len(specs) > 20


def test_every_chart_is_drawn(open_page, html):
    page = open_page(html)
    charts = page.locator("[data-spec]")
    # What changed, causes, shifts twice, doses, frequencies, curves, classes.
    assert charts.count() == 3 + 3 + 2 + 2 + 3 + 3 + 2 + 6
    missing = "all => all.filter(c => c.offsetParent && !c.querySelector('.vega-embed svg .mark-group')).length"
    assert charts.evaluate_all(missing) == 0
    # Runs times shifts: every run's main head is a point, the other heads wait to be asked for.
    assert panel(page).locator(POINTS).count() == 12
    show_accuracies(page)
    assert charts.evaluate_all(missing) == 0
    assert accuracy_panel(page).locator(POINTS).count() == 12
    # The line, its band, and where both axes are equal.
    assert accuracy_panel(page).locator(".mark-line path").count() >= 2
    assert accuracy_panel(page).locator(".mark-area path").count() >= 1


def test_charts_are_drawn_when_they_come_near_and_all_of_them_for_print(open_page, html):
    page = open_page(html, all_charts=False)
    drawn = "[...document.querySelectorAll('[data-spec]:has(svg.marks)')].map(c => c.dataset.spec)"
    assert not set(page.evaluate(drawn)) & {"curves-1", "classes-1", "shift-1"}
    place = page.locator("[data-spec=curves-1]")
    room = place.bounding_box()["height"]
    place.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('[data-spec=curves-1] svg.marks')")
    assert "shift-1" not in page.evaluate(drawn)
    # The page keeps the room, so that nothing jumps.
    assert abs(place.bounding_box()["height"] - room) < 60
    pages = page.pdf()
    assert set(page.evaluate(drawn)) >= {"changed-3", "classes-1", "shift-1", "distribution-2-1"}
    assert pages.startswith(b"%PDF")


def test_without_scripts_every_chart_is_told_in_words(browser, html, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        words = page.locator("main").inner_text()
    assert "Effect on v2 in points by share of web" in words and "Effective robustness on sketch beyond all" in words
    assert "The same as a table: causes.csv" in words


def test_what_is_folded_is_filled_when_it_is_opened(open_page, html):
    page = open_page(html, all_charts=False)
    table = page.get_by_label("Effects of the causes").locator("tbody tr")
    assert table.count() == 0
    page.locator("summary", has_text="The same as a table").click()
    table.first.wait_for()
    assert table.count() == 4 * 3


def test_the_accessible_name_of_every_chart_is_its_description(open_page, html):
    described = re.findall(r'role="img" aria-label="([^"]+)" data-spec="([^"]+)"', html)
    expected = {key: unescape(description) for description, key in described}
    page = open_page(html)
    show_accuracies(page)
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("img", "image", "graphics-document", "graphics-object", "graphics-symbol")
    names = [node["name"]["value"] for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
    assert not any("Vega" in name for name in names)
    shown = page.locator("[data-spec]").evaluate_all("all => all.filter(c => c.offsetParent).map(c => c.dataset.spec)")
    assert len(shown) > 20
    assert sorted(name for name in names if name in expected.values()) == sorted(expected[key] for key in shown)


def test_accuracies_are_shown_by_choice_with_the_line_of_the_paper(open_page, html):
    page = open_page(html)
    assert panel(page).is_visible() and not accuracy_panel(page).is_visible()
    assert "mean accuracy on studio test and web test" in panel(page).inner_text()
    show_accuracies(page)
    assert accuracy_panel(page).is_visible() and not panel(page).is_visible()
    assert "accuracy on studio test" in accuracy_panel(page).inner_text()
    page.get_by_role("button", name="Reset").first.click()
    assert panel(page).is_visible()


def test_the_evidence_comes_in_order(open_page, html):
    page = open_page(html)
    first, second = (
        page.get_by_label(name, exact=True)
        for name in ("Main comparison of each cause", "Main comparison of each cause, other measurements")
    )
    assert first.locator("thead th").all_inner_texts()[1:] == [
        "Verdict", "Accuracy in distribution", "Accuracy on the shifts", "Effective robustness beyond all",
        "Adjusted p", "90 % interval, p of equivalence", "Seen of an effect that grows with the source's share",
    ]  # fmt: skip
    assert second.locator("thead th").all_inner_texts()[1:4] == [
        "Effective robustness, accuracies over images", "The paper's: studio test", "Mirror: web test",
    ]  # fmt: skip
    # What a verdict rests on is in sight without scrolling aside.
    assert first.evaluate("place => place.scrollWidth <= place.clientWidth")
    changed = page.locator("[data-spec=changed-2]").inner_text()
    assert "+9.8 raises" in changed and "+9.8 case study" in changed and "In no verdict" in changed
    assert "small dots below a measure: each seed alone" in page.locator("#answer .legend").first.inner_text()
    label = page.locator("[data-spec=changed-2]").get_attribute("aria-label")
    assert " Small dots below a measure: each seed alone. Strokes below accuracy on the shift: " in label
    told = page.locator("body").inner_text()
    assert told.count("Sensitivity analysis") == told.count("1 of 3 verdicts would differ") == 1
    headline = page.locator("#headline").inner_text()
    assert headline.startswith("Of 3 causes compared, 1 changes effective robustness:")
    # The term that the lines are about stands before them, and what a verdict rests on is folded.
    assert headline.index("Effective robustness is") < headline.index("Language at training: undecided; captions")
    assert "p of equivalence" not in headline


def test_a_study_with_one_in_distribution_test_set_has_no_second_measurement(open_page):
    study = make_study(make_runs())
    effective = study.effective.assign(x_test_sets="studio_test")
    study = replace(study, effective=effective, shifts=study.shifts[study.shifts["test_set"] != "web_test"])
    of_paper = [table[table["measurement"] == "paper"] for table in (study.single_lines, study.single_causes)]
    study = replace(study, single_lines=of_paper[0], single_causes=of_paper[1])
    # Nor has a study of a time before the table of seeds their dots.
    page = open_page(make_page(study=replace(study, causes_by_seed=study.causes_by_seed.iloc[:0])))
    assert "small dots" not in page.content() and "of teams with 50 or more" in page.content()
    assert "◇" not in page.locator("#answer").inner_text()
    assert "last the paper's measurement" not in page.locator("#answer").inner_text()
    assert page.locator("summary", has_text="Beyond each in-distribution test set alone").count() == 0
    assert "accuracies (the same, with the line)" in page.locator("[data-controls=study] select").first.inner_text()


def test_the_tables_beside_the_answer_stand_where_they_belong(html):
    answer, robustness = (
        html.partition(f'<section id="{name}"')[2].partition("</section>")[0] for name in ("answer", "robustness")
    )
    assert "Does the effect depend on the architecture?" in answer and "icon cnn, then icon resnet" in answer
    assert "Trend: +9.1 points (+7.0 to +11.2; p &lt; .001; 2 seeds)." in robustness
    assert "web nearer by .10 or more" in robustness and "Nearest to web" in robustness
    linked = set(re.findall(r'href="([a-z_]+)\.csv"', answer + robustness))
    assert linked == {
        "architectures", "causes", "causes_by_seed", "causes_by_team", "causes_other_weights", "causes_single_line",
        "concept_frequency", "concept_frequency_fits", "dose_response", "dose_response_trends", "nearest_sources",
        "similarity_bands",
    }  # fmt: skip
    lacking = make_study(make_runs())
    for name in ("architectures", "dose_response_trends", "nearest_sources", "similarity_bands"):
        lacking = replace(lacking, **{name: getattr(lacking, name).iloc[:0]})
    page = make_page(study=lacking)
    assert (
        "Nearness of training images" not in page and "depend on the architecture" not in page and "Trend:" not in page
    )


def test_what_is_compared_is_said_with_pictures_and_sizes(open_page, html):
    page = open_page(html, all_charts=False)
    cards = page.locator("#compared .card")
    assert cards.count() == 2 + 4
    studio, _, test, _, v2, sketch = cards.all_inner_texts()
    assert "Icons of one studio." in studio and "labelled images" in studio
    assert "in distribution of studio" in test and "9 teams" in test and "chance 33.0 %" in test
    assert "7 teams" in v2 and "R² of the prediction 0.97 (of the paper's line 0.91)" in v2
    assert "case study, in no verdict: 2 teams" in sketch and "style seen in web" in sketch
    assert cards.first.locator("img").count() == 3
    without = open_page(make_page(settings=replace(SETTINGS, without_test_set=["half_web"])), all_charts=False)
    assert "Half web has no in-distribution test set here" in without.locator("#compared").inner_text()


def test_mixtures_and_views_are_a_line_each_with_counts_and_shares(open_page, html):
    """Singular and plural, shares that are no whole number, and pictures where they are not those of the source."""
    data = make_data()
    given = make_study(make_runs())
    first = given.runs.iloc[:1]
    planned = {
        "tenth_web": [(0, 1001)],
        "half_web": [(0, 5000), (1, 5000), (0, 2)],
        "one_web": [(0, 1)],
        "web_at_studio_classes": [(0, 1250), (1, 5000)],
        "web_in_grey": [(0, 300)],
        "web_of_two": [(0, 300)],
    }
    more = [first.assign(run=f"{name}-{size}-{seed}", source=name, train_images=size, seed=seed)
            for name, of_name in planned.items() for seed, size in of_name]  # fmt: skip
    study = replace(given, runs=pd.concat([given.runs, *more], ignore_index=True))
    views = pd.DataFrame([("web_of_two", f"web:{number}", "cat") for number in (1, 2)] + [("web_of_two", "web:x", None)]
                         + [("web_in_grey", f"web:{number}", "ab"[number % 2]) for number in range(3)],
                         columns=["source", "uid", "label"])  # fmt: skip
    derived = {
        "tenth_web": DerivedSource({"studio": 0.9, "web": 0.1}),
        "half_web": DerivedSource({"studio": 0.5, "web": 0.5}),
        "one_web": DerivedSource({"web": 1.0}),
        "web_at_studio_classes": DerivedSource({"web": 1.0}),
        "web_in_grey": DerivedSource({"web": 1.0}, grey=True),
        "web_of_two": DerivedSource({"web": 1.0}),
    }
    settings = replace(SETTINGS, derived=derived, sentences={"tenth_web": "Mostly studio.", "studio": "Icons."})
    page = open_page(make_page(settings=settings, study=study, data=replace(data, views=views)))
    assert page.locator("#compared .card").count() == 2 + 4
    lines = page.locator("#compared .drawn li")
    assert [" ".join(text.split()) for text in lines.all_inner_texts()] == [
        "tenth web Mostly studio. 1,001 images: about 901 of studio, about 100 of web; 1 model",
        "half web 2 images: 1 of studio, 1 of web; 5,000 images: 2,500 of studio, 2,500 of web; 3 models",
        "one web 1 image of web; 1 model",
        "web at studio classes 1,250 and 5,000 images of web; 2 models",
        "web in grey 300 images of web; drawn from 3 labelled images of 2 classes; 1 model",
        "web of two 300 images of web; drawn from 2 labelled images of 1 class; 1 model",
    ]
    pictures = [line.locator("img").evaluate_all("all => all.map(one => one.src)") for line in lines.all()]
    of_web = [picture_uri(one) for one in data.samples.loc[data.samples["dataset"] == "web", "picture"]]
    assert pictures == [[], [], [], [], of_web, of_web[1:]]
    greys = [line.locator("img").first.evaluate("one => getComputedStyle(one).filter") for line in lines.all()[4:]]
    assert greys == ["grayscale(1)", "none"]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#compared").get_by_role("heading", name="Drawn from these sources").count() == 1
    none = open_page(html, all_charts=False)
    assert "Drawn from these sources" not in none.locator("#compared").inner_text()


def test_every_stage_is_in_the_table_with_what_it_waits_for_and_its_cost(open_page, html):
    page = open_page(html, all_charts=False)
    rows = page.locator("#made .scroll table").first.locator("tbody tr")
    cells = rows.evaluate_all("all => all.map(row => [...row.cells].map(cell => cell.firstChild?.textContent ?? ''))")
    assert [row[1] for row in cells] == [stage.name.replace("_", " ") for stage in STAGES]
    (trained,) = (row for row in cells if row[1] == "train run")
    assert trained[2:] == [
        "decode photographs, assemble captions, match text, draw subset",
        "12",
        "120.0",
        "100.0 %",
        "100",
        "900",
    ]
    assert "9 of train run (1.5 minutes when they were made). In" in page.locator("#made").inner_text()


def test_an_unfinished_page_says_so_first(html):
    """In words that need no script, before any number."""
    lacks = {
        "planned": 30,
        "runs": ["CLIP on web <titles>, seed 1"],
        "comparisons": [
            {"cause": "language_at_test", "comparison": "names", "pairs": 2, "planned": 5},
            {"cause": "training_set_size", "comparison": "more images", "pairs": 0, "planned": 3},
        ],
    }
    page = make_page(settings=replace(SETTINGS, unfinished=lacks))
    told = page[: page.index('id="headline"')]
    assert "<title>Unfinished: " in told and "made up study, unfinished" in told
    assert "29 of 30 runs are done" in told and "CLIP on web &lt;titles&gt;, seed 1" in told
    assert "Language at test, names: 2 of 5 pairs" in told
    assert "Training set size, more images: not shown yet, 3 pairs to come" in told
    assert "nfinished" not in html[: html.index('id="headline"')]
    told = make_page(settings=replace(SETTINGS, unfinished={"planned": 30, "runs": [], "comparisons": []}))
    told = told[: told.index('id="headline"')]
    assert "All 30 runs" in told and "will change" not in told


def test_a_page_without_an_answer_has_no_empty_tables():
    study = make_study(make_runs())
    causes = study.causes[study.causes["shift"] == "v2"]
    causes = causes.assign(role="not informative", family="", verdict="", p_adjusted=float("nan"))
    shifts = study.shifts.copy()
    shifts.loc[shifts["test_set"] == "v2", ["role", "reason"]] = "not informative", "R² 0.19, less than 0.5"
    page = make_page(study=replace(study, causes=causes, shifts=shifts))
    headline = page[page.index('id="headline"') : page.index("<nav")]
    assert "No answer" in headline and "R² 0.19" in headline and "Of 3 causes" not in headline
    assert "<tbody></tbody>" not in page and "its mirror is the line" not in page


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_page(open_page, html, width):
    page = open_page(html, width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = """all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1
        && !e.closest('.scroll, .dt-layout-table, pre, .skip')).map(e => e.outerHTML.slice(0, 120))"""
    assert page.locator("main *:not(svg *)").evaluate_all(beyond) == []
    # Nothing that is drawn is cut off by its chart.
    cut = """all => all.filter(t => { const box = t.getBoundingClientRect(),
        whole = t.closest('svg').getBoundingClientRect(); return box.width && (box.left < whole.left - 2
        || box.right > whole.right + 2); }).map(t => t.textContent)"""
    assert page.locator("[data-spec^=shift] svg text, [data-spec^=cause] svg text").evaluate_all(cut) == []


LABELS_TOO_NEAR = """all => all.map(axis => [...axis.querySelectorAll("text")]
        .filter(text => getComputedStyle(text).opacity > 0 && /^[+\\u2212]?[0-9.]+$/.test(text.textContent))
        .map(text => [text.getBoundingClientRect(), text.textContent]).sort((a, b) => a[0].left - b[0].left))
    .map(labels => labels.filter(([box], at) => at && Math.abs(box.top - labels[at - 1][0].top) < 2
        && box.left < labels[at - 1][0].right + 2).map(label => label[1])).filter(near => near.length)"""


@pytest.mark.parametrize("width", [400, 900])
def test_ticks_of_effects_do_not_run_into_each_other(open_page, width):
    """Of large effects, whose labels are the longest."""
    study = make_study(make_runs())
    causes = study.causes.assign(raw_id_points=-5.0, raw_shift_points=20.0, raw_shift_high_points=23.0)
    page = open_page(make_page(study=replace(study, causes=causes)), width)
    axes = page.locator("#answer [data-spec^=changed] .role-axis-label, #answer [data-spec^=cause] .role-axis-label")
    assert axes.count() > 3 and axes.evaluate_all(LABELS_TOO_NEAR) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_hinders_access(open_page, html, scheme):
    page = open_page(html, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    # Coloured by size, too: the ends of that scale are the darkest and the lightest colours there are.
    page.get_by_label("Colour and shape by").first.select_option(label="training images")
    page.wait_for_timeout(200)
    marks = page.evaluate(FAINT_MARKS)
    assert marks["faint"] == {} and set(marks["seen"]) == {"mark-symbol", "mark-line", "mark-rule", "mark-rect"}
    assert marks["seen"]["mark-symbol"] > 100
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


def test_colours_follow_the_field_that_the_reader_picks(open_page, html):
    page = open_page(html)
    legend = page.locator("[data-controls=study] .legend")
    # At first the source gives the colour and the objective the shape: 4 keys for 4 kinds, 8 for 16.
    assert legend.locator("button[aria-pressed]").all_inner_texts() == ["●studio", "●web", "●cross-entropy", "■CLIP"]
    assert len(fills(page)) == 2 and page.url.endswith(".html")
    page.get_by_label("Colour and shape by").first.select_option(label="kind of training")
    page.wait_for_timeout(200)
    assert len(fills(page)) == 4
    page.get_by_label("Colour and shape by").first.select_option(label="objective")
    page.wait_for_function("document.querySelectorAll('[data-controls=study] .legend li').length === 2")
    page.wait_for_timeout(200)
    assert len(fills(page)) == 2 and len(fills(page, 2)) == 2
    assert legend.locator("button[aria-pressed]").all_inner_texts() == ["●cross-entropy", "■CLIP"]


def test_panels_of_residuals_have_one_scale_a_band_and_their_n_and_chance(open_page):
    """A case study, which may be of few images, has a wider one where its points need it, and its caption says so."""
    study = make_study(make_runs())
    wide = study.effective["residual"].where(study.effective["shift"] == "v2", 4 * study.effective["residual"])
    study = replace(study, effective=study.effective.assign(residual=wide))
    labels, remark = {}, "Its scale is wider"
    for role in ("shift", "case study"):
        roles = study.shifts["role"].where(study.shifts["test_set"] != "sketch", role)
        page = open_page(make_page(study=replace(study, shifts=study.shifts.assign(role=roles))))
        texts = "all => all.map(label => label.textContent).filter(text => !text.includes('%'))"
        of_both = [panel(page, number).locator(".role-axis-label text").evaluate_all(texts) for number in (1, 2)]
        labels[role], notes = of_both, page.locator("[data-view=residuals] figcaption").all_inner_texts()
        assert [remark in note for note in notes] == [False, role == "case study"]
    assert labels["shift"][0] == labels["shift"][1] == labels["case study"][1] != labels["case study"][0]
    assert page.locator("[data-view=residuals] h3").first.inner_text() == "v2 n = 400 images, chance 33.0 %"
    assert panel(page).locator(".mark-area path").count() == 1


def test_a_filter_takes_points_out_of_every_panel(open_page, html):
    page = open_page(html)
    page.get_by_label("Colour and shape by").first.select_option(label="kind of training")
    page.locator("[data-controls=study] summary").click()
    page.locator("[data-controls=study] input[data-field=source][value=web]").uncheck()
    page.wait_for_timeout(200)
    assert [panel(page, number).locator(POINTS).count() for number in (1, 2)] == [6, 6]
    assert "6 of 16" in page.locator("[data-controls=study] [role=status]").inner_text()
    # The legend does the same.
    page.locator("[data-controls=study] .legend button", has_text="CLIP on studio").click()
    page.wait_for_timeout(200)
    assert panel(page).locator(POINTS).count() == 4
    assert page.evaluate("document.activeElement.textContent").endswith("CLIP on studio titles")
    page.get_by_role("button", name="Reset").first.click()
    page.wait_for_timeout(200)
    assert panel(page).locator(POINTS).count() == 12


def test_heads_that_are_not_main_can_be_shown(open_page, html):
    page = open_page(html)
    page.locator("[data-controls=study] summary").click()
    page.locator("[data-controls=study] input[data-field=reading]").nth(1).check()
    page.wait_for_timeout(200)
    assert panel(page).locator(POINTS).count() == 16


def test_pointing_at_a_model_shows_it_in_words(open_page, html):
    page = open_page(html)
    panel(page).locator(POINTS).first.hover(force=True)
    tooltip = page.locator("#vg-tooltip-element")
    tooltip.wait_for(state="visible")
    words = tooltip.inner_text()
    assert "images, seed" in words and "effective robustness" in words and "points" in words


def test_a_click_highlights_a_run_everywhere(open_page, html):
    page = open_page(html)
    rings = "path[stroke-width='2'][fill='none'], path[stroke-width='2'][fill='transparent']"
    before = [panel(page, number).locator(rings).count() for number in (1, 2)]
    panel(page).locator(POINTS).first.click(force=True)
    page.wait_for_timeout(300)
    assert [panel(page, number).locator(rings).count() for number in (1, 2)] == [n + 1 for n in before]
    run = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('run')")
    assert page.locator("tr.chosen").evaluate_all("all => [...new Set(all.map(r => r.dataset.run))]") == [run]
    assert page.locator("#chosen-run").input_value() == run
    faint = "all => all.filter(p => parseFloat(p.getAttribute('opacity')) < 0.2).length"
    assert page.locator("[data-spec^=curves] .mark-line path").evaluate_all(faint) >= 6
    # A second click lets go.
    panel(page).locator(POINTS).first.click(force=True)
    page.wait_for_timeout(300)
    assert count(page, "tr.chosen") == 0 and "run=" not in page.url


def test_a_run_is_shown_closely(open_page, html):
    page = open_page(html, all_charts=False)
    page.get_by_label("Highlight").select_option(label="CLIP on web titles, 2,000 images, seed 1, zero-shot (name)")
    page.locator("#chosen-test-set").select_option(label="sketch")
    shown = page.locator("#chosen")
    assert "1 of these 3 are right" in shown.inner_text()
    assert shown.locator(".tiles .right").count() == 1 and shown.locator(".tiles .wrong").count() == 2
    assert "12 of 40" in shown.inner_text() and "30 %" in shown.inner_text()


@pytest.mark.parametrize("name", ["constructor", "__proto__", "toString", "no-such-run", "%"])
def test_an_address_may_name_anything(html, browser, tmp_path, name):
    """It opens as an address that names no run, and nothing stops."""
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    window, errors = browser.new_page(), []
    window.on("pageerror", lambda error: errors.append(error))
    window.goto(f"{path.as_uri()}#run={name}&with={name}&test={name}&by={name}&hide.{name}={name}&sort={name}")
    window.wait_for_selector("html[data-charts=drawn][data-tables=there]")
    assert not window.locator("#panel").is_visible() and not errors
    window.close()


def test_a_study_of_many_runs_has_a_light_page(open_page, html):
    """A run more costs a few kilobytes and no element: the default study has 120, and aims at 2.3 MB and 8,000."""
    study, data = make_study(make_runs(seeds=range(8))), make_data()
    many = make_page(study=study, data=data, details=make_details(study, data))
    runs = 48 - 12
    assert (len(many) - len(html)) / runs < 2_000
    elements = "document.querySelectorAll('*').length"
    pages = [open_page(one, all_charts=False) for one in (html, many)]
    # Beside marks of charts: of a list of runs, an option each in four lists, and up to 25 rows of the table.
    few, more = (page.evaluate(f"{elements} - document.querySelectorAll('svg *').length") for page in pages)
    assert more < 3_000 and more - few < 4 * runs + 9 * 30


def test_the_address_of_a_run_opens_with_it(open_page, html, browser, tmp_path):
    path = tmp_path / "page.html"
    path.write_text(html, encoding="utf-8")
    window = browser.new_page()
    window.goto(f"{path.as_uri()}#run=clip-web-2000-1")
    assert "CLIP on web titles, 2,000 images, seed 1" in window.locator("#chosen").inner_text()
    window.close()


def test_the_table_sorts_and_searches(open_page, html):
    page = open_page(html, all_charts=False)
    column = "table#runs-table tbody tr td:nth-last-child(3)"
    heading = page.locator("#runs-table thead th", has_text="Images")
    heading.click()
    page.locator("#runs-table th[aria-sort=ascending]", has_text="Images").wait_for()
    rising = [int(text.replace(",", "")) for text in page.locator(column).all_inner_texts()]
    assert len(rising) == 16 and rising == sorted(rising)
    heading.click()
    page.locator("#runs-table th[aria-sort=descending]", has_text="Images").wait_for()
    assert [int(text.replace(",", "")) for text in page.locator(column).all_inner_texts()] == rising[::-1]
    page.get_by_label("Show only rows with").fill("CLIP web")
    page.wait_for_function("document.querySelectorAll('#runs-table tbody tr').length === 4")
    assert all("CLIP on web" in text for text in page.locator("#runs-table tbody tr").all_inner_texts())


def test_the_table_of_runs_has_accuracy_with_effective_robustness_in_sight_on_a_phone(open_page, html):
    page = open_page(html, 390, all_charts=False)
    row = page.locator("#runs-table tbody tr").first
    first = row.locator("td.n").first
    row.scroll_into_view_if_needed()
    # On the phone's screen without scrolling aside; the name of the run stays where the table is scrolled.
    assert first.bounding_box()["x"] + first.bounding_box()["width"] <= 390
    shift = row.locator("td.n").nth(2)
    number = r"[+−]?\d+\.\d"
    assert re.fullmatch(rf"\d+\.\d %\s+{number} \({number} to {number}\)", shift.inner_text().strip())
    assert row.locator("td.n").first.locator("small").count() == 0  # in distribution nothing is beyond a prediction
    page.locator("#runs .dt-layout-table").evaluate("place => { place.scrollLeft = 600; }")
    name = row.locator("th").bounding_box()
    assert 0 <= name["x"] <= 40 and "studio labels" in row.locator("th").inner_text()


def test_a_run_can_be_chosen_by_keyboard(open_page, html):
    page = open_page(html, all_charts=False)
    page.locator("#runs-table button.show").nth(2).focus()
    page.keyboard.press("Enter")
    assert page.locator("tr.chosen").count() >= 1
    assert page.evaluate("document.activeElement.id") == "chosen-title"
    for focused in ("close-panel", "chosen-run"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == focused
    page.keyboard.press("Escape")
    assert not page.locator("#panel").is_visible() and page.locator("tr.chosen").count() == 0
    # The focus is back at the button.
    assert page.evaluate("document.activeElement.className") == "show"


def test_on_paper_letters_are_legible_what_is_folded_is_open_and_no_control_is_left(open_page, html):
    page = open_page(html, all_charts=False)  # as who prints at once
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(ALL_DRAWN)
    page.wait_for_timeout(300)
    controls = "nav, button, select, input, #runs-table, #classes-table, [data-found], dialog"
    seen = page.locator(controls).evaluate_all("all => all.filter(e => e.offsetParent && !e.closest('.legend'))")
    assert seen == []
    assert page.locator("[data-controls=study] .legend").is_visible()  # it tells the colours of the charts
    # Charts are as high as their templates say for paper, with axes and legends.
    heights = """all => all.filter(c => c.offsetParent).map(c => [c.dataset.spec, Number(c.dataset.paperHeight),
        c.querySelector("svg.marks").getBoundingClientRect().height])"""
    on_paper = page.locator("[data-paper-height]").evaluate_all(heights)
    assert len(on_paper) > 5 and [one for one in on_paper if not one[1] < one[2] < one[1] + 140] == []
    words = page.locator("main").inner_text()
    assert "All 16 rows: accuracy.csv, effective_robustness.csv" in words and "Trend: +9.1" in words
    folded = "all => all.filter(e => e.offsetParent && !e.open).length"
    assert page.locator("details").evaluate_all(folded) == 0
    assert page.evaluate(SMALL_LETTERS) == []
    # No letter of a chart is cut off by its edge.
    cut = """all => all.filter(t => {
        const [box, whole] = [t, t.closest('svg')].map(one => one.getBoundingClientRect());
        const across = Math.max(whole.left - box.left, box.right - whole.right);
        return box.width && Math.max(across, whole.top - box.top, box.bottom - whole.bottom) > 2;
    }).map(t => [t.closest('[data-spec]').dataset.spec, t.textContent])"""
    assert page.locator("[data-spec] svg text").evaluate_all(cut) == []
    beyond = """all => all.filter(e => e.offsetParent && e.getBoundingClientRect().right
        > document.body.getBoundingClientRect().right + 1).map(e => e.outerHTML.slice(0, 120))"""
    assert page.locator("main *:not(svg *)").evaluate_all(beyond) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#runs-table").is_visible() and page.locator(".on-paper:visible").count() == 0
    page.wait_for_timeout(300)
    assert panel(page).bounding_box()["width"] > 400 and panel(page).bounding_box()["height"] > 300
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # now that all charts are there
    page.wait_for_timeout(300)
    assert page.locator("[data-paper-height]").evaluate_all(heights) == on_paper
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert 1 < count_sheets(page.pdf(prefer_css_page_size=True)) <= MOST_SHEETS


def test_published_models_lie_behind_runs_on_the_same_test_sets(open_page, html):
    page = open_page(make_page(test_kinds={"v2": "imagenet_v2"}))
    show_accuracies(page)
    assert accuracy_panel(page, 1).locator(POINTS).count() == 12 + 12
    assert accuracy_panel(page, 2).locator(POINTS).count() == 12
    page.get_by_label("published models behind").uncheck()
    page.wait_for_timeout(200)
    assert accuracy_panel(page, 1).locator(POINTS).count() == 12
    assert "published:" not in page.locator("[data-controls=study] .legend").inner_text()


def words_of(page, section):
    return " ".join(page.locator(f"#{section} .missing:visible").all_inner_texts())


def test_a_study_with_one_run_opens(open_page):
    runs = make_runs(sources=("studio",), seeds=(0,)).iloc[:1]
    study = make_study(runs)
    study = replace(study, causes=study.causes.iloc[:0], regression=study.regression.iloc[:0])
    page = open_page(make_page(study=study, details=make_details(study, make_data())))
    assert "1 model was evaluated" in page.locator("#runs").inner_text()
    assert "Nothing was compared" in words_of(page, "answer") and "second opinion" in words_of(page, "answer")
    assert "No cause was measured" in page.locator("#headline").inner_text()
    assert "No baseline" in page.locator("#robustness").inner_text()


def test_a_study_without_a_baseline_opens(open_page):
    page = open_page(make_page(baseline=False))
    assert page.locator("#robustness figcaption", has_text="No baseline").count() == 2
    assert panel(page).locator(POINTS).count() == 12
    page.locator("#runs-table button.show").first.click()
    assert "n/a" in page.locator("#chosen").inner_text()


def test_a_page_says_what_is_missing(open_page):
    study, data = make_study(make_runs()), make_data()
    details = emptied(make_details(study, data))
    page = open_page(make_page(reference=None, data=emptied(data), details=details, test_kinds={"v2": "imagenet_v2"}))
    assert "published models" in words_of(page, "published")
    for part in ("No sample", "No filter", "captions", "No text", "No training image"):
        assert part in words_of(page, "data")
    assert "training curves" in words_of(page, "runs") and "Confusions" in words_of(page, "runs")
    page = open_page(make_page(study=emptied(study), data=emptied(data), details=details))
    assert "No run was evaluated" in words_of(page, "runs") and "No shift was measured" in words_of(page, "robustness")


def test_a_part_that_fails_leaves_the_others(open_page):
    study, data = make_study(make_runs()), make_data()
    broken = replace(make_reference(), published={"models": pd.DataFrame()})
    details = make_details(study, data)
    details = replace(details, curves=details.curves.drop(columns="samples"))
    page = open_page(make_page(reference=broken, details=details, test_kinds={"v2": "imagenet_v2"}))
    assert "KeyError" in words_of(page, "published") and "could not be made" in words_of(page, "runs")
    assert panel(page).locator(POINTS).count() == 12 and "12 models" in page.locator("#runs").inner_text()


def test_no_name_can_run_a_script_or_break_the_page(open_page):
    wild = '</script><script>window.broken=1</script><img src=x onerror="window.broken=1">{{7*7}}"\'&\u2028'
    page = open_page(make_page(names=lambda name: f"{name} {wild}"))
    page.locator("#runs-table button.show").first.click()
    panel(page).locator(POINTS).first.hover(force=True)
    assert page.evaluate("window.broken") is None
    assert wild.split("\u2028")[0] in page.locator("#runs-table tbody tr").first.inner_text()


def test_the_scripts_it_brings_are_those_on_record():
    folder = resources.files("whyrobust.report") / "templates" / "vendor"
    recorded = dict(re.findall(r"^\| `([^`]+)` \|.*`([0-9a-f]{64})`", (folder / "README.md").read_text(), re.MULTILINE))
    scripts = [file for file in folder.iterdir() if file.name.endswith(".js")]
    assert {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in scripts} == recorded


def unpacked(text):
    return gzip.decompress(base64.b64decode(text)).decode()


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.none() | st.integers() | st.sampled_from(["x", "y"]))))
def test_packed_rows_are_the_rows(rows):
    charts = ChartData()
    charts.add("first", Panel("", {"height": 1, "datasets": {"points": [{"a": "y"}]}}, ""))
    charts.add("second", Panel("", {"height": 1, "datasets": {"points": rows}}, ""))
    page = json.loads(unpacked(charts.embed({"more": 1})))
    packed = page["rows"][page["specs"]["second"]["datasets"]["points"]]
    columns = {
        name: values if isinstance(values, list) else [page["texts"][code] for code in values["codes"]]
        for name, values in packed["columns"].items()
    }
    names = {name for row in rows for name in row}
    assert [{name: columns[name][row] for name in columns} for row in range(packed["rows"])] == [
        {name: row.get(name) for name in names} for row in rows
    ]
    assert len(page["texts"]) == len(set(page["texts"])) and page["more"] == 1


def test_charts_of_the_same_rows_share_them():
    charts = ChartData()
    for key, rows in (("strips", [{"a": "y"}]), ("others", [{"a": "x"}]), ("accuracies", [{"a": "y"}])):
        charts.add(key, Panel("", {"height": 1, "datasets": {"points": rows}}, ""))
    page = json.loads(unpacked(charts.embed({})))
    places = [page["specs"][key]["datasets"]["points"] for key in ("strips", "others", "accuracies")]
    assert places[0] == places[2] != places[1] and len(page["rows"]) == 2


def test_embedded_data_ends_no_script_and_holds_no_other_chart():
    charts = ChartData()
    charts.add("one", Panel("", {"height": 1}, ""))
    text = charts.embed({"</script>": "<!--\u2028"})
    assert re.fullmatch("[A-Za-z0-9+/=]+", text) and json.loads(unpacked(text))["</script>"] == "<!--\u2028"
    assert charts.embed({"a": 1}) == charts.embed({"a": 1})  # no time of day in it
    with pytest.raises(ValueError, match="not JSON compliant"):
        charts.embed({"a": float("nan")})
    with pytest.raises(ValueError, match="'one'"):
        charts.add("one", Panel("", {"height": 1}, ""))


def test_no_two_runs_share_a_name():
    """Runs that differ in nothing but model, samples seen or seed have names of their own, wherever a run is named."""
    once = make_runs()
    resnet = once.assign(run=once["run"] + "-resnet", model="icon_resnet")
    longer = once.assign(run=once["run"] + "-longer", samples_seen=2000)
    study = make_study(pd.concat([once, resnet, longer], ignore_index=True))
    points = describe_points(study.effective, study.runs)
    nothing = emptied(make_details(study, make_data()))
    shown = run_details(study, points[points["main"]], nothing, make_data().samples)
    in_list = [run["label"] for run in shown["runs"].values()]
    in_table = [
        tuple(row[name] for name in ("kind", "images", "details", "seed", "head"))
        for row in run_rows(study.accuracy, study.effective)
    ]
    in_charts = list(points.loc[points["shift"] == "v2", "words"])
    for names in (in_list, in_table, in_charts):
        assert len(names) == len(set(names)) >= len(study.runs)


def test_classes_are_shown_by_source_with_their_pictures_and_the_answers_to_them(open_page, html):
    page = open_page(html, all_charts=False)
    section = page.locator("#classes")
    assert section.locator("thead th").all_inner_texts() == [
        "Class", "Difference, points", "Accuracy, studio", "Accuracy, web", "Images", "Pairs above : below", "Pictures",
    ]  # fmt: skip
    rows = section.locator("tbody tr")
    first = rows.first.locator("th, td").all_inner_texts()
    assert first[:6] == ["light bulb", "+20.0", "50.0 %", "70.0 %", "80", "5 : 1"]
    heading = section.locator("thead th", has_text="Difference")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    section.locator("th[aria-sort=ascending]").wait_for()
    assert rows.first.locator("th, td").all_inner_texts()[:2] == ["cat", "\N{MINUS SIGN}5.0"]
    section.get_by_label("Show only classes with").fill("dog")
    assert rows.count() == 1
    section.get_by_label("Test set").select_option(label="sketch")
    # Those of the test set that is shown come first.
    pictures = section.locator("tbody tr", has_text="cat").locator("button.picture")
    assert pictures.count() == 4 and pictures.first.get_attribute("data-picture") == "sketch"
    pictures.first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="cat, a picture of sketch")
    assert "0 of 12 runs are right." in dialog.inner_text() and "✗ dog: 12" in dialog.inner_text()
    dialog.locator("summary").click()
    assert dialog.locator("li").count() == 12 and "CLIP on web titles" in dialog.inner_text()
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert pictures.first.evaluate("button => button === document.activeElement")
    # In the samples, too; of a training source there is no answer.
    page.locator("[data-tiles=v2] img").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert "12 of 12 runs are right." in page.get_by_role("dialog", name="dog, a picture of v2").inner_text()
    page.get_by_role("button", name="Close").click()
    page.locator("[data-tiles=web] img").first.click()
    assert "No run was asked" in page.get_by_role("dialog", name="cat, a picture of web").inner_text()


def test_runs_whose_batches_have_false_negatives_are_listed_with_their_share(open_page, html):
    page = open_page(html, all_charts=False)
    rows = page.get_by_role("region", name="False negatives in a batch").locator("tbody tr")
    assert [row.locator("th, td").all_inner_texts()[:3] for row in rows.all()] == [
        ["CLIP on web titles", "2,000", "2"],
        ["CLIP on studio titles", "2,000", "2"],
    ]
    shares = [row.locator("td").last.inner_text().split("\n", 1) for row in rows.all()]
    assert [share[0].strip() for share in shares] == ["2.02 %", "0.02 %"]
    assert [len(share) for share in shares] == [2, 1], "many are marked"
    assert "marked above 1.0 %" in page.locator("#runs").inner_text()


def test_the_share_of_false_negatives_spans_the_runs_of_a_kind_and_a_size():
    runs = make_runs(sources=("studio",), seeds=(0, 1, 2))
    clip = runs["objective"] == "clip"
    runs.loc[clip, "false_negative_share"] = [0.003, 0.001, 0.002]
    expected = {"kind": "CLIP on studio titles", "images": 2000, "runs": 3, "low": 0.001, "high": 0.003}
    assert false_negative_rows(runs) == [expected]
    assert false_negative_rows(runs[~clip]) == []
