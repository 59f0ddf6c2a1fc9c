"""Labels found in text, and how good they are: text matching, the paper's way to label without annotators.

`match_records` labels the records of a source; `describe_matches` counts how many match and how often the match is
right. `whyrobust.data.label_matcher.LabelMatcher` decides what counts as a match.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from whyrobust.data.label_matcher import LabelMatcher, LabelPolicy
from whyrobust.data.records import rows_of_uids
from whyrobust.data.text_columns import text_column

TEXT_FIELDS = ("title", "description", "tags")

MATCH_COLUMNS = ("class", "records", "matched", "known", "right", "precision", "recall")


def match_records(
    records: pd.DataFrame,
    matcher: LabelMatcher,
    fields: Sequence[str],
    policy: LabelPolicy = "single",
    threads: int = 1,
) -> pd.DataFrame:
    """Find the class that the text of each record names (Fang et al. 2022, section 3.2: "text matching").

    Each field, and each tag, is searched by itself, so that a phrase never runs from one into the next.

    Args:
        records: with ``uid, title, description, tags``.
        matcher: finds classes in text.
        fields: of `TEXT_FIELDS`, in the order in which they are read.
        policy: ``single``: the one class that all texts together name, where nothing else is named; ``first``: the
            class named first.
        threads: number of threads that share the texts.

    Returns:
        ``uid, label``, in the order of the records; the label is None if there is none.

    Raises:
        ValueError: a field that is not known.
    """
    unknown = sorted(set(fields) - set(TEXT_FIELDS))
    if unknown or not fields:
        raise ValueError(f"text fields are {list(fields)}: choose from {', '.join(TEXT_FIELDS)}")
    columns = [text_column(records[name]) for name in fields]
    labels = matcher.label_records(columns, policy, threads)
    return pd.DataFrame(
        {"uid": records["uid"].array, "label": pd.Series(labels.to_numpy(zero_copy_only=False), dtype=object)}
    )


def labels_in_batches(
    batches: Iterable[pa.RecordBatch],
    matcher: LabelMatcher,
    fields: Sequence[str],
    policy: LabelPolicy = "single",
    threads: int = 1,
) -> dict[str, str]:
    """Return the class that the text of each record names, by uid, without records that have none.

    Args:
        batches: of records, with ``uid, title, description, tags``; only the labels of all of them are in memory.
        matcher: as for `match_records`, and so are the others.
        fields: of `TEXT_FIELDS`.
        policy: ``single`` or ``first``.
        threads: number of threads that share the texts.
    """
    found: dict[str, str] = {}
    for batch in batches:
        labels = matcher.label_records([batch[name] for name in fields], policy, threads).to_pylist()
        uids = batch["uid"].to_pylist()
        found |= {uid: label for uid, label in zip(uids, labels, strict=True) if label is not None}
    return found


def describe_matches(records: pd.DataFrame, matched: pd.DataFrame) -> pd.DataFrame:
    """Count how many records match each class, and how often rightly, where the true label is known.

    Args:
        records: with ``uid`` and the true ``label``, missing where it is not known.
        matched: of `match_records`, for the same uids.

    Returns:
        `MATCH_COLUMNS`, a row per class in alphabetical order, below a row for all with an empty class: records with
        this true label, records matched to it, those of them with a known label, those that are right, and
        ``precision`` = right / known and ``recall`` = right / records (missing where there is nothing to divide by).

    Raises:
        ValueError: the tables are not about the same uids.
    """
    rows_of_matches = rows_of_uids(text_column(matched["uid"]), text_column(records["uid"]))
    shared = int((rows_of_matches >= 0).sum())
    if shared != len(records) or shared != len(matched):
        raise ValueError(
            f"{len(records)} records and {len(matched)} matches share {shared} uids: match the same records"
        )
    label = records["label"].reset_index(drop=True)
    label_found = matched["label"].iloc[rows_of_matches].reset_index(drop=True)
    known, found = label.notna(), label_found.notna()
    right = known & found & (label == label_found)
    rows = []
    for name in ["", *sorted(set(label.dropna()) | set(label_found.dropna()))]:
        true = known if name == "" else label == name
        match = found if name == "" else label_found == name
        counts = {
            "class": name,
            "records": int(true.sum()),
            "matched": int(match.sum()),
            "known": int((match & known).sum()),
            "right": int((match & right).sum()),
        }
        rows.append(counts | _rates(counts))
    return pd.DataFrame(rows, columns=list(MATCH_COLUMNS)).astype({"precision": float, "recall": float})


def _rates(counts: Mapping[Any, Any]) -> dict[str, float | None]:
    return {
        "precision": counts["right"] / counts["known"] if counts["known"] else None,
        "recall": counts["right"] / counts["records"] if counts["records"] else None,
    }


def sum_matches(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Add up tables of matches, one per slice of a source.

    Args:
        parts: ``source`` and `MATCH_COLUMNS` (see `describe_matches`).

    Returns:
        The same columns for all records of each source: sources in the order of the parts, classes by name.
    """
    both = pd.concat(parts)
    both["source"] = pd.Categorical(both["source"], list(dict.fromkeys(both["source"])))
    groups = both.groupby(["source", "class"], as_index=False, observed=True)
    counts = groups[["records", "matched", "known", "right"]].sum()
    rows = [row | _rates(row) for row in counts.to_dict("records")]
    return pd.DataFrame(rows, columns=["source", *MATCH_COLUMNS]).astype({"precision": float, "recall": float})
