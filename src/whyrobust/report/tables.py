"""The tables that the page of a study shows, grouped by what they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study's results, as ``results/README.md`` describes them."""

    accuracy: pd.DataFrame
    effective: pd.DataFrame
    runs: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    causes: pd.DataFrame
    regression: pd.DataFrame


@dataclass(frozen=True)
class DataTables:
    """What the data of a study are: tables of ``describe_data``, ``decontaminate`` and ``match_text``.

    ``text_matches`` has one row per source: ``source, records, matched, precision, recall``.
    """

    classes: pd.DataFrame
    captions: pd.DataFrame
    filters: pd.DataFrame
    samples: pd.DataFrame
    pairs: pd.DataFrame
    removed: pd.DataFrame
    text_matches: pd.DataFrame


@dataclass(frozen=True)
class RunTables:
    """What single runs did: the trained runs as planned, and the tables of ``describe_runs``."""

    trained: pd.DataFrame
    curves: pd.DataFrame
    confusions: pd.DataFrame
    sample_predictions: pd.DataFrame


@dataclass(frozen=True)
class ReferenceTables:
    """Effective robustness, baselines and bands of published models.

    ``effects`` and ``indirect`` are the tables of ``results/published`` by these names, for a study on ImageNet's
    shifts.
    """

    effective: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    effects: pd.DataFrame | None = None
    indirect: pd.DataFrame | None = None


@dataclass(frozen=True)
class Making:
    """How a study was made.

    Attributes:
        provenance: the record that ``provenance.json`` holds.
        stages: names of the stages that it used.
        images_by_stage: number of images that a stage processed, for stages that process images.
        licences: ``name, by, part, licence`` of everything used.
        citations: how to cite the data.
        commands: the commands that remake the page.
        figures: file names in ``figures/``.
        latex: LaTeX tables by file name.
    """

    provenance: Mapping[str, Any]
    stages: Sequence[str]
    images_by_stage: Mapping[str, int]
    licences: pd.DataFrame
    citations: Sequence[str]
    commands: Sequence[str]
    figures: Sequence[str]
    latex: Mapping[str, str]
