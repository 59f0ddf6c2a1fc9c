"""The finished part of a study that still runs, as a config of its own: what `make peek` shows.

It has the runs that are finished and the comparisons that they allow; all else is as in the whole study. What it lacks
stands under its key ``unfinished``, for the page.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from whyrobust.study.comparisons import Comparison, match_pairs
from whyrobust.study.display_names import VERDICTS, name_kind_of, name_runs
from whyrobust.study.plan import PlanError, Run, evaluated_rows
from whyrobust.study.study import Study


class TooEarlyError(ValueError):
    """Too little is finished to show anything; the message is one line that says what is missing."""


def finished_config(given: Mapping[str, Any], study: Study, finished: Collection[str]) -> dict[str, Any]:
    """Return the config of the finished part of a study.

    A cause is shown once its main comparison has a pair: without it, another comparison would pass for the main one.
    Runs are evaluated on the CPU, so that no GPU is taken from those that are trained.

    Args:
        given: the config of the whole study, as written.
        study: the whole study.
        finished: names of its runs that are finished.

    Raises:
        TooEarlyError: no run is finished, or no cause can be shown.
    """
    shown = [run for run in study.runs.values() if run.run in finished and run.evaluated]
    causes, lacking = _comparable(given["causes"], study, shown)
    if not causes:
        raise TooEarlyError(
            f"{len(shown)} of {len(study.evaluated)} runs of {study.name} are finished, and no main comparison has a "
            "pair of them yet: wait for more"
        )
    trained = [run for run in shown if not run.published]
    published = {run.run for run in shown if run.published}
    kinds = {name_kind_of(run.as_row()) for run in shown}
    figures = dict(given.get("figures", {}))
    if "colours" in figures:
        figures["colours"] = {name: one for name, one in figures["colours"].items() if name in kinds | set(VERDICTS)}
    words = name_runs(study.rows_of(study.runs))
    missing = [words[name] for name in study.runs if name not in finished]
    return {
        **given,
        "runs": [_grid_of(run, study) for run in trained],
        "pretrained": [one for one in given.get("pretrained", []) if f"published-{one['name']}" in published],
        "causes": causes,
        "figures": figures,
        "training": {**given["training"], "device": "cpu"},
        "unfinished": {
            "planned": len(study.runs),
            "runs": missing,
            "comparisons": lacking,
            "groups": study.groups,
        },
    }


def _comparable(
    given: Mapping[str, Any], study: Study, shown: Collection[Run]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the causes that can be shown, as written, and every comparison that lacks pairs, with how many it has."""
    causes: dict[str, list[Any]] = {}
    lacking = []
    comparisons = iter(study.plan.comparisons)
    for cause, entries in given.items():
        for number, entry in enumerate(entries):
            comparison = next(comparisons)
            pairs, planned = (_count_pairs(comparison, study, runs) for runs in (shown, study.runs.values()))
            usable = pairs > 0 and (number == 0 or cause in causes)
            if usable:
                causes.setdefault(cause, []).append(entry)
            if pairs < planned or not usable:
                name = {"cause": cause, "comparison": comparison.name}
                lacking.append(name | {"pairs": pairs if usable else 0, "planned": planned})
    return causes, lacking


def _count_pairs(comparison: Comparison, study: Study, runs: Iterable[Run]) -> int:
    """Return how many pairs of these runs a comparison has; none where it cannot be made of them yet."""
    rows = evaluated_rows(list(runs), study.plan.heads)
    try:
        return len(match_pairs(comparison, rows))
    except PlanError:  # at matched accuracy, fewer runs than are needed to interpolate between
        return 0


def _grid_of(run: Run, study: Study) -> dict[str, Any]:
    """Return the grid of one run."""
    grid = {**_stage_of(run), "model": run.model, "seed": run.seed}
    return grid | ({"pretrain": _stage_of(study.runs[run.pretrained_run])} if run.pretrained_run else {})


def _stage_of(run: Run) -> dict[str, Any]:
    fields = ("objective", "caption", "labels", "source", "train_images", "samples_seen")
    return {name: getattr(run, name) for name in fields}
