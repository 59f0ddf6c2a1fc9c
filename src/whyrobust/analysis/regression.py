"""One regression over all runs and heads: a second opinion on the causes, beside the paired comparisons.

It shares no assumption with `whyrobust.analysis.effects`: no baseline of standard models and no pairs, so that the two
can disagree. Where both point the same way, there is more reason to believe either.

Sources: Belsley, Kuh and Welsch 1980, "Regression Diagnostics" (variance inflation, condition number); MacKinnon,
Nielsen and Webb 2023, "Leverage, influence, and the jackknife in clustered regression models" (arXiv 2205.03288),
for the jackknife over clusters; Ibragimov and Müller 2010 for Student's t with as many degrees of freedom as
clusters less one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from whyrobust.analysis.attribution import EffectSettings
from whyrobust.analysis.intervals import check_confidence, student_half_width
from whyrobust.analysis.scales import to_scale
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.plan import OWN

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.analysis.arrays import BoolArray, FloatArray

HEADS_WITH_TEXT = frozenset({"zero_shot"})

#: Columns that `regress_causes` needs for each run and head on each shift.
POINT_COLUMNS = (
    "run",
    "seed",
    "shift",
    "id_accuracy",
    "shift_accuracy",
    "train_images",
    "source",
    "objective",
    "supervision",
    "head",
    "fitted_on",
    "standard",
)
REGRESSION_COLUMNS = (
    "shift",
    "cause",
    "term",
    "coefficient",
    "low",
    "high",
    "points",
    "low_points",
    "high_points",
    "vif",
    "condition_number",
    "rows",
    "runs",
    "seeds",
    "r_squared",
    "note",
)

# Above these a reader must be warned (Belsley, Kuh and Welsch 1980, chapter 3, and common use).
VIF_LIMIT = 10.0
CONDITION_LIMIT = 30.0

_TOLERANCE = 1e-8  # relative size below which a singular value counts as 0
_ID_TERM = "in-distribution accuracy"

#: A source has a slope of its own from so many runs of a seed; fewer do not determine one.
_RUNS_OF_SLOPE = 3


@dataclass(frozen=True)
class _Term:
    """One term of the regression: its cause, its name for a reader, and its values [rows]."""

    cause: str
    name: str
    values: FloatArray


@dataclass(frozen=True)
class _Rows:
    """What is known of each row besides its values: its weight and its seed, [rows] each."""

    weights: FloatArray
    seeds: FloatArray


@dataclass(frozen=True)
class _Fit:
    """The estimates of one regression, [terms] but for the last two."""

    coefficient: FloatArray
    half_width: FloatArray
    vif: FloatArray
    notes: list[list[str]]
    condition_number: float
    r_squared: float


def regress_causes(points: pd.DataFrame, settings: EffectSettings | None = None) -> pd.DataFrame:
    """Regress accuracy under shift on in-distribution accuracy and all five possible causes, shift by shift.

    The model, by weighted least squares on the scale (logit as a rule):

        shift = intercept + a slope for each source * (in-distribution - its mean)
                + size * log2(train_images)                                (training_set_size, per doubling)
                + one term for each source but the reference               (training_distribution)
                + one term for each source that a head was fitted on,
                  where that is not the run's own                          (training_distribution)
                + captions, and images alone, each instead of labels       (language_at_training)
                + text head instead of a head without text                 (language_at_test)
                + contrastive objective instead of cross-entropy           (contrastive_loss)

    A run counts once: each of its heads has a row, with the weight 1 / (heads of the run). A source with fewer than
    three runs a seed (a mixture, say) has no slope of its own, but that of all such sources. Since accuracies are
    centred, the term of a source is its difference at the mean in-distribution accuracy. A run that started from
    another (``pretrained_by``, optional) counts as contrastive or trained on captions where either stage was. Sources
    are compared with the source of most standard models.

    Intervals. Rows are not independent: heads of one run share its weights, runs of one seed share nested subsets.
    Seeds are the independent units, so the standard error is the jackknife that leaves out one seed at a time (CR3),
    sqrt((G - 1) / G * sum (b_g - mean b)^2), with the quantile of Student's t for G - 1 degrees of freedom, G being the
    seeds within which the term varies. Where every seed has the same runs this is the t interval over the coefficients
    of the single seeds, exact for normal noise even with three. By simulation, with three seeds whose effects differ
    and a claim of 95 % (300 repeats; tests/analysis/test_regression.py repeats it), it covers the truth 95 % of the
    time, HC3 over rows 77 to 81 %, the sandwich over three seeds with normal quantiles 81 %, the sandwich over runs 72
    to 77 %. The price is width: t is 4.3 with three seeds. The interval is over other seeds on the same test images;
    what other images would do is only in `whyrobust.analysis.effects.estimate_variance`.

    Identifiability. A term that does not vary, or that is an exact linear combination of others, has no estimate and a
    note that names these others; the remaining estimates do not depend on it. In a study whose caption runs are all
    contrastive and evaluated with a text head, language_at_training, language_at_test and contrastive_loss are (nearly)
    the same column: ``vif``, the variance inflation factor, is how much larger the variance of a term is than if it
    were uncorrelated with the others, ``condition_number`` (ratio of the largest to the smallest singular value of the
    centred columns at unit length) says it of the whole design.

    Args:
        points: one row for each run and head on each shift, with the columns of `POINT_COLUMNS`; accuracies are
            fractions. Optional: ``pretrained_by``. Other columns (caption, prompts) are not used.
        settings: scale, confidence and the reference accuracy of points; the defaults if None.

    Returns:
        One row for each shift and term. ``coefficient, low, high`` are in units of the scale (logits), ``points,
        low_points, high_points`` in percentage points at the reference accuracy. ``rows`` were fitted, of ``runs`` runs
        and ``seeds`` seeds; ``note`` describes what is missing or left out (accuracies of 0 and 1, which have no finite
        logit) and why.

    Raises:
        ValueError: for missing columns, an unknown objective, or a confidence outside 0..1.
    """
    import pandas as pd

    stated = settings or EffectSettings()
    check_confidence(stated.confidence)
    missing = [column for column in POINT_COLUMNS if column not in points.columns]
    if missing:
        raise ValueError(f"The table of points lacks the columns {missing}: it has {list(points.columns)}. Add them.")
    unknown = sorted(set(points["objective"]) - set(OBJECTIVES))
    if unknown:
        raise ValueError(
            f"The table of points has the objectives {unknown}: known ones are {sorted(OBJECTIVES)}. "
            "Leave their rows out, or add them to whyrobust.study.objectives_table."
        )
    if len(points) == 0:
        return pd.DataFrame(columns=list(REGRESSION_COLUMNS))
    # Terms are made from the whole table, so that every shift has the same rows in the result.
    terms = _make_terms(points, _reference_source(points))
    rows: list[dict[str, Any]] = []
    for shift in dict.fromkeys(points["shift"]):
        here = (points["shift"] == shift).to_numpy()
        rows += _regress_shift(str(shift), points[here], [_select(term, here) for term in terms], stated)
    return pd.DataFrame(rows, columns=list(REGRESSION_COLUMNS))


def _regress_shift(
    shift: str, points: pd.DataFrame, terms: list[_Term], settings: EffectSettings
) -> list[dict[str, Any]]:
    """Return the rows of one shift."""
    x = to_scale(points["id_accuracy"].to_numpy(dtype=float), settings.scale)
    y = to_scale(points["shift_accuracy"].to_numpy(dtype=float), settings.scale)
    used = np.isfinite(x) & np.isfinite(y)
    shared_notes = []
    without = int((np.isnan(x) | np.isnan(y)).sum())
    extreme = int((~used).sum()) - without
    if extreme:
        shared_notes.append(
            f"{extreme} rows with an accuracy of 0 or 1, which has no finite {settings.scale}, are left out."
        )
    if without:
        shared_notes.append(f"{without} rows without an accuracy are left out.")
    fitted = points[used]
    seeds = fitted["seed"].to_numpy()
    weights = 1.0 / fitted.groupby("run")["run"].transform("size").to_numpy(dtype=float)
    controls = _make_slopes(fitted, x[used], weights)
    fit = _fit_terms(controls, y[used], [_select(term, used) for term in terms], _Rows(weights, seeds),
                     settings.confidence)  # fmt: skip
    rows = []
    for number, term in enumerate(terms):
        middle, half = float(fit.coefficient[number]), float(fit.half_width[number])
        ends = {"coefficient": middle, "low": middle - half, "high": middle + half}
        names = {"coefficient": "points", "low": "low_points", "high": "high_points"}
        rows.append(
            {"shift": shift, "cause": term.cause, "term": term.name}
            | ends
            | {names[name]: settings.in_points(end) for name, end in ends.items()}
            | {
                "vif": float(fit.vif[number]),
                "condition_number": fit.condition_number,
                "rows": int(used.sum()),
                "runs": int(fitted["run"].nunique()),
                "seeds": len(set(seeds)),
                "r_squared": fit.r_squared,
                "note": " ".join([*fit.notes[number], *shared_notes]),
            }
        )
    return rows


# --- The terms of the regression ---------------------------------------------------------------------------


def _reference_source(points: pd.DataFrame) -> str:
    """Return the source of most standard models (of most rows if there is none); of equals, the first by name."""
    standard = points[points["standard"].astype(bool)]
    counts = (standard if len(standard) else points)["source"].value_counts()
    return str(min(counts[counts == counts.max()].index))


def _pretrained_by(points: pd.DataFrame) -> pd.Series[str]:
    """Return the objective of the run that each row's run started from, empty without one or when not told."""
    import pandas as pd

    if "pretrained_by" not in points.columns:
        return pd.Series("", index=points.index)
    return points["pretrained_by"].fillna("").astype(str)


