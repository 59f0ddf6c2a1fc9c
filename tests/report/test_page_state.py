"""What the reader sets on the page: it stands in the address, and runs are shown and compared in the panel."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from itertools import pairwise
from urllib.parse import parse_qsl

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.pages import make_data, make_details, make_page, make_runs, make_study

POINTS = ".mark-symbol path[d]:not([d=''])"
FIRST, OTHER = "cross_entropy-studio-500-0", "clip-web-2000-1"
FIRST_OF_WEB = "cross_entropy-web-500-0"


@pytest.fixture(scope="module")
def study():
    """Return a made-up study whose intervals reach less far up than down, and in each run less far by another share."""
    made = make_study(make_runs())
    reach = {run: 0.2 + 0.06 * number for number, run in enumerate(made.runs["run"])}
    effective, accuracy = (table.assign(up=table["run"].map(reach)) for table in (made.effective, made.accuracy))
    accuracy["high"] = accuracy["accuracy"] + 0.05 * accuracy.pop("up")
    effective["high_points"] = effective["effective_robustness_points"] + 2 * effective.pop("up")
    return replace(made, accuracy=accuracy, effective=effective)


@pytest.fixture(scope="module")
def html(study):
    return make_page(study=study)


def set_in(page):
    """Return what the address says, without the heading that it may begin with."""
    return [(name, value) for name, value in parse_qsl(page.url.partition("#")[2]) if value]


def state_of(page):
    """Return what a reader sees of what is set."""
    legend = page.locator("[data-controls=study] .legend button[aria-pressed]")
    return {
        "kinds": legend.evaluate_all("all => all.map(b => [b.textContent, b.getAttribute('aria-pressed')])"),
        "count": page.locator("[data-controls=study] [role=status]").inner_text(),
        "view": page.locator("[data-view]:visible").get_attribute("data-view"),
        "panel": page.locator("#chosen").inner_text(),
        "rows": page.locator("#runs-table tbody tr").all_inner_texts(),
        "marked": page.locator("tr.chosen, tr.second").evaluate_all("all => all.map(row => row.dataset.run)"),
    }


def test_what_is_set_stands_in_the_address_and_back_undoes_it(open_page, html):
    page = open_page(html, all_charts=False)
    controls = page.locator("[data-controls=study]")
    steps = [state_of(page)]

    def take(step):
        step()
        steps.append(state_of(page))

    page.locator("#runs-table button.show").first.focus()
    take(lambda: page.keyboard.press("Enter"))
    take(lambda: page.locator("#second-run").select_option(OTHER))
    take(lambda: page.locator("#chosen-test-set").select_option("sketch"))
    take(lambda: controls.get_by_label("Colour and shape by").select_option("objective"))
    take(lambda: controls.get_by_role("button", name="Only CLIP").press("Enter"))
    take(lambda: controls.locator("input[data-field=reading]").nth(1).evaluate("box => box.click()"))
    take(lambda: controls.locator("select").first.select_option("accuracies"))
    take(lambda: page.get_by_label("sketch: Activate to sort").press("Enter"))
    take(lambda: page.get_by_label("Show only rows with").press_sequentially("web"))
    assert all(one != other for one, other in pairwise(steps))
    wanted = {
        "run": FIRST, "with": OTHER, "test": "sketch", "by": "objective", "show": "accuracies",
        "hide.objective": "cross-entropy", "sort": "sketch.asc", "rows": "web",
    }  # fmt: skip
    assert dict(set_in(page)) == wanted and "hide.reading=" in page.url
    page.reload()
    page.wait_for_selector("html[data-charts=drawn][data-tables=there]")
    assert state_of(page) == steps[-1]
    for before in steps[-2::-1]:
        page.go_back()
        assert state_of(page) == before
    assert "#" not in page.url
    for after in steps[1:]:
        page.go_forward()
        assert state_of(page) == after
    # A link to a heading keeps what is set, and stands before it.
    page.locator("#data a.to-heading").first.press("Enter")
    assert page.url.partition("#")[2].startswith("data&") and dict(set_in(page)) == wanted
    # The page scrolls there smoothly.
    page.wait_for_function("Math.abs(document.getElementById('data').getBoundingClientRect().top) < 100")
    headings = page.locator("main :is(h2, h3, h4)")
    assert headings.count() > 30
    lost = """all => all.filter(h => !document.getElementById(h.querySelector(':scope > a').hash.slice(1)))
        .map(h => h.textContent)"""
    assert headings.evaluate_all(lost) == []


def test_two_runs_are_compared_in_the_panel(open_page, html, study):
    page = open_page(html, all_charts=False)
    place = page.locator("[data-spec=shift-1]")
    place.scroll_into_view_if_needed()
    page.wait_for_selector("[data-spec=shift-2] svg.marks")
    top = place.bounding_box()["y"]
    place.locator(POINTS).nth(1).click(force=True)
    panel = page.locator("#panel")
    # The panel is beside the charts, which follow the narrower page and stay where they are.
    assert place.bounding_box()["x"] + place.bounding_box()["width"] <= panel.bounding_box()["x"]
    assert abs(place.bounding_box()["y"] - top) < 2
    page.wait_for_timeout(200)
    assert place.locator("svg").bounding_box()["width"] <= place.bounding_box()["width"] + 1
    page.locator("#pin-run").click()
    place.locator(POINTS).nth(10).click(force=True)
    chosen = dict(set_in(page))
    assert len(chosen) == 2 and chosen["run"] != chosen["with"]

    def row(table, run):
        found = table[(table["run"] == run) & table["main"]]
        return found.set_index("test_set" if "test_set" in found else "shift").loc["v2"]

    a, b = (row(study.accuracy, chosen[name]) for name in ("run", "with"))
    value = b.accuracy - a.accuracy
    low = value - np.hypot(b.accuracy - b.low, a.high - a.accuracy)
    high = value + np.hypot(b.high - b.accuracy, a.accuracy - a.low)
    cells = panel.get_by_label("Accuracy of both runs").locator("tbody tr", has_text="v2").locator("td")
    shown = [text.replace("\N{MINUS SIGN}", "-").split() for text in cells.all_inner_texts()]
    assert shown[1][0] == f"{100 * a.accuracy:.1f}" and shown[2][0] == f"{100 * b.accuracy:.1f}"
    assert shown[3] == [f"{100 * value:+.1f}", f"{100 * low:+.1f}", "to", f"{100 * high:+.1f}"]
    assert abs((high - value) - (value - low)) > 0.002  # or swapped ends would be the same
    a, b = (row(study.effective, chosen[name]) for name in ("run", "with"))
    value = b.effective_robustness_points - a.effective_robustness_points
    cells = panel.get_by_label("Effective robustness of both runs").locator("tbody tr", has_text="v2").locator("td")
    up_a, up_b = (one.high_points - one.effective_robustness_points for one in (a, b))
    expected = [f"{value:+.1f}", f"{value - np.hypot(2, up_a):+.1f}", "to", f"{value + np.hypot(up_b, 2):+.1f}"]
    assert abs(up_a - up_b) > 0.1
    assert cells.last.inner_text().replace("\N{MINUS SIGN}", "-").split() == expected
    # The made-up runs give the same answers: no picture is right with one only; classes differ, largest first.
    assert "Only A is right: 0 of 3" in panel.inner_text()
    differ = panel.get_by_label("Classes that differ most").locator("tbody tr td:last-child").all_inner_texts()
    sizes = [abs(float(text.replace("\N{MINUS SIGN}", "-"))) for text in differ]
    assert len(sizes) == 3 and sizes == sorted(sizes, reverse=True)
    # A point chosen again is let go of; Escape closes the panel and the page has its width again.
    place.locator(POINTS).nth(10).click(force=True)
    assert "with" not in dict(set_in(page))
    page.keyboard.press("Escape")
    assert not panel.is_visible() and set_in(page) == []


def test_pictures_that_only_one_of_two_runs_has_right(open_page):
    study, data = make_study(make_runs()), make_data()
    details = make_details(study, data)
    answers = details.sample_predictions
    wrong = (answers["run"] == OTHER) & (answers["test_set"] == "v2")
    answers.loc[wrong, ["prediction", "correct"]] = ["light bulb", False]
    page = open_page(make_page(study=study, data=data, details=details), width=390, all_charts=False)
    page.evaluate(f"location.hash = 'run={FIRST}&with={OTHER}&test=v2'")
    panel = page.locator("#panel")
    panel.wait_for()
    # On a phone the panel is below the page, which can be scrolled until nothing lies behind the panel.
    assert panel.bounding_box()["y"] > 400 and panel.bounding_box()["width"] == 390
    assert "Only A is right: 1 of 3" in panel.inner_text() and "Only B is right: 0 of 3" in panel.inner_text()
    assert panel.locator(".tiles .wrong").inner_text().startswith("B ✗ light bulb, not ")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_panel_with_a_comparison_is_open_to_everyone_and_to_the_keyboard_alone(open_page, html, scheme):
    """From a run to the panel, to a pinned comparison and back, without a mouse."""
    page = open_page(html, scheme=scheme, all_charts=False)
    focused = "document.activeElement.id || document.activeElement.className"
    page.locator("#runs-table button.show").first.focus()
    page.keyboard.press("Enter")
    for name in ("chosen-title", "close-panel", "chosen-run", "second-run", "pin-run"):
        assert page.evaluate(focused) == name
        page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    assert page.locator("#pin-run").get_attribute("aria-pressed") == "true"
    page.locator("#runs-table button.show").nth(3).focus()
    page.keyboard.press("Enter")
    chosen = dict(set_in(page))
    assert chosen["run"] == FIRST and chosen["with"] not in ("", FIRST)
    assert page.locator("#panel").get_by_label("Accuracy of both runs").is_visible()
    found = Axe().run(page).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "close-panel"
    page.keyboard.press("Enter")
    assert not page.locator("#panel").is_visible() and set_in(page) == [] and page.evaluate(focused) == "show"


def saved(page, button):
    """Return the text of the file that a button saves."""
    with page.expect_download() as download:
        button.click()
    return download.value.path().read_text(encoding="utf-8")


def test_a_region_shows_its_runs_everywhere_and_what_is_shown_can_be_saved(open_page, html):
    page = open_page(html, all_charts=False)
    place = page.locator("[data-spec=shift-1]")
    place.evaluate("place => place.scrollIntoView({ behavior: 'instant', block: 'center' })")
    page.wait_for_selector("[data-spec=shift-2] svg.marks")
    page.wait_for_function("document.documentElement.dataset.charts === 'drawn'")
    box = place.locator("svg .root > g > .background").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.55 * box["height"], steps=3)
    page.mouse.up()
    inside = {"cross_entropy-web-500-0", "clip-web-2000-0", "clip-web-2000-1"}
    rows = "all => all.map(row => row.dataset.run)"
    assert set(page.locator("#runs-table tbody tr").evaluate_all(rows)) == inside
    assert page.locator("#region-news").inner_text().startswith("3 runs in the region on v2")
    page.wait_for_timeout(200)
    faint = "all => all.filter(p => parseFloat(p.getAttribute('opacity')) < 0.2).length"
    for number in (1, 2):
        assert page.locator(f"[data-spec=shift-{number}] {POINTS}").evaluate_all(faint) == 12 - 3
    # Its points are those shown: a kind that is left out has none in it.
    page.get_by_label("Colour and shape by").first.select_option(label="kind of training")
    legend = page.locator("[data-controls=study] .legend")
    legend.get_by_role("button", name="CLIP on web titles", exact=True).press("Enter")
    assert page.locator("#region-news").inner_text().startswith("1 run in")
    assert page.locator("figcaption .live").first.inner_text() == "10 points shown."
    # What is saved is what is shown, numbers as numbers.
    points = list(csv.DictReader(io.StringIO(saved(page, page.get_by_role("button", name="Save the points shown")))))
    assert [(row["shift"], row["training images"], row["effective robustness, points"]) for row in points] == [
        ("v2", "500", "10.1"), ("sketch", "500", "10.1"),
    ]  # fmt: skip
    runs = list(csv.DictReader(io.StringIO(saved(page, page.get_by_role("button", name="Save the rows shown")))))
    assert [(row["run"], row["v2, accuracy"], row["Images"]) for row in runs] == [(FIRST_OF_WEB, "0.3050", "500")]
    drawing = saved(page, page.get_by_label("Save the chart v2 as SVG").first)
    assert (
        drawing.startswith("<svg")
        and "var(" not in drawing
        and "light-dark(" not in drawing
        and "mean accuracy on studio test" in drawing
    )
    # The address has it, and by keyboard it moves, changes its size and goes.
    page.reload()
    page.wait_for_selector("html[data-charts=drawn][data-tables=there]")
    assert page.locator("#region-news").inner_text().startswith("1 run in")
    page.get_by_label("Select a region on sketch").first.press("Enter")
    # The chart is drawn first where it was not near.
    region = page.locator("#region[aria-label^='Region on sketch']")
    region.wait_for()
    # In its figure: the page itself moves while charts are drawn.
    place = "r => ({ x: r.offsetLeft, y: r.offsetTop, width: r.offsetWidth, height: r.offsetHeight })"
    before = region.evaluate(place)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    after = region.evaluate(place)
    moved = {name: round(after[name] - before[name]) for name in before}
    assert moved == {"x": 12, "y": 0, "width": 0, "height": 12}
    page.keyboard.press("Escape")
    assert page.locator("#region").count() == 0 and "region=" not in page.url
    assert page.evaluate("document.activeElement.textContent") == "Select a region"


def test_captions_and_legend_say_what_is_drawn_now(open_page):
    study = make_study(make_runs())
    clip = study.effective["run"].str.startswith("clip")
    lost = (study.effective["run"] == OTHER) & study.effective["main"] & (study.effective["shift"] == "v2")
    effective = study.effective.assign(extrapolated=clip)
    effective.loc[lost, ["residual", "effective_robustness_points"]] = np.nan
    page = open_page(make_page(study=replace(study, effective=effective)), all_charts=False)
    page.get_by_label("Colour and shape by").first.select_option(label="kind of training")
    caption = page.locator("[data-view=residuals] figcaption .live").first
    words = caption.inner_text()
    assert words.startswith("11 points shown.") and "Hollow: 3 points" in words
    assert "Not drawn: 1 point without a measurement (CLIP on web titles, 2,000 images, seed 1" in words
    heads = page.locator("[data-controls=study] input[data-field=reading]")
    heads.nth(1).evaluate("box => box.click()")
    assert "15 points shown. Not drawn: 1 point" in caption.inner_text() and "Hollow: 7 points" in caption.inner_text()
    page.locator("[data-controls=study] input[data-field=source][value=studio]").evaluate("box => box.click()")
    assert "Hollow: 3 points" in caption.inner_text()
    legend = page.locator("[data-controls=study] .legend li")
    assert ["none shown" in text for text in legend.all_inner_texts()] == [True, True, False, False]
