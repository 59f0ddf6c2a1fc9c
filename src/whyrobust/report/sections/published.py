"""Published models: the same measurement on the ImageNet shifts."""

from __future__ import annotations

from collections.abc import Mapping

from whyrobust.report.charts.explorer import PUBLISHED_FIELDS, ExplorerOptions, list_choices, published_points
from whyrobust.report.charts.points import choose_published, describe_published
from whyrobust.report.charts.robustness import RobustnessData
from whyrobust.report.page_parts import Explorer
from whyrobust.report.published_findings import Answer, answers
from whyrobust.report.sections.explorers import explorer_panels
from whyrobust.report.tables import ReferenceTables
from whyrobust.study.display_names import SHIFT_WORDS


def published_section(reference: ReferenceTables | None, colours: Mapping[str, str]) -> Explorer | None:
    """Return the explorer of published models, or None where their tables are missing."""
    if reference is None or reference.effective.empty:
        return None
    points = published_points(describe_published(choose_published(reference.effective)), [], background=False)
    lines, bands = (table[table["x_test_set"] == "imagenet"] for table in (reference.baselines, reference.bands))
    choices = list_choices(points, PUBLISHED_FIELDS, {}, colours)
    data = RobustnessData(points, lines, bands, "logit", SHIFT_WORDS)
    panels = explorer_panels(data, ExplorerOptions(choices, intervals=False, sizes=(26, 26)))
    return Explorer("published", panels, choices, {}, False)


def published_answers(reference: ReferenceTables | None) -> list[Answer]:
    """Return the answers of published models to the five questions, none where a study has no shift of ImageNet."""
    if reference is None or reference.effects is None or reference.indirect is None:
        return []
    return answers(reference.effects, reference.indirect)
