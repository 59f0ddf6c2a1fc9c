"""What is compared: for each source and test set pictures, a sentence, its size, and how it is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from whyrobust.report.number_format import format_percent, join_words
from whyrobust.report.page_parts import picture_uri, table_rows
from whyrobust.report.tables import DataTables, StudyTables
from whyrobust.study.derived_sources import DerivedSource
from whyrobust.study.display_names import AVERAGE, capital, count_noun, name_test_set, spaced
from whyrobust.study.table_cells import is_empty, is_missing

#: Pictures of each data set.
SHOWN: Final = 4


def compared_section(
    study: StudyTables,
    data: DataTables,
    sentences: Mapping[str, str],
    without_test_set: Sequence[str],
    derived: Mapping[str, DerivedSource],
) -> dict[str, Any]:
    """Return the values of the section.

    Args:
        study: results; the sources of its runs and its test sets are described.
        data: pictures and images per class.
        sentences: what a source or test set is, by its name.
        without_test_set: compared sources that no in-distribution test set is of.
        derived: what each source that is a view or mixture of others is made of.
    """
    sources = [str(name) for name in dict.fromkeys(study.runs["source"]) if not is_empty(name)]
    return {
        "sources": [_describe_source(name, data, sentences.get(name, "")) for name in sources if name not in derived],
        "derived": [
            _describe_derived(name, derived[name], study.runs[study.runs["source"] == name], data)
            | {"name": spaced(name), "says": sentences.get(name, "")}
            for name in sources
            if name in derived
        ],
        "test_sets": [
            _describe_test_set(row, data, sentences) for row in table_rows(study.shifts) if row["role"] != AVERAGE
        ],
        "axes": join_words([name_test_set(name) for name in study.in_distribution]),
        "several": study.has_several_axes,
        "without": _name_without(without_test_set),
    }


def _name_without(sources: Sequence[str]) -> str:
    """Say which compared sources have no test set of their own, and what follows; nothing if all have one."""
    if not sources:
        return ""
    has, its = ("has", "its") if len(sources) == 1 else ("have", "their")
    return (
        f"{capital(join_words([spaced(name) for name in sources]))} {has} no in-distribution test set here: what looks "
        f"like robustness of {its} models may be accuracy on images like {its} own."
    )


def _pictures(name: str, data: DataTables) -> list[str]:
    return _show(data.samples[data.samples["dataset"] == name])


def _show(samples: pd.DataFrame) -> list[str]:
    return [picture_uri(picture) for picture in samples["picture"].iloc[:SHOWN]]


def _describe_source(name: str, data: DataTables, sentence: str) -> dict[str, Any]:
    counts = data.classes[data.classes["dataset"] == name]
    facts = []
    if len(counts):
        facts = [
            count_noun(int(counts["images"].sum()), "labelled image"),
            count_noun(int((counts["images"] > 0).sum()), "class", "classes"),
        ]
    pictures = _pictures(name, data)
    return {"name": spaced(name), "says": sentence, "pictures": pictures, "facts": facts, "notes": []}


def _describe_derived(name: str, made: DerivedSource, runs: pd.DataFrame, data: DataTables) -> dict[str, Any]:
    """Say how many images of which sources the models of a view or mixture saw; ``runs`` are these.

    Its pictures are those of its sources. Only a view that turns them grey, or that leaves out some of those shown of
    its source, has pictures here.
    """
    sizes = sorted({int(size) for size in runs["train_images"]})
    if len(made.shares) > 1:
        facts = [f"{count_noun(size, 'image')}: {_split_size(size, made.shares)}" for size in sizes]
    else:
        held = count_noun(sizes[0], "image") if len(sizes) == 1 else f"{join_words([f'{n:,}' for n in sizes])} images"
        facts = [f"{held} of {spaced(next(iter(made.shares)))}"]
    left = data.views[data.views["source"] == name] if len(data.views) else data.views
    if len(left):
        labels = left["label"].dropna()
        classes = count_noun(labels.nunique(), "class", "classes")
        facts.append(f"drawn from {count_noun(len(labels), 'labelled image')} of {classes}")
    shown: list[str] = []
    for parent in made.shares:
        of_parent = data.samples[data.samples["dataset"] == parent]
        own = of_parent[of_parent["uid"].isin(left["uid"])] if len(left) else of_parent
        pictures = _show(own)
        shown += pictures if made.grey or pictures != _show(of_parent) else []
    return {"pictures": shown, "grey": made.grey, "facts": [*facts, count_noun(len(runs), "model")]}


def _split_size(size: int, shares: Mapping[str, float]) -> str:
    """Say how many images of a subset are of each source: about so many where the share is no whole number."""
    told = []
    for name, share in shares.items():
        count = round(size * share)
        about = "" if abs(size * share - count) < 1e-6 else "about "
        told.append(f"{about}{count:,} of {spaced(name)}")
    return ", ".join(told)


def _describe_test_set(row: Mapping[str, Any], data: DataTables, sentences: Mapping[str, str]) -> dict[str, Any]:
    name, role = str(row["test_set"]), str(row["role"])
    facts = [count_noun(int(row["images"]), "image"), count_noun(int(row["classes"]), "class", "classes")]
    if not is_empty(row["unit"]) and row["unit"] != "class":
        unit = spaced(str(row["unit"]))
        facts.append(count_noun(int(row["units"]), unit))
    if not is_missing(row["chance"]):
        facts.append(f"chance {format_percent(row['chance'])}")
    if not is_missing(row["median_accuracy"]):
        facts.append(f"median of standard models {format_percent(row['median_accuracy'])}")
    return {
        "name": name_test_set(name),
        "says": sentences.get(name, ""),
        "pictures": _pictures(name, data),
        "facts": facts,
        "notes": _notes(row, role),
    }


def _notes(row: Mapping[str, Any], role: str) -> list[str]:
    """Say how a test set is counted: for which source, with which style, or why in no verdict."""
    notes = []
    if role == "in_distribution":
        of = "" if is_empty(row["source"]) else f" of {spaced(str(row['source']))}"
        notes.append(f"in distribution{of}: held-out images, which effective robustness is measured beyond")
    elif role == "shift":
        notes.append("a shift")
    else:
        reason = "" if is_empty(row["reason"]) else f": {row['reason']}"
        notes.append(f"{role}, in no verdict{reason}")
    if not is_empty(row["seen_in"]):
        seen = join_words([spaced(name) for name in str(row["seen_in"]).split()])
        notes.append(f"style seen in {seen}: counted apart from unseen styles")
    if role != "in_distribution" and not is_missing(row["r_squared"]):
        line = "" if is_missing(row["r_squared_line"]) else f" (of the paper's line {row['r_squared_line']:.2f})"
        notes.append(f"R² of the prediction {row['r_squared']:.2f}{line}")
    return notes
