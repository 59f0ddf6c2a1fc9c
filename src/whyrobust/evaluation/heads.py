"""Heads fitted on a frozen encoder: nearest class means and linear probes, and the scores of linear layers.

They use the same embeddings as zero-shot heads, without text, so that language at test time can be told apart as a
cause. They are fitted on training images only: no test image takes part in a fit or in the choice of a penalty.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whyrobust.evaluation.embed import Floats, normalise

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

logger = logging.getLogger("whyrobust")

Ints = NDArray[np.int64]

#: Score of a class without an image to fit on, so that it is never predicted. Finite, since infinities spoil averages.
NEVER = np.float32(-1e9)

#: Strengths of the L2 penalty that are tried, weak to strong (per image, see `fit_linear_probe`).
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)


class HeadError(ValueError):
    """Features or labels that no head can be fitted on."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear layer for raw embeddings, and the penalties it was chosen from.

    Attributes:
        weight: ``[classes, dim]``.
        bias: ``[classes]``; `NEVER` for classes without an image.
        penalty: the one chosen.
        candidates: (penalty, accuracy on held-out training images) of all.
    """

    weight: Floats
    bias: Floats
    penalty: float
    candidates: tuple[tuple[float, float], ...]


def _check(features: Floats, labels: Ints, classes: int) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise HeadError(f"features are {list(features.shape)}, labels {list(labels.shape)}: expected [n, dim] and [n]")
    if not len(labels):
        raise HeadError("there is no labelled image to fit a head on: fit it on a labelled source")
    if not np.isfinite(features).all():
        bad = int((~np.isfinite(features)).any(axis=1).sum())
        raise HeadError(
            f"{bad} of {len(features)} embeddings have values that are not finite: check the run's weights and its log"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise HeadError(f"labels run from {labels.min()} to {labels.max()}: allowed are 0 to {classes - 1}")


def fit_nearest_mean(features: Floats, labels: Ints, classes: int) -> Floats:
    """Return one direction per class: the mean of its normalised embeddings, normalised.

    Args:
        features: embeddings ``[n, dim]`` of training images.
        labels: class ids ``[n]``.
        classes: number of classes.

    Returns:
        ``[classes, dim]``; NaN for classes without an image, which `score_nearest_mean` never chooses.
    """
    _check(features, labels, classes)
    unit = normalise(features)
    sums = np.zeros((classes, features.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, unit)
    counts = np.bincount(labels, minlength=classes)[:, None]
    directions = normalise((sums / np.maximum(counts, 1)).astype(np.float32))
    directions[counts[:, 0] == 0] = np.nan
    return directions


def score_nearest_mean(features: Floats, directions: Floats) -> Floats:
    """Return cosines ``[n, classes]`` with class directions; `NEVER` where a class has none."""
    known = np.isfinite(directions).all(axis=1)
    scores = np.full((len(features), len(directions)), NEVER, dtype=np.float32)
    scores[:, known] = normalise(features) @ directions[known].T
    return scores


def score_classifier(image_features: Floats, weight: Floats, bias: Floats) -> Floats:
    """Return a linear layer's scores ``[images, classes]`` of features ``[images, dim]``."""
    return image_features @ weight.T + bias


