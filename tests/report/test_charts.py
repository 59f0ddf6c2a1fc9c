"""What the charts show, that nothing of the data is lost, and how large they are in print."""

from __future__ import annotations

import gc
import itertools
import json
import math
import re
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import logit
from scipy.stats import norm

from tests.pages import (
    make_cause_row,
    make_causes,
    make_doses,
    make_frequencies,
    make_seed_effects,
    make_shifts,
    make_single_causes,
    make_team_differences,
)
from whyrobust.report import theme
from whyrobust.report.accuracy_axes import choose_ticks, transform_accuracy
from whyrobust.report.charts.causes import causes_chart, causes_panel, least_height, print_layout
from whyrobust.report.charts.distribution import dose_chart, frequency_chart, shown_frequencies
from whyrobust.report.charts.explorer import SEQUENCE, Choice, ExplorerOptions, choose_value_styles, explorer_panel
from whyrobust.report.charts.residuals import residual_axis, residual_chart, residual_panel, standard_deviation
from whyrobust.report.charts.robustness import (
    PrintLayout,
    RobustnessData,
    choose_published_styles,
    robustness_chart,
    robustness_panel,
)
from whyrobust.report.charts.what_changed import shown_teams, what_changed_spec
from whyrobust.report.findings import main_comparisons
from whyrobust.report.render import measure_chart, save_figure
from whyrobust.report.theme import (
    DOUBLE_COLUMN_POINTS,
    FILE_THEME,
    NEUTRAL,
    PALETTE,
    PNG_PIXELS_PER_INCH,
    PRINT_FONT_POINTS,
    SINGLE_COLUMN_POINTS,
    VERDICT_STYLES,
    VERDICT_WORDS,
    chart_of,
    choose_styles,
    page_colour,
    text_width,
    wrap_text,
)
from whyrobust.study.display_names import NO_VERDICT, VERDICTS

SCALES = ("logit", "probit", "linear")
LONG = "cross-entropy on web at the class proportions of ImageNet-Captions labels found in text, after SimCLR"


def draw_points(accuracies, kinds=("CLIP on web titles",), shifts=("v2",)):
    """Return rows of the effective robustness table, described, one a pair of accuracies and shift."""
    return pd.DataFrame(
        {
            "run": f"run_{number}", "shift": shift, "x_test_set": "studio_test", "id_accuracy": x, "shift_accuracy": y,
            "id_low": max(x - 0.02, 0), "id_high": min(x + 0.02, 1), "shift_low": max(y - 0.02, 0),
            "shift_high": min(y + 0.02, 1), "extrapolated": number % 2 == 1, "standard": False,
            "effective_robustness_points": 1.0, "train_images": 100 * (number + 1), "kind": kinds[number % len(kinds)],
            "words": f"model {number}",
        }
        for shift in shifts
        for number, (x, y) in enumerate(accuracies)
    )  # fmt: skip


def draw_lines(shifts=("v2",)):
    """Return baselines and their bands: y = x in logits."""
    baselines = pd.DataFrame(
        {"shift": shift, "x_test_set": "studio_test", "models": 12, "r_squared": 0.9, "x_low": 0.3, "x_high": 0.7}
        for shift in shifts
    )
    places = np.linspace(0.1, 0.9, 20)
    bands = pd.DataFrame(
        {"shift": shift, "x": x, "y": x, "low": x - 0.02, "high": x + 0.02} for shift in shifts for x in places
    )
    return baselines, bands


def draw_causes(causes=5, comparisons=3, shifts=("v2", "rendition", "sketch", "objects")):
    rng = np.random.default_rng(0)
    names = ["training_set_size", "training_distribution", "language_at_training", "language_at_test"]
    names.append("contrastive_loss")
    rows = []
    for cause, number, shift in itertools.product(names[:causes], range(comparisons), ("mean", *shifts)):
        effect, half = rng.normal(0, 6), abs(rng.normal(0, 4))
        comparison = (
            f"{number}: a linear probe on web instead of studio images at equal class proportions, on one encoder"
        )
        rows.append(make_cause_row(cause, comparison, shift, effect, half, main=number == 0))
    return pd.DataFrame(rows)


