"""The report page of a study: a single self-contained HTML file, responsive, with light and dark themes.

It measures nothing: every number on the page is also in a table. Each section has a template and a module in `sections`
of the same name; what a study lacks is noted where it would be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whyrobust.report.charts.points import describe_points
from whyrobust.report.findings import EffectTerms
from whyrobust.report.number_format import list_some
from whyrobust.report.page_parts import Explorer, Failure, attempt
from whyrobust.report.reported import reported_rows
from whyrobust.report.sections.answer import answer_section
from whyrobust.report.sections.architectures import architectures_section
from whyrobust.report.sections.classes import classes_section
from whyrobust.report.sections.compared import compared_section
from whyrobust.report.sections.data import data_section
from whyrobust.report.sections.distribution import distribution_panels
from whyrobust.report.sections.explorers import explorer_settings
from whyrobust.report.sections.made import made_section
from whyrobust.report.sections.papers import papers_section
from whyrobust.report.sections.published import READING, published_answers, published_section
from whyrobust.report.sections.robustness import line_rows, robustness_section
from whyrobust.report.sections.run_details import run_details
from whyrobust.report.sections.runs import runs_section
from whyrobust.report.sections.similarity import similarity_section
from whyrobust.report.tables import DataTables, Making, ReferenceTables, RunTables, StudyTables
from whyrobust.report.templating import page_environment
from whyrobust.study.derived_sources import DerivedSource
from whyrobust.study.published_shifts import has_published_shifts


@dataclass(frozen=True)
class PageSettings:
    """Settings of a study that its page shows.

    Attributes:
        name: of the study.
        test_kinds: kind of each test set, as the config names it.
        similarity: from which a training image counts as a near-duplicate of a test image.
        text_fields: the text fields that were searched for labels.
        scale: scale of the axes.
        colours: colours by kind of training, and of effects.
        accuracy_confidence: of the intervals of accuracies, from 0 to 1.
        terms: what effects are stated in.
        sentences: what each source and test set is.
        without_test_set: compared sources that no in-distribution test set is of.
        derived: what each source that is a view or mixture of others is made of.
        reported: runs of each experiment of the table of reported numbers.
        paper_line: how the line of the paper's measurement differs from one line of the study's standard models.
        unfinished: what the study lacks, where it still runs (`whyrobust.study.unfinished_settings.Unfinished`).
    """

    name: str
    test_kinds: Mapping[str, str]
    similarity: float
    text_fields: Sequence[str]
    scale: str
    colours: Mapping[str, str]
    accuracy_confidence: float
    terms: EffectTerms
    sentences: Mapping[str, str]
    without_test_set: Sequence[str]
    derived: Mapping[str, DerivedSource] = field(default_factory=dict)
    reported: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    paper_line: Sequence[str] = ()
    unfinished: Mapping[str, Any] | None = None


def render_report(
    settings: PageSettings,
    study: StudyTables,
    data: DataTables,
    details: RunTables,
    reference: ReferenceTables | None,
    making: Making,
) -> str:
    """Return the page as HTML.

    Args:
        settings: settings of the study.
        study: its results; tables may have no row, and the page then says what is missing.
        data: what its data are.
        details: what its runs did.
        reference: published models, or None.
        making: how it was made.
    """
    colours = settings.colours
    points = describe_points(study.effective, study.runs)
    terms = settings.terms
    explorer = robustness_section(
        study, reference, settings.test_kinds, settings.scale, terms.reference_accuracy, colours
    )
    kinds = list(settings.test_kinds.values())
    on_imagenet = has_published_shifts(kinds)
    tables = reference.published if reference and on_imagenet else {}
    published = attempt("The chart of published models", lambda: published_section(tables, kinds))
    explorers = {part.name: explorer_settings(part) for part in (explorer, published) if isinstance(part, Explorer)}
    shown_runs = run_details(study, points[points["main"]], details, data.samples)
    classes = attempt("The table of classes", lambda: classes_section(study))
    html: str = (
        page_environment()
        .get_template("report.html.j2")
        .render(
            name=settings.name,
            unfinished=settings.unfinished,
            paper_line=settings.paper_line,
            answer=answer_section(study, terms, colours),
            compared=attempt(
                "What is compared",
                lambda: compared_section(study, data, settings.sentences, settings.without_test_set, settings.derived),
            ),
            explorer=explorer,
            lines=attempt("The table beyond single test sets", lambda: line_rows(study)),
            what_in_it=attempt("The charts of doses and frequencies", lambda: distribution_panels(study)),
            similarity=attempt("The tables of similarity", lambda: similarity_section(study)),
            architectures=attempt(
                "The table of architectures",
                lambda: architectures_section(study.architectures, terms.reference_accuracy, settings.scale),
            ),
            data=data_section(data, settings.similarity, settings.text_fields),
            runs=runs_section(study, details),
            classes=classes,
            published=published,
            reading=READING,
            on_imagenet=on_imagenet,
            published_answers=attempt("The answers of published models", lambda: published_answers(tables)),
            made=made_section(making),
            papers=papers_section(making.figures, making.latex),
            reported=attempt(
                "The table of reported numbers",
                lambda: reported_rows(making.reported, settings.reported, study.accuracy),
            ),
            page_data=shown_runs
            | {"explorers": explorers, "source_classes": [] if isinstance(classes, Failure) else classes},
            standard=list_some(list(dict.fromkeys(points.loc[points["standard"], "kind"])), 2),
            accuracy_percent=f"{100 * settings.accuracy_confidence:g}",
        )
    )
    return html
