"""The answer: the effect of each cause as charts, in sentences and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from whyrobust.report.charts.causes import causes_spec
from whyrobust.report.findings import answer_sentences, causes_rows, headline, main_comparisons, regression_rows
from whyrobust.report.page_parts import Panel, embed_spec
from whyrobust.report.render import render_svg
from whyrobust.report.tables import StudyTables
from whyrobust.study.display_names import capital, name_cause


def answer_section(study: StudyTables, colours: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of the section: the headline, a panel per cause, and the same in sentences and numbers."""
    return {
        "headline": headline(study.causes),
        "answers": answer_sentences(study.causes),
        "overview": overview_panel(study.causes, colours) if len(study.causes) else None,
        "cause_panels": cause_panels(study.causes, colours),
        "causes": causes_rows(study.causes),
        "regression": regression_rows(study.regression),
        "shifts": list(dict.fromkeys(study.effective["shift"])),
    }


def cause_panels(causes: pd.DataFrame, colours: Mapping[str, str]) -> list[tuple[Panel, list[tuple[str, str]]]]:
    """Make one panel per cause, each with what its comparisons hold fixed: ``(comparison, holds_fixed)``."""
    panels = []
    for cause in dict.fromkeys(causes["cause"]):
        rows = causes[causes["cause"] == cause]
        spec = causes_spec(causes, cause, colours)
        description = " ".join(text for sentences in answer_sentences(rows).values() for text in sentences)
        fixed = list(dict.fromkeys(zip(rows["comparison"], rows["holds_fixed"], strict=True)))
        panels.append((Panel(capital(name_cause(cause)), embed_spec(spec), render_svg(spec, 420), description), fixed))
    return panels


def overview_panel(causes: pd.DataFrame, colours: Mapping[str, str]) -> Panel:
    """Make one panel of the main comparison of every cause: the first that the config names."""
    main = main_comparisons(causes)
    named = [
        f"{capital(name_cause(cause))}: {comparison}"
        for cause, comparison in zip(main["cause"], main["comparison"], strict=True)
    ]
    spec = causes_spec(main.assign(cause="main", comparison=named), "main", colours, letters=44)
    description = " ".join(f"{cause}: {sentences[0]}" for cause, sentences in answer_sentences(main).items())
    return Panel("The main comparison of each cause", embed_spec(spec), render_svg(spec, 420), description)