def _make_terms(points: pd.DataFrame, reference: str) -> list[_Term]:
    """Return the terms of the five causes; each cause has at least one, so that none goes missing silently."""
    first_stage = _pretrained_by(points)
    supervision = {objective.name: objective.supervision for objective in OBJECTIVES.values()}
    captions = (points["supervision"] == "captions") | (first_stage.map(supervision) == "captions")
    images_alone = (points["supervision"] == "images") & ~captions
    compared = [objective.name for objective in OBJECTIVES.values() if objective.contrastive]
    contrastive = points["objective"].isin(compared) | first_stage.isin(compared)
    terms = [_Term("training_set_size", "twice the images", np.log2(points["train_images"].astype(float).to_numpy()))]
    others = sorted(set(points["source"]) - {reference})
    for source in others:
        name = f"{source} instead of {reference}"
        terms.append(_Term("training_distribution", name, _indicator(points["source"] == source)))
    if not others:
        name = f"another source instead of {reference}"
        terms.append(_Term("training_distribution", name, np.zeros(len(points))))
    fitted_on = points["fitted_on"].fillna("").astype(str)
    elsewhere = (fitted_on != "") & (fitted_on != OWN) & (fitted_on != points["source"])
    for source in sorted(set(fitted_on[elsewhere])):
        name = f"head fitted on {source} images instead of the run's own"
        terms.append(_Term("training_distribution", name, _indicator(elsewhere & (fitted_on == source))))
    terms.append(_Term("language_at_training", "captions instead of labels", _indicator(captions)))
    if images_alone.any():
        name = "images alone instead of labels"
        terms.append(_Term("language_at_training", name, _indicator(images_alone)))
    text_head = _indicator(points["head"].isin(HEADS_WITH_TEXT))
    terms.append(_Term("language_at_test", "head with text instead of without", text_head))
    name = "contrastive objective instead of cross-entropy"
    terms.append(_Term("contrastive_loss", name, _indicator(contrastive)))
    return terms


