"""What each published model was trained on: the rows of ``resources/reference/pretraining.csv`` that fit it.

Offers `read_pretraining` and `describe_models`, which gives every model the fields of its row. An empty field is not
documented; `documented` says which models have all fields that a comparison needs. Nothing here guesses.

`FIELDS` are the columns that describe a training, in the words of `VOCABULARY` if there is one. Of them follow
``supervision_level`` (labels of which data; where there was a teacher, what it learned from), ``prediction`` (whether
a model ends as a classifier, as a linear head on frozen features, or with prompts) and ``intermediate`` (what it was
fine-tuned on before ImageNet-1k).
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from whyrobust.analysis.published_checks import FIRST_LINE, check_columns, check_spellings

if TYPE_CHECKING:
    import pandas as pd

PRETRAINING_FILE = "pretraining.csv"
FIELDS = (
    "data",
    "images",
    "samples_seen",
    "supervision",
    "objective",
    "teacher",
    "fine_tuned_on",
    "predicts",
    "recipe",
    "weights",
)
COUNTS = ("images", "samples_seen", "image_size")
VOCABULARY = {
    "supervision": ("labels", "pseudo-labels", "hashtags", "captions", "images", "images and captions"),
    "predicts": ("zero-shot prompts", "linear head", "fine-tuned classifier", "trained classifier"),
}
# Fields whose values are compared as text; a data set may also be one that a model was fine-tuned on.
SPELT = (("data", "fine_tuned_on"), ("teacher",), ("objective",), ("recipe",), ("weights",))
DERIVED_FIELDS = ("supervision_level", "prediction", "intermediate")
NONE = "none"  # nothing of the kind, where an empty cell means that it is not documented
IMAGENET = "ImageNet-1k"


def read_pretraining(folder: Path) -> pd.DataFrame:
    """Read the table of pretraining, every cell as text but for `COUNTS` (numbers or NaN).

    Raises:
        ValueError: for a missing column, a row without a source, a word outside the vocabulary, a key with two rows
            for the same models, or two spellings of one value.
    """
    import pandas as pd

    path = folder / PRETRAINING_FILE
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    check_columns(path, table, ("collection", "key", "models", *FIELDS, "image_size", "source", "url", "note"))
    for count in COUNTS:
        table[count] = pd.to_numeric(table[count].replace("", None))
    without = table[(table["source"] == "") | (table["url"] == "")]
    if len(without):
        row = without.iloc[0]
        raise ValueError(f"{path}: {row['collection']} {row['key']!r} has no source or no page: add both.")
    for field, words in VOCABULARY.items():
        unknown = sorted(set(table[field]) - set(words) - {""})
        if unknown:
            raise ValueError(f"{path}: {field} {unknown[0]!r} is not one of {', '.join(words)}: use one of them.")
    twice = table[table.duplicated(["collection", "key", "models"])]
    if len(twice):
        row = twice.iloc[0]
        same = (table[["collection", "key", "models"]] == row[["collection", "key", "models"]]).all(axis=1)
        lines = " and ".join(str(number + FIRST_LINE) for number in table.index[same][:2])
        raise ValueError(
            f"{path}: two rows of {row['collection']} {row['key']!r} are for {row['models']!r}, lines {lines}: "
            "keep one."
        )
    check_spellings(path, table, SPELT)
    return table


def describe_models(models: pd.DataFrame, pretraining: pd.DataFrame) -> pd.DataFrame:
    """Give every model the fields of the row that fits it, and the derived fields.

    A row fits a model of its collection and key whose name (for timm: what stands before the dot) matches one of the
    row's patterns. ``*`` matches the models that no other row of the key matches.

    Args:
        models: as `whyrobust.analysis.published_tables.read_published` gives them.
        pretraining: as `read_pretraining` gives it.

    Returns:
        ``models`` with `FIELDS`, `DERIVED_FIELDS`, ``source``, ``url`` and ``note``; empty, and NaN for counts, where
        no row fits. An ``image_size`` that the accuracies' table lacks is the row's.

    Raises:
        ValueError: where two rows with patterns fit one model.
    """
    import pandas as pd

    by_key: dict[tuple[str, str], list[tuple[list[str], int]]] = {}
    keys = zip(pretraining["collection"], pretraining["key"], pretraining["models"], strict=True)
    for position, (collection, key, patterns) in enumerate(keys):
        by_key.setdefault((str(collection), str(key)), []).append((str(patterns).split(), position))
    chosen = [
        _row_of(str(model), by_key.get((str(collection), str(key)), []))
        for model, collection, key in zip(models["model"], models["collection"], models["key"], strict=True)
    ]
    fields = pretraining[[*FIELDS, "image_size", "source", "url", "note"]]
    described = fields.reindex([-1 if position is None else position for position in chosen]).reset_index(drop=True)
    text = [name for name in described.columns if name not in COUNTS]
    described[text] = described[text].fillna("")
    models = models.reset_index(drop=True)
    models["image_size"] = models["image_size"].fillna(described.pop("image_size"))
    return pd.concat([models, described, _derive(described)], axis=1)


def documented(models: pd.DataFrame, fields: Sequence[str]) -> pd.Series[bool]:
    """Return which models have none of the fields empty."""
    known = models[list(fields)].notna() & (models[list(fields)] != "")
    result: pd.Series[bool] = known.all(axis=1)
    return result


def _row_of(model: str, rows: Sequence[tuple[list[str], int]]) -> int | None:
    name = model.split(".")[0] if not model.startswith("CLIP-") else model
    fitting = [
        position
        for patterns, position in rows
        if any(pattern != "*" and fnmatchcase(name, pattern) for pattern in patterns)
    ]
    if len(fitting) > 1:
        raise ValueError(f"Two rows of {PRETRAINING_FILE} fit {model!r}: make their patterns exclude each other.")
    rest = [position for patterns, position in rows if patterns == ["*"]]
    return fitting[0] if fitting else rest[0] if rest else None


def _derive(described: pd.DataFrame) -> pd.DataFrame:
    """Return the fields that follow from others; empty where one of those is."""
    import pandas as pd

    supervision, teacher = described["supervision"], described["teacher"]
    labelled = supervision.isin(["labels", "pseudo-labels"])
    level = supervision.where(~labelled, supervision + " of " + described["data"])
    level = level.where(teacher.isin([NONE, ""]), level + " (teacher: " + teacher + ")")
    empty = (supervision == "") | (teacher == "") | (labelled & (described["data"] == ""))
    prediction = described["predicts"].replace(["fine-tuned classifier", "trained classifier"], "classifier")
    stages = described["fine_tuned_on"]
    before = stages.str.removesuffix(IMAGENET).str.removesuffix(", ").where(stages != IMAGENET, NONE)
    return pd.DataFrame(
        {"supervision_level": level.where(~empty, ""), "prediction": prediction, "intermediate": before}
    )
