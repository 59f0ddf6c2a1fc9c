"""The tables that the page of a study shows, grouped by what they are about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from whyrobust.files import read_csv
from whyrobust.study.restricted_names import split_restricted_name


@dataclass(frozen=True)
class StudyTables:
    """The tables of a study's results, as ``results/README.md`` describes them.

    Attributes:
        accuracy: accuracy of every run, head and test set.
        effective: the main measurement: effective robustness beyond all in-distribution test sets.
        runs: what each run is.
        baselines: lines and planes of the standard models.
        bands: the bands of the lines.
        causes: effects by the main measurement.
        regression: one regression over all runs and heads.
        single_lines: effective robustness beyond each single in-distribution test set.
        single_causes: effects by each single line.
        shifts: what each test set is, and whether it takes part in verdicts.
        other_weights: effects of the main comparisons with classes weighted the other way.
        dose_response: effects by the share of a source in a mixture; no row where a study has none.
        concept_frequency: accuracy by class and its images in the training set; no row where a study has none.
        concept_fits: the log-linear fit of each run; no row where a study has none.
        dose_response_trends: the trend over the doses; no row where a study has none.
        similarity_bands: two sources in bands of train-test similarity; no row where a study has none.
        nearest_sources: how near each source comes to each test set; no row where a study has none.
        architectures: main comparisons between two architectures; no row where a study has none.
        class_differences: accuracy by class and source; no row where a study compares no two sources.
        causes_by_seed: effects of the main comparisons seed by seed; no row where a comparison has no pair.
        causes_by_team: their raw differences on a shift by team of its images; no row where no shift has teams.
    """

    accuracy: pd.DataFrame
    effective: pd.DataFrame
    runs: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    causes: pd.DataFrame
    regression: pd.DataFrame
    single_lines: pd.DataFrame
    single_causes: pd.DataFrame
    shifts: pd.DataFrame
    other_weights: pd.DataFrame
    dose_response: pd.DataFrame = field(default_factory=pd.DataFrame)
    concept_frequency: pd.DataFrame = field(default_factory=pd.DataFrame)
    concept_fits: pd.DataFrame = field(default_factory=pd.DataFrame)
    dose_response_trends: pd.DataFrame = field(default_factory=pd.DataFrame)
    similarity_bands: pd.DataFrame = field(default_factory=pd.DataFrame)
    nearest_sources: pd.DataFrame = field(default_factory=pd.DataFrame)
    architectures: pd.DataFrame = field(default_factory=pd.DataFrame)
    class_differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    causes_by_seed: pd.DataFrame = field(default_factory=pd.DataFrame)
    causes_by_team: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def in_distribution(self) -> list[str]:
        """Names of the in-distribution test sets, the paper's first."""
        return [str(name) for name in self.shifts.loc[self.shifts["role"] == "in_distribution", "test_set"]]

    @property
    def paper(self) -> pd.DataFrame:
        """Effective robustness by the paper's measurement: beyond the line over the first in-distribution test set."""
        return self.single_lines[self.single_lines["measurement"] == "paper"]

    @property
    def paper_lines(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Baselines and bands of the paper's measurement: the lines over the first in-distribution test set."""
        first = self.in_distribution[:1]
        # A plane, over several test sets, has no line in a chart of two accuracies.
        planes = self.baselines["x_test_sets"].astype(str).str.contains(" ")
        lines = self.baselines[~planes.astype(bool)]
        baselines, bands = (
            table[table["x_test_set"].astype(str).map(lambda name: split_restricted_name(name)[0]).isin(first)]
            for table in (lines, self.bands)
        )
        return baselines, bands

    @property
    def has_several_axes(self) -> bool:
        """Whether the main measurement is beyond more than one test set, so that it is not the paper's."""
        return len(self.in_distribution) > 1


def read_study_tables(paths: Mapping[str, Any]) -> StudyTables:
    """Read the tables of a study's results.

    Args:
        paths: file of each table, by the name of its file without ending; ``bands`` for the bands of the lines.
            Those that may have no row may be left out, or be an empty list.
    """
    names = {"effective": "effective_robustness", "single_causes": "causes_single_line"}
    names["other_weights"] = "causes_other_weights"
    names["concept_fits"] = "concept_frequency_fits"
    wanted = {table.name: names.get(table.name, table.name) for table in fields(StudyTables)}
    return StudyTables(**{table: read_csv(paths[name]) for table, name in wanted.items() if paths.get(name)})


@dataclass(frozen=True)
class DataTables:
    """What the data of a study are: tables of ``describe_data``, ``decontaminate`` and ``match_text``.

    ``text_matches`` has one row per source: ``source, records, matched, precision, recall``. ``caption_variety`` has no
    row where no source has captions in columns of its own; ``views`` the images, ``source, uid, label``, of each view
    that leaves out some of its source before subsets are drawn.
    """

    classes: pd.DataFrame
    captions: pd.DataFrame
    filters: pd.DataFrame
    samples: pd.DataFrame
    pairs: pd.DataFrame
    removed: pd.DataFrame
    text_matches: pd.DataFrame
    caption_variety: pd.DataFrame = field(default_factory=pd.DataFrame)
    views: pd.DataFrame = field(default_factory=pd.DataFrame)


@dataclass(frozen=True)
class RunTables:
    """What single runs did: the trained runs as planned, and the tables of ``describe_runs``."""

    trained: pd.DataFrame
    curves: pd.DataFrame
    confusions: pd.DataFrame
    class_accuracy: pd.DataFrame
    sample_predictions: pd.DataFrame


@dataclass(frozen=True)
class ReferenceTables:
    """Effective robustness, baselines and bands of published models.

    ``published`` has the tables of ``results/published`` that the page of a study on ImageNet's shifts shows, by name;
    none for another study.
    """

    effective: pd.DataFrame
    baselines: pd.DataFrame
    bands: pd.DataFrame
    published: Mapping[str, pd.DataFrame] = field(default_factory=dict)


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
        reported: rows of a table of numbers that a paper reports, as texts.
    """

    provenance: Mapping[str, Any]
    stages: Sequence[str]
    images_by_stage: Mapping[str, int]
    licences: pd.DataFrame
    citations: Sequence[str]
    commands: Sequence[str]
    figures: Sequence[str]
    latex: Mapping[str, str]
    reported: Sequence[Mapping[str, str]] = ()
