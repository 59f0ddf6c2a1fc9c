"""The page of a study's data, made before training: a single self-contained HTML file, like the page of a study.

Offers `render_data`. What is shown is counted elsewhere, see `whyrobust.report.data_check`.
"""

from __future__ import annotations

from collections.abc import Sequence

from whyrobust.report.data_check import DataCounts, Remark, verdict
from whyrobust.report.page_parts import table_rows
from whyrobust.report.sections.data import data_section
from whyrobust.report.tables import DataTables
from whyrobust.report.templating import page_environment


def render_data(study: str, counts: DataCounts, remarks: Sequence[Remark], data: DataTables, similarity: float) -> str:
    """Return the page as HTML.

    Args:
        study: its name.
        counts: what is counted of the data.
        remarks: what to look at.
        data: samples, pairs, and the counts of the page of a study.
        similarity: from which a training image counts as a near-duplicate of a test image.
    """
    html: str = (
        page_environment()
        .get_template("data_report.html.j2")
        .render(
            study=study,
            verdict=verdict(remarks),
            remarks=remarks,
            left_out=table_rows(counts.left_out),
            unknown_labels=table_rows(counts.unknown_labels),
            data=data_section(data, similarity, ()),
            page_data={"runs": {}, "explorers": {}},
        )
    )
    return html
