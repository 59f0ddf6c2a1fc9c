"""Natural experiments: pairs of published models of one architecture that differ in one thing.

Offers `QUESTIONS`, the five questions as rules over the table of pretraining, `find_pairs`, which lists every pair of
models that a rule allows, and `measure_pairs`, which takes their differences. No comparison is named by hand: a rule
says in which field the two models differ, in which they are equal and which must be documented, and every two values
of the field that occur together are a comparison.

These are observations and not trials. Whatever the rule does not hold fixed may differ too, and each pair says what of
it is known to (``also_differs``).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.pretraining import FIELDS, IMAGENET, NONE, documented
from whyrobust.analysis.published_tables import FULL_VALIDATION

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import FloatArray
    from whyrobust.analysis.published_lines import LineSet

# Data sets are of equal size up to this factor; samples seen are equal up to the second, and where both are known
# never further apart than the third.
EQUAL_SIZE = 2.0
EQUAL_SAMPLES = 1.1
COMPARABLE_SAMPLES = 3.0
# One data set at two sizes: the larger has at least this many times the images of the smaller.
SIZE_STEP = 1.5
# In effects per doubling or per step, and in lists, models are named in this order of what they learned from.
SUPERVISION_ORDER = (
    "labels of ImageNet-1k",
    "labels of ImageNet-1k (teacher: ImageNet-1k labels)",
    "labels of ImageNet-12k",
    "labels of ImageNet-21k-P",
    "labels of ImageNet-21k",
    "images",
    "images (teacher: captions (CLIP))",
    "pseudo-labels of YFCC-100M (teacher: ImageNet-1k labels)",
    "pseudo-labels of ImageNet-1k and JFT-300M (teacher: ImageNet-1k labels)",
    "pseudo-labels of Instagram hashtags (IG-1B) (teacher: Instagram hashtags)",
    "hashtags",
    "captions",
)
DATA_ORDER = ("ImageNet-1k", "ImageNet-12k", "ImageNet-21k-P", "ImageNet-21k", "YFCC-15M", "YFCC-100M", "LAION")
PREDICTION_ORDER = ("zero-shot prompts", "linear head", "classifier")
# Fields that a pair may differ in beside the one in question; what is known of them is listed.
LISTED = ("architecture", "image_size", *(name for name in FIELDS if name != "weights"))


@dataclass(frozen=True)
class Question:
    """A rule that picks pairs of models.

    ``field`` is what the two models differ in, ``same`` what they have in common, ``needs`` what must be documented of
    both. ``where`` gives the values of fields that are considered, ``order`` the order of the values of ``field``: the
    effect is that of the later value against the earlier one. ``pair`` names a further condition on two models:
    ``comparable`` (equal size, equal samples seen, or one method: see `_basis`), ``larger`` (a clear step in size),
    ``equal_size``, or nothing. Where ``prefer_one_size`` and an architecture has pairs of one input resolution, only
    they are taken.
    """

    name: str
    label: str
    field: str
    same: tuple[str, ...]
    needs: tuple[str, ...]
    where: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...] = ()
    pair: str = ""
    prefer_one_size: bool = False


_TRAINING = ("data", "supervision", "objective", "teacher", "fine_tuned_on", "predicts")
QUESTIONS: tuple[Question, ...] = (
    Question(
        name="distribution",
        label="Distribution: other data, one method",
        field="data",
        same=("architecture_class", "image_size", "supervision", "objective", "prediction", "intermediate"),
        needs=_TRAINING,
        where={},
        order=DATA_ORDER,
        pair="comparable",
    ),
    Question(
        name="size",
        label="Size: more images of one data set",
        field="images",
        same=(
            "architecture_class",
            "image_size",
            "data",
            "supervision",
            "objective",
            "teacher",
            "prediction",
            "intermediate",
        ),
        needs=(*_TRAINING, "images"),
        where={},
        pair="larger",
    ),
    Question(
        name="language_training",
        label="Language at training: what the encoder learned from, all classifiers on ImageNet-1k",
        field="supervision_level",
        same=("architecture_class", "image_size", "prediction", "intermediate"),
        needs=(*_TRAINING, "supervision_level"),
        where={"prediction": ("classifier",), "supervision_level": SUPERVISION_ORDER},
        order=SUPERVISION_ORDER,
    ),
    Question(
        name="language_test",
        label="Language at test: one encoder by prompts, by a linear head, fine-tuned",
        field="prediction",
        same=("architecture_class", "encoder"),
        needs=(*_TRAINING, "encoder"),
        where={"fine_tuned_on": (NONE, IMAGENET)},
        order=PREDICTION_ORDER,
        prefer_one_size=True,
    ),
    Question(
        name="contrastive_loss",
        label="Contrastive loss: another objective, the same data",
        field="objective",
        same=("architecture_class", "image_size", "data", "supervision", "teacher", "prediction", "intermediate"),
        needs=(*_TRAINING, "images"),
        where={"supervision": ("captions", "images")},
        order=("CLIP", "SimSiam", "SwAV"),
        pair="equal_size",
    ),
)


def find_pairs(models: pd.DataFrame, questions: Sequence[Question] = QUESTIONS) -> pd.DataFrame:
    """List every pair of models that a rule allows.

    Args:
        models: as `whyrobust.analysis.pretraining.describe_models` gives them.
        questions: the rules.

    Returns:
        One row per pair: ``question, control, treatment`` (the two values), ``prediction`` (of both, where it is the
        same), ``basis`` (on which ground they are compared, for rules that ask for one), ``architecture_class``,
        ``family``, ``image_size`` (of the control), ``model_control, model_treatment, collection_control,
        collection_treatment``, ``exact_architecture`` (not only of one class), ``size_ratio`` (images, treatment over
        control) and
        ``also_differs``. Models with an empty field that the rule needs are in no pair.
    """
    import pandas as pd

    table = models.assign(encoder=_encoder(models))
    records: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True)) for row in table.to_numpy(dtype=object)]
    rows: list[dict[str, Any]] = []
    for question in questions:
        fields = dict.fromkeys([*question.needs, *question.same, question.field])
        usable = documented(table, list(fields))
        for field, values in question.where.items():
            usable &= table[field].isin(values)
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for number in np.flatnonzero(usable):
            groups.setdefault(tuple(records[number][field] for field in question.same), []).append(records[number])
        for group in groups.values():
            found = [
                _pair(question, one, other, basis)
                for one, other in itertools.combinations(group, 2)
                if (basis := _basis(question, one, other)) is not None
            ]
            equal = [row for row in found if "image_size" not in row["also_differs"]]
            rows.extend(equal if question.prefer_one_size and equal else found)
    pairs = pd.DataFrame(rows, columns=_PAIR_COLUMNS)
    order = {question.name: number for number, question in enumerate(questions)}
    by = [
        "number",
        "control",
        "treatment",
        "prediction",
        "basis",
        "architecture_class",
        "model_control",
        "model_treatment",
    ]
    pairs = pairs.assign(number=pairs["question"].map(order)).sort_values(by, ignore_index=True)
    return pairs.drop(columns="number")


def measure_pairs(
    pairs: pd.DataFrame, measured: pd.DataFrame, lines: Mapping[tuple[str, str], LineSet]
) -> pd.DataFrame:
    """Take the differences of every pair, per shift and line.

    The x axis is that of the shift's own classes where both models have it, else full validation: both models of a pair
    stand on one axis.

    Args:
        pairs: as `find_pairs` gives them.
        measured: as `whyrobust.analysis.published_lines.measure_models` gives it.
        lines: as `whyrobust.analysis.published_lines.fit_lines` gives them.

    Returns:
        The columns of ``pairs`` per shift and line, with ``x_test_set``, ``raw_id_points`` and ``raw_shift_points``
        (differences of accuracies in percentage points), ``effect_logits`` (of the residuals), ``effect_points``
        (the same for a model at the line's reference accuracy) and ``extrapolated`` (one of the two models is outside
        the span of the line's models). Accuracies of 0 or 1 have no logit; such pairs have no row on that shift.
    """
    import pandas as pd

    values = ["id_accuracy", "shift_accuracy", "residual_logits", "extrapolated"]
    axis = ["shift", "x_test_set", "line"]
    known = measured[["collection", "model", *axis, *values]]
    merged = pairs.assign(pair=np.arange(len(pairs)))
    for side in ("control", "treatment"):
        renamed = known.rename(
            columns={"model": f"model_{side}", "collection": f"collection_{side}"} | {v: f"{v}_{side}" for v in values}
        )
        keys = [f"model_{side}", f"collection_{side}", *(axis if side == "treatment" else [])]
        merged = merged.merge(renamed, on=keys)
    own = merged["x_test_set"] != FULL_VALIDATION
    merged = merged[own | ~(own.groupby([merged["pair"], merged["shift"], merged["line"]]).transform("any"))].copy()
    for name, column in (("raw_id_points", "id_accuracy"), ("raw_shift_points", "shift_accuracy")):
        merged[name] = (merged[f"{column}_treatment"] - merged[f"{column}_control"]) * 100.0
    merged["effect_logits"] = merged["residual_logits_treatment"] - merged["residual_logits_control"]
    merged = merged[np.isfinite(merged["effect_logits"])].copy()
    merged["effect_points"] = points_at_reference(merged, merged["effect_logits"].to_numpy(dtype=float), lines)
    merged["extrapolated"] = merged["extrapolated_control"] | merged["extrapolated_treatment"]
    results = ["raw_id_points", "raw_shift_points", "effect_logits", "effect_points", "extrapolated"]
    columns = [*pairs.columns, *axis, *results]
    return pd.DataFrame(merged.sort_values(["pair", "line", "shift"], ignore_index=True)[columns])


def points_at_reference(
    table: pd.DataFrame, logits: FloatArray, lines: Mapping[tuple[str, str], LineSet]
) -> FloatArray:
    """Convert logits to points at the reference accuracy of each row's ``shift``, ``x_test_set`` and ``line``."""
    points = np.full(logits.shape, np.nan)
    shifts, axes, names = (table[name].to_numpy(dtype=object) for name in ("shift", "x_test_set", "line"))
    for shift, x_test_set, line in set(zip(shifts, axes, names, strict=True)):
        rows = (shifts == shift) & (axes == x_test_set) & (names == line)
        points[rows] = lines[shift, x_test_set].points_at_reference(line, logits[rows])
    return points


_PAIR_COLUMNS = [
    "question",
    "control",
    "treatment",
    "prediction",
    "basis",
    "architecture_class",
    "family",
    "image_size",
    "model_control",
    "model_treatment",
    "collection_control",
    "collection_treatment",
    "exact_architecture",
    "size_ratio",
    "also_differs",
]


def _encoder(models: pd.DataFrame) -> pd.Series[str]:
    """Return which trained image encoder a model uses, by the name under which it was published; empty if unknown."""
    return models["weights"].where(models["collection"] != "open_clip", models["model"])


def _value(question: Question, row: Mapping[str, Any]) -> str:
    """Return the value of the question's field as it is shown: sizes with their data set."""
    if question.field == "images":
        return f"{row['data']}, {_count(float(row['images']))} images"
    return str(row[question.field])


def _count(images: float) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if images >= unit:
            return f"{images / unit:.3g} {name}"
    return f"{images:.0f}"


def _ratio(one: Mapping[str, Any], other: Mapping[str, Any], field: str) -> float:
    """Return the larger of two counts over the smaller one; NaN where one is not known."""
    low, high = sorted((float(one[field]), float(other[field])))
    return high / low if low > 0 else np.nan


def _basis(question: Question, one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Return on which ground two models of a group are a pair, "" where the rule asks for none; None: they are not."""
    if one[question.field] == other[question.field]:
        return None
    size = _ratio(one, other, "images")
    if question.pair == "larger":
        return "" if size >= SIZE_STEP else None
    if question.pair == "equal_size":
        return "equal size" if size <= EQUAL_SIZE else None
    if question.pair == "comparable":
        samples = _ratio(one, other, "samples_seen")
        if samples > COMPARABLE_SAMPLES:
            return None
        if size <= EQUAL_SIZE:
            return "equal size"
        if samples <= EQUAL_SAMPLES:
            return "equal samples"
        return "one method" if one["recipe"] != "" and one["recipe"] == other["recipe"] else None
    return ""


def _pair(question: Question, one: Mapping[str, Any], other: Mapping[str, Any], basis: str) -> dict[str, Any]:
    """Return the row of a pair, the earlier value first."""
    control, treatment = sorted((one, other), key=lambda row: _rank(question, row))
    differs = [
        f"{field}: {_shown(control[field])} / {_shown(treatment[field])}"
        for field in LISTED
        if field != question.field
        and control[field] != treatment[field]
        and not _both_unknown(control, treatment, field)
    ]
    return {
        "question": question.name,
        "control": _value(question, control),
        "treatment": _value(question, treatment),
        "prediction": control["prediction"] if control["prediction"] == treatment["prediction"] else "",
        "basis": basis,
        "architecture_class": control["architecture_class"],
        "family": control["family"],
        "image_size": control["image_size"],
        "model_control": control["model"],
        "model_treatment": treatment["model"],
        "collection_control": control["collection"],
        "collection_treatment": treatment["collection"],
        "exact_architecture": control["architecture"] == treatment["architecture"] or "encoder" in question.same,
        "size_ratio": float(treatment["images"]) / float(control["images"]),
        "also_differs": "; ".join(differs),
    }


def _rank(question: Question, row: Mapping[str, Any]) -> tuple[float, str]:
    value = row[question.field]
    if question.field == "images":
        return float(value), ""
    return float(question.order.index(value) if value in question.order else len(question.order)), str(value)


def _both_unknown(one: Mapping[str, Any], other: Mapping[str, Any], field: str) -> bool:
    return all(row[field] == "" or row[field] != row[field] for row in (one, other))


def _shown(value: Any) -> str:  # noqa: ANN401 - a cell of a table
    if value == "" or value != value:
        return "not documented"
    return (
        _count(value)
        if isinstance(value, float) and value >= 1e6
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