def drawn_rows(chart):
    """Return the rows of all layers of a chart."""
    tables = [layer.data for layer in chart.layer if isinstance(layer.data, pd.DataFrame)]
    return [row for table in tables for row in table.to_dict("records")]


@pytest.mark.parametrize(("scale", "reference"), [("logit", logit), ("probit", norm.ppf), ("linear", float)])
@given(accuracy=st.floats(0, 1))
def test_accuracies_are_transformed_as_scipy_does(scale, reference, accuracy):
    expected = float(reference(accuracy))
    assert transform_accuracy(accuracy, scale) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_what_is_no_accuracy_is_an_error_or_missing():
    assert math.isnan(transform_accuracy(math.nan, "logit"))
    for accuracy, scale in ((55.0, "logit"), (-0.1, "linear"), (0.5, "log")):
        with pytest.raises(ValueError, match=r"accuracy|scale"):
            transform_accuracy(accuracy, scale)


@given(
    ends=st.tuples(st.floats(0.0005, 0.9995), st.floats(0.0005, 0.9995)).filter(
        lambda ends: abs(ends[0] - ends[1]) > 0.02
    ),
    scale=st.sampled_from(SCALES),
    most=st.integers(2, 9),
)
def test_ticks_lie_inside_the_axis_with_room_for_their_labels(ends, scale, most):
    low, high = sorted(transform_accuracy(end, scale) for end in ends)
    places = [transform_accuracy(tick, scale) for tick in choose_ticks(low, high, scale, most)]
    assert places == sorted(places) and len(places) >= 2
    assert all(low <= place <= high for place in places)
    assert all(after - before >= (high - low) / most - 1e-9 for before, after in itertools.pairwise(places))


def test_ticks_prefer_round_accuracies():
    assert {0.1, 0.5, 0.9} <= set(choose_ticks(float(logit(0.06)), float(logit(0.94)), "logit"))


def test_kinds_are_told_apart_by_colour_and_shape():
    kinds = [f"kind {number}" for number in range(36)]
    assert len(set(choose_styles(kinds).values())) == 36
    few = choose_styles(kinds[: len(PALETTE)]).values()
    assert len({colour for colour, _ in few}) == len({shape for _, shape in few}) == len(PALETTE)
    assert choose_styles(kinds, {"kind 3": "#123456"})["kind 3"][0] == "#123456"
    assert choose_published_styles(["standard models", "CLIP"])["standard models"] == (NEUTRAL, "circle")