def _make_slopes(points: pd.DataFrame, x: FloatArray, weights: FloatArray) -> list[_Term]:
    """Return in-distribution accuracies, centred, as one column for each source that has a slope of its own.

    Args:
        points: the rows that are fitted.
        x: their in-distribution accuracies on the scale, [rows].
        weights: of the rows, [rows].
    """
    if len(points) == 0:
        return []
    centred = x - np.average(x, weights=weights)
    runs = points.groupby(["source", "seed"])["run"].nunique().groupby("source").max()
    own = sorted(str(source) for source in runs.index[runs >= _RUNS_OF_SLOPE])
    others = ~points["source"].isin(own).to_numpy()
    if len(own) + bool(others.any()) < 2:
        return [_Term("", _ID_TERM, centred)]
    columns = [_Term("", f"{_ID_TERM} of {source}", centred * _indicator(points["source"] == source)) for source in own]
    return [*columns, *([_Term("", f"{_ID_TERM} of other sources", centred * others)] if others.any() else [])]


def _indicator(flags: pd.Series[bool]) -> FloatArray:
    """Return an indicator variable: 1 where a flag is set, 0 elsewhere."""
    return np.asarray(flags, dtype=np.float64)


def _select(term: _Term, rows: BoolArray) -> _Term:
    """Return a term for some of the rows."""
    return _Term(term.cause, term.name, term.values[rows])


# --- Least squares with identifiability ---------------------------------------------------------------------


