"""How it was made: stages and their cost, machine, config, licences and citations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from whyrobust.report.number_format import format_percent
from whyrobust.report.page_parts import table_rows
from whyrobust.report.tables import Making
from whyrobust.study.display_names import spaced
from whyrobust.study.stages import STAGES, stages_before


def made_section(making: Making) -> dict[str, Any]:
    """Return the values of the section."""
    times: Mapping[str, Mapping[str, float]] = making.provenance["seconds_by_stage"]
    return {
        "stages": stage_rows(making.stages, times, making.images_by_stage),
        "whole": f"{sum(cost['seconds'] for cost in times.values()) / 60:,.1f}" if times else "",
        "taken": [
            {"stage": spaced(name), "results": f"{stage['results']:,.0f}", "minutes": f"{stage['seconds'] / 60:,.1f}"}
            for name, stage in making.provenance["taken_from_finished_work"].items()
        ],
        "machine": making.provenance["machine"],
        "commit": making.provenance["commit"],
        "record": {name: value for name, value in making.provenance.items() if name != "config"},
        "config": yaml.safe_dump(making.provenance["config"], sort_keys=False, allow_unicode=True, width=110),
        "checksums": making.provenance["checksums_sha256"],
        "licences": table_rows(making.licences),
        "citations": making.citations,
        "commands": making.commands,
    }


def stage_rows(
    used: Sequence[str], times: Mapping[str, Mapping[str, float]], images_by_stage: Mapping[str, int]
) -> list[dict[str, str]]:
    """Return the stages that a study used or timed, from the first to this page, with what each waits for and costs.

    Args:
        used: names of the stages.
        times: ``jobs, seconds, memory_mb`` of each stage that was timed.
        images_by_stage: number of images that a stage processed.
    """
    whole = sum(cost["seconds"] for cost in times.values())
    before = stages_before(used)
    rows = []
    for number, stage in enumerate((stage for stage in STAGES if stage.name in before or stage.name in times), start=1):
        cost = times.get(stage.name)
        seconds, images = cost["seconds"] if cost else 0.0, images_by_stage.get(stage.name)
        rows.append(
            {
                "number": str(number),
                "stage": spaced(stage.name),
                "description": stage.description,
                "after": ", ".join(spaced(name) for name in before.get(stage.name, ())),
                "jobs": f"{int(cost['jobs']):,}" if cost else "",
                "seconds": f"{seconds:,.1f}" if cost else "",
                "share": format_percent(seconds / whole) if cost and whole else "",
                "memory": f"{cost['memory_mb']:,.0f}" if cost else "",
                "speed": f"{images / seconds:,.0f}" if images and seconds else "",
            }
        )
    return rows