def luminance(colour):
    """Return the relative luminance of ``#RRGGBB`` as WCAG 2.2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("colour", [*PALETTE, *SEQUENCE, NEUTRAL, "#000000", "#FFFFFF", "#FFFF00", "#1400FF"])
def test_a_colour_of_the_page_has_contrast_in_both_schemes(colour):
    """On the bare page, and under the band of a line; one that has it keeps its colour."""
    shown = re.fullmatch(r"light-dark\((#[0-9A-F]{6}), (#[0-9A-F]{6})\)", page_colour(colour)).groups()
    for one, grounds in zip(shown, (("#ffffff", "#e5e7e9"), ("#14171a", "#2e3236")), strict=True):
        for ground in grounds:
            light, dark = sorted((luminance(one), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3
    assert page_colour("#0072B2").startswith("light-dark(#0072B2, ") and page_colour("#E69F00").endswith(" #E69F00)")


def test_sources_of_a_series_go_from_dark_to_light_and_others_stand_apart():
    names = ["web", "another", "half web", "studio", "yet another"]
    points = pd.DataFrame({"source": names, "background": False})
    styles = choose_value_styles(points, "source", {}, ["studio", "half web", "not used", "web"])
    assert list(styles) == ["studio", "half web", "web", "another", "yet another"]
    colours = [style["colour"] for style in styles.values()]
    assert colours[:3] == [SEQUENCE[0], SEQUENCE[3], SEQUENCE[-1]] and len(set(colours)) == 5
    assert not set(colours[3:]) & set(SEQUENCE)
    # Without a series they are told apart as other values are.
    assert [style["colour"] for style in choose_value_styles(points, "source", {}).values()] == list(PALETTE[:5])


def test_the_band_of_residuals_is_of_the_standard_models_and_counts_what_the_fit_takes():
    standard, residuals = [True] * 6 + [False], [0.1, -0.1, 0.2, -0.2, 0.3, -0.3, 9.0]
    points = pd.DataFrame({"standard": standard, "residual": residuals, "x_test_sets": "studio_test web_test"})
    assert standard_deviation(points) == pytest.approx(math.sqrt(0.28 / 3), abs=1e-4)
    assert standard_deviation(points.iloc[:3]) == 0


def test_the_edges_of_a_band_are_drawn():
    """Its inside is faint: where it ends is told by a line along either edge, at full strength."""
    points = measured_models().assign(layer=False)
    options = ExplorerOptions([Choice("kind", "kind", {"CLIP on web titles": {"colour": NEUTRAL, "shape": "circle"}})])
    data, styles = RobustnessData(points, *draw_lines()), choose_styles(["CLIP on web titles"])
    for chart in (explorer_panel(data, "v2", options), robustness_panel(data, "v2", styles, PrintLayout()).to_dict()):
        area = next(layer for layer in chart["layer"] if layer["mark"]["type"] == "area")
        ends = {area["encoding"]["y"]["field"], area["encoding"]["y2"]["field"]}
        lines = [
            layer for layer in chart["layer"] if layer["mark"]["type"] == "line" and layer.get("data") == area["data"]
        ]
        edges = [line for line in lines if line["encoding"]["y"]["field"] in ends]
        assert len(edges) == 2 == len({line["encoding"]["y"]["field"] for line in edges})
        assert all(line["mark"]["strokeWidth"] > 0 and line["mark"].get("opacity", 1) == 1 for line in edges)
    causes = make_causes()
    spec = what_changed_spec(causes[causes["main"]], make_single_causes(causes).iloc[:0], 2.0)
    rules = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    margin = [{"value": -2.0}, {"value": 2.0}]
    (edges,) = (layer["mark"] for layer in rules if spec["datasets"][layer["data"]["name"]] == margin)
    assert edges["strokeWidth"] > 0 and edges.get("opacity", 1) == 1


def test_titles_of_axes_fit_on_paper():
    """Where panels are 150 pixels high and about 345 wide with their axis."""
    shift = "a_test_set_with_a_name_of_some_length"
    points = measured_models().replace({"shift": {"v2": shift}})
    points = points.assign(layer=False, x_test_sets=f"{shift} web_test")
    options = ExplorerOptions([Choice("kind", "kind", {"CLIP on web titles": {"colour": NEUTRAL, "shape": "circle"}})])
    for of_residuals in (False, True):
        spec = explorer_panel(RobustnessData(points, *draw_lines((shift,))), shift, options, of_residuals)
        for name, room in (("x", 270), ("y", 150)):
            axes = [layer["encoding"].get(name, {}).get("axis") for layer in spec["layer"]]
            titles = [axis["title"] for axis in axes if axis and axis.get("title")]
            assert titles and all(text_width(line, 12) <= room for title in titles for line in title)
            assert len(titles[0]) > 1 or (name == "x" and not of_residuals)


def test_colours_are_told_apart_by_lightness_or_hue_in_every_kind_of_colour_blindness():
    """By the projections of Machado et al. 2009 at full severity, in CIE L*a*b*: 10 is well above what is just seen."""
    blindness = {
        "none": np.eye(3),
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
    }  # fmt: skip
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(colour, matrix):
        srgb = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        xyz = to_xyz @ np.clip(np.asarray(matrix) @ linear, 0, 1) / [0.9505, 1.0, 1.089]
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for matrix in blindness.values():
        for first, second in itertools.combinations(PALETTE, 2):
            assert np.linalg.norm(lab(first, matrix) - lab(second, matrix)) > 10


@settings(max_examples=30, deadline=None)
@given(
    accuracies=st.lists(
        st.tuples(*[st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, math.nan]))] * 2), min_size=1, max_size=8
    ),
    scale=st.sampled_from(SCALES),
)
def test_every_measured_point_is_drawn(accuracies, scale):
    points = draw_points(accuracies)
    panel = robustness_panel(
        RobustnessData(points, *draw_lines(), scale), "v2", choose_styles(["CLIP on web titles"]), PrintLayout()
    )
    drawn = {row["words"]: row for row in drawn_rows(panel) if "words" in row}
    absent = [row.words for row in points.itertuples() if math.isnan(row.id_accuracy) or math.isnan(row.shift_accuracy)]
    assert set(drawn) == set(points["words"]) - set(absent)
    assert all(math.isfinite(row["x"]) and math.isfinite(row["y"]) for row in drawn.values())


@given(text=st.text(max_size=80), width=st.floats(20, 200))
def test_wrapped_text_loses_no_letter_and_fits(text, width):
    lines = wrap_text(text, width, 8)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(text_width(line, 8) <= width or len(line) == 1 for line in lines)


def test_the_first_contrast_of_each_cause():
    chosen = main_comparisons(draw_causes())
    assert len(chosen) == 5 * 5 and chosen["comparison"].str.startswith("0:").all()


def texts_of(path):
    """Return the text of a drawing with its size in points, as (text, size)."""
    root = ElementTree.parse(path).getroot()
    width, height = root.get("width"), root.get("height")
    # One unit of the drawing is one point.
    assert [f"{side}pt" for side in root.get("viewBox").split()[2:]] == [width, height]
    texts = [node for node in root.iter() if node.tag.endswith("}text")]
    return [("".join(node.itertext()), float(node.get("font-size").removesuffix("px"))) for node in texts]


@pytest.mark.parametrize("total", [DOUBLE_COLUMN_POINTS, SINGLE_COLUMN_POINTS])
@pytest.mark.parametrize("figure", ["effective_robustness", "causes"])
def test_a_figure_is_as_wide_as_its_column_with_text_of_8_points(tmp_path, figure, total):
    causes = draw_causes()
    shifts = ("v2", "imagenet_rendition_of_another_kind", "sketch")
    points = draw_points([(0.3, 0.2), (0.8, 0.7), (0.5, 0.5)], (LONG, "CLIP on web titles", f"{LONG}, twice"), shifts)
    if figure == "causes":
        columns = 2 if total == DOUBLE_COLUMN_POINTS else 1
        chart = causes_chart(causes, total=total, columns=columns)
        # So that a figure higher than a page is known without drawing it; axes, titles and legend are the rest.
        height = measure_chart(chart)[1]
        assert 0.5 * height < least_height(causes, total=total, columns=columns) < height
    else:
        chart = robustness_chart(RobustnessData(points, *draw_lines(shifts)), total=total)
    svg, pdf, png, spec, csv = save_figure(chart, tmp_path, figure, points)
    assert measure_chart(chart)[0] == total
    # A PDF says its size in points of 1/72 inch.
    box = re.search(rb"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+) ?\]", pdf.read_bytes())
    assert float(box[1]) == total
    with Image.open(png) as image:
        assert image.width == pytest.approx(total / 72 * PNG_PIXELS_PER_INCH, abs=1)
    texts = texts_of(svg)
    assert {size for _, size in texts} == {PRINT_FONT_POINTS}
    assert not any("…" in text for text, _ in texts)
    shown = " ".join(text for text, _ in texts).replace(" ", "")
    needed = set(causes["comparison"]) if figure == "causes" else set(points["kind"])
    assert all(words.replace(" ", "") in shown for words in needed)
    written = json.loads(spec.read_text(encoding="utf-8"))
    alt.Root.validate(written)
    assert written["config"]["background"] == FILE_THEME["background"]
    assert len(pd.read_csv(csv)) == len(points)


def test_rows_that_layers_share_are_prepared_once_and_other_rows_are_others(monkeypatch):
    prepared = []
    monkeypatch.setattr(theme, "to_values", lambda data: prepared.append(len(data)) or alt.to_values(data))
    for value in range(20):
        gc.collect()  # a frame that is gone leaves its place in memory to the next
        rows, others = chart_of([{"x": value}]), chart_of([{"x": -1}, {"x": value}])
        layers = [rows.mark_point(), others.mark_rule(), rows.mark_tick()]
        spec = alt.layer(*(layer.encode(x="x:Q") for layer in layers)).to_dict()
        assert sorted(spec["datasets"].values(), key=len) == [[{"x": value}], [{"x": -1}, {"x": value}]]
    assert sorted(prepared) == [1] * 20 + [2] * 20


def test_a_verdict_has_a_shape_of_its_own_and_comes_with_the_table():
    verdicts = ("raises", "lowers", "within ±2", "undecided", "")
    rows = pd.DataFrame([make_cause_row("loss", "a", f"shift {name}", 5, 1, verdict=name) for name in verdicts])
    rows.loc[1, "extrapolated_pairs"] = 2
    panel = causes_panel(rows, "loss", print_layout(rows))
    shapes, *_ = (
        layer.encoding.shape.to_dict()["scale"] for layer in panel.layer if "shape" in layer.encoding.to_dict()
    )
    assert shapes["domain"] == ["raises", "lowers", "within", "undecided", "no verdict"]
    assert len(set(shapes["range"])) == 5
    drawn = [row for row in drawn_rows(panel) if "verdict" in row][:5]
    assert [row["verdict"] for row in drawn] == shapes["domain"]
    assert [row["hollow"] for row in drawn] == [False, True, False, False, False]
    assert set(VERDICT_STYLES) == set(VERDICT_WORDS) == {*VERDICTS, NO_VERDICT}


def measured_models():
    """Return points with residuals, one of them without."""
    points = draw_points([(0.3, 0.2), (0.8, 0.7), (0.5, 0.5), (0.6, 0.1)], shifts=("v2", "sketch"))
    residual = [0.4, -0.2, 0.0, math.nan] * 2
    return points.assign(
        residual=residual, residual_low=np.subtract(residual, 0.1), residual_high=np.add(residual, 0.1),
        mean_id_accuracy=points["id_accuracy"], x_test_sets="studio_test web_test",
    )  # fmt: skip


def test_residuals_are_drawn_where_they_are_on_an_axis_in_points_at_the_reference():
    data = RobustnessData(measured_models(), *draw_lines())
    panel = residual_panel(data, "v2", (40, 125))
    assert [row["y"] for row in panel.rows] == [0.4, -0.2, 0.0]
    assert [row["x"] for row in panel.rows] == pytest.approx([logit(x) for x in (0.3, 0.8, 0.5)], abs=1e-3)
    assert "studio test and web test" in panel.x_title and panel.x_title.startswith("mean accuracy")
    axis = residual_axis((-1.0, 1.0), "logit", 0.5, "points", FILE_THEME)
    labels = json.loads(axis["labelExpr"][1 : axis["labelExpr"].index(")[")])
    for place, words in zip(axis["values"], labels.values(), strict=True):
        points = float(words.replace("\N{MINUS SIGN}", "-"))
        assert place == pytest.approx(float(logit(0.5 + points / 100)), abs=1e-9)
    assert {"0", "+10", "\N{MINUS SIGN}10", "+20"} <= set(labels.values())


def test_a_residual_at_an_accuracy_of_0_or_1_is_drawn_at_the_edge():
    models = measured_models().assign(mean_id_accuracy=[1.0, 0.8, 0.0, 0.6] * 2)
    panel = residual_panel(RobustnessData(models, *draw_lines()), "v2", (40, 125))
    low, high = panel.x_span
    assert [row["x"] for row in panel.rows] == pytest.approx([high, logit(0.8), low], abs=1e-3)
    assert [row["edge"] for row in panel.rows] == ["right", "", "left"]
    assert all(row["x_low"] == row["x"] == row["x_high"] for row in panel.rows)


def doses():
    return make_doses().assign(source="web_at_the_class_proportions_of_studio")


@pytest.mark.parametrize("total", [DOUBLE_COLUMN_POINTS, SINGLE_COLUMN_POINTS])
@pytest.mark.parametrize(
    "draw",
    [
        lambda **size: residual_chart(RobustnessData(measured_models(), *draw_lines()), 0.5, **size),
        lambda **size: dose_chart(doses(), **size),
        lambda **size: frequency_chart(shown_frequencies(make_frequencies(), make_shifts()), **size),
    ],
    ids=["residuals", "doses", "frequencies"],
)
def test_a_further_figure_is_as_wide_as_its_column_with_text_of_8_points(tmp_path, draw, total):
    chart = draw(total=total)
    assert measure_chart(chart)[0] == total
    svg, _, _, spec, _ = save_figure(chart, tmp_path, "figure", pd.DataFrame({"a": [1]}))
    alt.Root.validate(json.loads(spec.read_text(encoding="utf-8")))
    texts = texts_of(svg)
    assert {size for _, size in texts} == {PRINT_FONT_POINTS}
    assert not any("…" in text for text, _ in texts)


def test_frequencies_are_those_of_one_run_a_group_on_what_takes_part_in_the_answer():
    table = make_frequencies()
    others = [table.assign(seed=1), table.assign(source="half_web"), table.assign(train_images=0)]
    smaller = table.assign(run=table["run"] + " small", train_images=table["train_images"] // 2)
    chosen = shown_frequencies(pd.concat([smaller, *others, table]), make_shifts())
    expected = table[table["test_set"] != "sketch"]
    pd.testing.assert_frame_equal(chosen.reset_index(drop=True), expected.reset_index(drop=True))
    elsewhere = shown_frequencies(table, make_shifts().assign(source="no such source"))
    assert set(elsewhere["source"]) == {"studio", "web"}


def test_what_changed_shows_every_measure_of_every_test_set():
    causes = make_causes()
    chosen = causes[causes["comparison"] == "web instead of studio"]
    single = make_single_causes(causes)
    paper = single[(single["comparison"] == "web instead of studio") & (single["measurement"] == "paper")]
    spec = what_changed_spec(chosen, paper, 2.0)
    rows = [row for rows in spec["datasets"].values() for row in rows if "measure" in row]
    told = {(row["test_set"], row["measure"]): row["value"] for row in rows}
    assert len(told) == 3 * 4
    assert told["mean over shifts", "raw_id"] == -5.7 and told["v2", "raw_shift"] == 3.4
    assert told["sketch", "effect"] == 9.8 and told["v2", "paper"] == pytest.approx(15.4)
    lanes = {
        name: min(row["lane"] for row in rows if row["test_set"] == name)
        for name in ("mean over shifts", "v2", "sketch")
    }
    headings = [row for rows in spec["datasets"].values() for row in rows if "text" in row]
    (apart,) = {row["lane"] for row in headings}
    assert lanes["mean over shifts"] < lanes["v2"] < apart < lanes["sketch"]
    assert {"low": -2.0, "high": 2.0} in [row for rows in spec["datasets"].values() for row in rows]
    assert "+9.8 raises" in json.dumps(spec) and "+9.8 case study" in json.dumps(spec)
    assert not any("seed" in row for rows in spec["datasets"].values() for row in rows)
    alone = what_changed_spec(chosen, paper.iloc[:0], 2.0)
    assert not any(row.get("measure") == "paper" for rows in alone["datasets"].values() for row in rows)


def test_what_changed_shows_every_seed_below_each_measure():
    """A dot for each seed and measure: beside interval and point, before them in the drawing, at full strength."""
    causes = make_causes()
    chosen = causes[causes["comparison"] == "web instead of studio"]
    single = make_single_causes(causes)
    paper = single[(single["comparison"] == "web instead of studio") & (single["measurement"] == "paper")]
    table = make_seed_effects(causes)
    seeds = table[table["comparison"] == "web instead of studio"]
    # A seed far out, which the axis has room for, and one that has no pair by the paper's line.
    seeds = seeds.assign(effect_points=[-31.0, *seeds["effect_points"].iloc[1:]])
    seeds = seeds.assign(paper_points=[math.nan, *seeds["paper_points"].iloc[1:]])
    for of_paper in (paper, paper.iloc[:0]):
        spec = what_changed_spec(chosen, of_paper, 2.0, by_seed=seeds)
        of_layers = [spec["datasets"].get(layer.get("data", {}).get("name"), []) for layer in spec["layer"]]
        (place,) = (number for number, rows in enumerate(of_layers) if rows and "seed" in rows[0])
        measured = [number for number, rows in enumerate(of_layers) if rows and "measure" in rows[0]]
        assert place < min(measured)
        dots, marks = of_layers[place], {(row["test_set"], row["words"]): row for n in measured for row in of_layers[n]}
        assert len(dots) == len(seeds) * len({words for _, words in marks}) - bool(len(of_paper))
        below = {round(dot["lane"] - marks[dot["test_set"], dot["words"]]["lane"], 6) for dot in dots}
        assert below == {0.4}
        beyond_all = [dot["value"] for dot in dots if dot["words"].startswith("effective robustness beyond all")]
        assert sorted(beyond_all) == sorted(seeds["effect_points"].round(2))
        assert {dot["seed"] for dot in dots} == {"0", "1"} and "-31.0" in {
            dot["told"].split()[0].replace("\N{MINUS SIGN}", "-") for dot in dots
        }
        assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"][0] < -31
        mark = spec["layer"][place]["mark"]
        assert (mark["color"], mark["opacity"], mark["filled"]) == ("var(--muted)", 1, True)
        asked = {field["field"] for field in spec["layer"][place]["encoding"]["tooltip"]}
        assert asked == {"test_set", "words", "told", "seed"}


def test_what_changed_shows_every_team_of_enough_images_below_accuracy_on_the_shift():
    """Strokes in lanes of their own, between accuracy on the shift and what follows, with room on the axis."""
    causes = make_causes()
    chosen = causes[causes["comparison"] == "web instead of studio"]
    single = make_single_causes(causes)
    paper = single[(single["comparison"] == "web instead of studio") & (single["measurement"] == "paper")]
    table = make_team_differences(causes)
    teams = shown_teams(table[table["comparison"] == "web instead of studio"])
    # 49 images are too few, and a shift of one team has nothing to tell apart.
    assert teams["team"].tolist() == ["Ann's icons", "bob & co"] and set(teams["shift"]) == {"v2"}
    assert shown_teams(table.iloc[:0]).empty
    teams = teams.assign(raw_shift_points=[2.4, 37.123])
    without = what_changed_spec(chosen, paper, 2.0, by_seed=make_seed_effects(chosen))
    spec = what_changed_spec(chosen, paper, 2.0, by_seed=make_seed_effects(chosen), by_team=teams)
    (strokes,) = (rows for rows in spec["datasets"].values() if "team" in rows[0])
    lanes = {(row["test_set"], row["measure"]): row["lane"] for rows in spec["datasets"].values() for row in rows
             if "measure" in row}  # fmt: skip
    before = {(row["test_set"], row["measure"]): row["lane"] for rows in without["datasets"].values() for row in rows
              if "measure" in row}  # fmt: skip
    assert {row["lane"] for row in strokes} == {lanes["v2", "raw_shift"] + 1}
    assert lanes["v2", "raw_shift"] + 1 + 0.7 < lanes["v2", "effect"]
    assert lanes["v2", "effect"] - before["v2", "effect"] == pytest.approx(0.8)
    assert lanes["mean over shifts", "paper"] == before["mean over shifts", "paper"]
    assert [(row["value"], row["team"], row["images"]) for row in strokes] == [
        (2.4, "Ann's icons", "300"), (37.12, "bob & co", "50")
    ]  # fmt: skip
    assert [row["told"] for row in strokes] == ["+2.4 points", "+37.1 points"]
    (layer,) = (one for one in spec["layer"] if one["mark"]["type"] == "tick")
    asked = {field["field"]: field.get("title") for field in layer["encoding"]["tooltip"]}
    assert set(asked) == {"test_set", "words", "told", "team", "images"}
    assert spec["layer"][0]["encoding"]["x"]["scale"]["domain"][1] > 37.2
    # The verdict stands beside its measure, and the chart is higher by the lane.
    assert f"{lanes['v2', 'effect']:.2f}" in json.dumps(spec["layer"][-1])
    assert spec["height"] - without["height"] == pytest.approx(0.8 * 11, abs=1)