def held_out_rows(labels: Ints, share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask ``[n]`` of the images held out to choose a penalty: about ``share`` of each class, never all of it.

    The choice depends on an image's position and the seed. A class with one image keeps it.
    """
    keys = np.array([hashlib.sha256(f"{seed}\x00{row}".encode()).digest()[:8] for row in range(len(labels))])
    chosen = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(len(rows) - 1, round(share * len(rows)))
        chosen[rows[np.argsort(keys[rows], kind="stable")[:count]]] = True
    return chosen


def fit_linear_probe(
    features: Floats,
    labels: Ints,
    classes: int,
    seed: int,
    penalties: Sequence[float] = PENALTIES,
    held_out_share: float = 0.2,
    threads: int = 1,
    device: str = "cpu",
) -> LinearProbe:
    """Fit multinomial logistic regression on frozen embeddings.

    The objective is mean cross-entropy + penalty / 2 * (sum of squared weights), biases free, on features standardised
    by the training images' mean and deviation (folded back into the result); by L-BFGS with a strong Wolfe line
    search. It is convex, so the result depends on the data alone. The penalty with the best accuracy on held-out
    training images is taken (of equals the stronger) and the probe fitted again on all training images.

    Args:
        features: embeddings ``[n, dim]`` of training images.
        labels: class ids ``[n]``.
        classes: number of classes; those without an image are never predicted.
        seed: decides the held-out images.
        penalties: strengths to choose from.
        held_out_share: share of each class held out for the choice.
        threads: CPU threads.
        device: 'cpu', 'cuda' or 'auto'.

    Raises:
        HeadError: shapes or labels do not fit, values are not finite, or no penalty is given.
    """
    import torch

    from whyrobust.training.device import choose_device

    _check(features, labels, classes)
    if not penalties or min(penalties) <= 0:
        raise HeadError(f"penalties are {list(penalties)}: give at least one, all above 0")
    present = np.unique(labels)
    position = np.searchsorted(present, labels)
    if len(present) == 1:
        bias = np.full(classes, NEVER, dtype=np.float32)
        bias[present] = 0.0
        weight = np.zeros((classes, features.shape[1]), dtype=np.float32)
        return LinearProbe(weight, bias, float(max(penalties)), ())

    torch.set_num_threads(threads)
    target = choose_device(device)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-6 * max(1e-12, float(deviation.max())), deviation, 1.0).astype(np.float32)
    x = torch.from_numpy(np.ascontiguousarray((features - mean) / deviation, dtype=np.float32)).to(target)
    y = torch.from_numpy(position.astype(np.int64)).to(target)
    held_out = torch.from_numpy(held_out_rows(labels, held_out_share, seed)).to(target)

    ordered = sorted(set(penalties), reverse=True)
    candidates: list[tuple[float, float]] = []
    if len(ordered) > 1 and bool(held_out.any()):
        layer = None
        layers = {}
        for penalty in ordered:  # strong to weak, each starting from the last: a warm start costs less
            layer = _fit_layer(x[~held_out], y[~held_out], len(present), penalty, layer)
            chosen = (x[held_out] @ layer[:-1] + layer[-1]).argmax(dim=1)
            layers[float(penalty)] = layer
            candidates.append((float(penalty), float((chosen == y[held_out]).float().mean())))
        penalty = max(candidates, key=lambda pair: (pair[1], pair[0]))[0]
        start = layers[penalty]
    else:
        penalty, start = float(ordered[0]), None
    found = _fit_layer(x, y, len(present), penalty, start).cpu().numpy()
    inner = found[:-1] / deviation[:, None]
    weight = np.zeros((classes, features.shape[1]), dtype=np.float32)
    bias = np.full(classes, NEVER, dtype=np.float32)
    weight[present] = inner.T
    bias[present] = found[-1] - mean @ inner
    return LinearProbe(weight, bias, penalty, tuple(candidates))


def _fit_layer(x: Tensor, y: Tensor, classes: int, penalty: float, start: Tensor | None) -> Tensor:
    """Return ``[dim + 1, classes]``: weights and, in the last row, biases, at the optimum."""
    import torch

    from whyrobust.training.light_imports import keep_compiler_out

    keep_compiler_out()
    layer = torch.zeros(x.shape[1] + 1, classes, device=x.device) if start is None else start.clone()
    layer.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [layer],
        max_iter=200,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = x @ layer[:-1] + layer[-1]
        loss: Tensor = torch.nn.functional.cross_entropy(scores, y) + 0.5 * penalty * (layer[:-1] ** 2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return layer.detach()


def fit_heads(
    heads: Sequence[Mapping[str, str]],
    embeddings: Mapping[str, Floats],
    labels_of: Mapping[str, Sequence[str | None]],
    classes: Sequence[str],
    seed: int,
    threads: int = 1,
    device: str = "cpu",
) -> tuple[dict[str, Floats], pd.DataFrame]:
    """Fit all heads of a run.

    Args:
        heads: each with ``head`` (``nearest_mean`` or ``linear_probe``) and ``fitted_on``, a source of images.
        embeddings: ``fitting.<source>`` ``[n, dim]`` of the images of each source.
        labels_of: source -> labels of these images; those without one are left out.
        classes: names of the classes, by id.
        seed: decides the held-out images of linear probes.
        threads: CPU threads.
        device: 'cpu', 'cuda' or 'auto'.

    Returns:
        Weights of the heads by name (see `whyrobust.evaluation.scoring.score_head`), and the penalties that were tried:
        ``penalty, held_out_accuracy, fitted_on, chosen``.
    """
    import pandas as pd

    id_of = {name: number for number, name in enumerate(classes)}
    weights: dict[str, Floats] = {}
    penalties: list[pd.DataFrame] = []
    for head in heads:
        kind, source = head["head"], head["fitted_on"]
        labelled = np.array([label is not None for label in labels_of[source]])
        features = embeddings[f"fitting.{source}"][labelled]
        labels = np.array([id_of[label] for label in labels_of[source] if label is not None], dtype=np.int64)
        name = f"{kind}.{source}"
        if kind == "nearest_mean":
            weights[name] = fit_nearest_mean(features, labels, len(classes))
        else:
            probe = fit_linear_probe(features, labels, len(classes), seed, threads=threads, device=device)
            weights |= {f"{name}.weight": probe.weight, f"{name}.bias": probe.bias}
            tried = pd.DataFrame(probe.candidates, columns=["penalty", "held_out_accuracy"])
            penalties.append(tried.assign(fitted_on=source, chosen=tried["penalty"] == probe.penalty))
        logger.info("%s: %d images", name, len(labels))
    empty = pd.DataFrame(columns=["penalty", "held_out_accuracy", "fitted_on", "chosen"])
    return weights, pd.concat(penalties) if penalties else empty