def _fit_terms(controls: list[_Term], y: FloatArray, terms: list[_Term], rows: _Rows, confidence: float) -> _Fit:
    """Fit one regression; see `regress_causes` for what is returned and why."""
    import statsmodels.api as sm

    count = len(terms)
    empty = np.full(count, np.nan)
    notes: list[list[str]] = [[] for _ in terms]
    varies = np.array([len(term.values) > 0 and float(np.ptp(term.values)) > 0 for term in terms])
    for number in np.flatnonzero(~varies):
        notes[number].append("Not identifiable: it is the same in all rows.")
    if len(y) == 0:
        return _Fit(empty, empty, empty, [["Not identifiable: there is no usable row."] for _ in terms], np.nan, np.nan)

    kept = np.flatnonzero(varies)
    before = 1 + len(controls)
    columns = np.column_stack([*(term.values for term in controls), *(terms[number].values for number in kept)])
    # Centred, so that "collinear" is about how columns vary and not about how far from 0 they lie.
    centred = columns - np.average(columns, axis=0, weights=rows.weights)
    root = np.sqrt(rows.weights)[:, None]
    lengths = np.linalg.norm(root * centred, axis=0)
    centred = centred / np.where(lengths > 0, lengths, 1.0)
    plain = np.column_stack([np.ones(len(y)), centred])
    design, weighted_y = root * plain, root[:, 0] * y
    known, tied = _identifiable(design)
    names = ["the intercept", *(term.name for term in controls), *(terms[number].name for number in kept)]
    # statsmodels inverts by the pseudo-inverse: where columns are tied, the others' coefficients are still unique.
    # It warns that the design is singular, which `notes` say better.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = sm.WLS(y, plain, weights=rows.weights).fit()
    freedom = len(y) - int(np.linalg.matrix_rank(design, tol=_TOLERANCE * np.linalg.norm(design, 2)))
    seeds = rows.seeds
    levels = list(dict.fromkeys(seeds))
    left_out = [_solve(design[seeds != seed], weighted_y[seeds != seed]) for seed in levels] if len(levels) > 1 else []

    coefficient, half_width, vif = empty.copy(), empty.copy(), empty.copy()
    for position, number in enumerate(kept, start=before):
        vif[number] = _variance_inflation(design, position) if known[position] else np.inf
        if not known[position]:
            others = ", ".join(name for name, is_tied in zip(names, tied[position], strict=True) if is_tied)
            notes[number].append(f"Not identifiable: in these rows it cannot be told apart from {others}.")
            continue
        unit = 1.0 / lengths[position - 1]
        coefficient[number] = model.params[position] * unit
        within = [float(np.ptp(terms[number].values[seeds == seed])) > 0 for seed in levels]
        jackknifed = np.array([solution[position] for solution in left_out]) * unit
        if freedom < 1:
            notes[number].append("No interval: there are as many coefficients as rows.")
        elif sum(within) < 2 or not np.isfinite(jackknifed).all():
            notes[number].append(
                "No interval: fewer than two seeds show this term, so it cannot be said how they vary."
            )
        else:
            half_width[number] = _jackknife_half_width(jackknifed, sum(within), confidence)
        if vif[number] > VIF_LIMIT:
            notes[number].append(
                f"Nearly collinear with other terms (variance inflation {vif[number]:.0f}): it is hardly told apart."
            )
    singular = np.linalg.svd(root * centred, compute_uv=False)
    condition = float(singular[0] / singular[-1]) if known.all() and singular[-1] > 0 else np.inf
    if CONDITION_LIMIT < condition < np.inf:
        for number in kept:
            notes[number].append(f"The design is nearly singular (condition number {condition:.0f}).")
    r_squared = float(model.rsquared) if float(np.ptp(y)) > 0 else np.nan
    return _Fit(coefficient, half_width, vif, notes, condition, r_squared)


def _identifiable(design: FloatArray) -> tuple[BoolArray, BoolArray]:
    """Return which coefficients are identifiable, [columns], and which columns each depends on, [columns, columns].

    A coefficient is identifiable where every vector of the null space of the design is 0 there.
    """
    columns = design.shape[1]
    _, singular, right = np.linalg.svd(design, full_matrices=True)
    padded = np.zeros(columns)
    padded[: singular.size] = singular
    null = right[padded <= _TOLERANCE * max(float(padded.max()), 1e-300)]
    projection = np.abs(null.T @ null)
    tied = (projection > 1e-6) & ~np.eye(columns, dtype=bool)
    return np.diag(projection) <= 1e-6, tied


def _solve(design: FloatArray, y: FloatArray) -> FloatArray:
    """Return least-squares coefficients, NaN where the rows do not determine one, [columns]."""
    known, _ = _identifiable(design)
    solution = np.linalg.lstsq(design, y, rcond=_TOLERANCE)[0]
    return np.where(known, solution, np.nan)


def _variance_inflation(design: FloatArray, position: int) -> float:
    """Return 1 / (1 - R squared) of one column, of unit length and mean 0, regressed on all others."""
    others = np.delete(design, position, axis=1)
    column = design[:, position]
    residual = column - others @ np.linalg.lstsq(others, column, rcond=_TOLERANCE)[0]
    return float(1.0 / (residual @ residual))


def _jackknife_half_width(estimates: FloatArray, seeds: int, confidence: float) -> float:
    """Return the half width of the interval of an estimate from its values without one seed each, [all seeds]."""
    count = estimates.size
    variance = (count - 1) / count * float(((estimates - estimates.mean()) ** 2).sum())
    return student_half_width(float(np.sqrt(variance)), seeds - 1, confidence)
