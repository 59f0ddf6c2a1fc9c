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
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)

#: Share of the drawings of each class that is held out to choose a penalty.
HELD_OUT_SHARE = 0.2

#: L-BFGS steps of a fit at most, and how far from its optimum, in nats, an objective may then be to count as converged.
MAX_STEPS, LARGEST_GAP = 200, 0.01


class HeadError(ValueError):
    """Features or labels that no head can be fitted on."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear layer for raw embeddings, and the penalties it was chosen from.

    Attributes:
        weight: ``[classes, dim]``.
        bias: ``[classes]``; `NEVER` for classes without an image.
        penalty: the one chosen.
        candidates: penalty, accuracy on held-out training images and whether the fit converged, of all.
        converged: whether the last fit, on all images, did.
    """

    weight: Floats
    bias: Floats
    penalty: float
    candidates: tuple[tuple[float, float, bool], ...]
    converged: bool = True

    @property
    def at_edge(self) -> bool:
        """Whether the penalty is the weakest or the strongest that was tried: a better one may lie beyond."""
        tried = [penalty for penalty, *_ in self.candidates]
        return len(tried) > 1 and self.penalty in (min(tried), max(tried))


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


def held_out_rows(labels: Ints, groups: Sequence[str], share: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask ``[n]`` of the images held out to choose a penalty: whole drawings, about ``share`` of each class.

    A drawing (``group``) comes in several styles and sizes: with one of them in the fit the others are easy, and the
    weakest penalty seems best. Which are held out depends on their names and the seed. A class with one drawing keeps
    it; a drawing counts to the class of its first image.
    """
    label_of: dict[str, int] = {}
    for group, label in zip(groups, labels.tolist(), strict=True):
        label_of.setdefault(group, label)
    of_class: dict[int, list[str]] = {}
    for group in sorted(label_of, key=lambda group: hashlib.sha256(f"{seed}\x00{group}".encode()).digest()):
        of_class.setdefault(label_of[group], []).append(group)
    chosen: set[str] = set()
    for drawings in of_class.values():
        chosen.update(drawings[: min(len(drawings) - 1, round(share * len(drawings)))])
    return np.array([group in chosen for group in groups], dtype=np.bool_)


def fit_linear_probe(
    features: Floats,
    labels: Ints,
    classes: int,
    groups: Sequence[str],
    seed: int,
    penalties: Sequence[float] = PENALTIES,
    threads: int = 1,
    device: str = "cpu",
) -> LinearProbe:
    """Fit multinomial logistic regression on frozen embeddings.

    The objective is mean cross-entropy + penalty / 2 * (sum of squared weights), biases free, on features standardised
    by the training images' mean and deviation (folded back into the result); by L-BFGS with a strong Wolfe line
    search. It is convex, so the result depends on the data alone. The penalty with the best accuracy on held-out
    drawings of the training images is taken (of equals the stronger) and the probe fitted again on all of them.

    Args:
        features: embeddings ``[n, dim]`` of training images.
        labels: class ids ``[n]``.
        classes: number of classes; those without an image are never predicted.
        groups: the drawing that each image is of ``[n]``.
        seed: decides the held-out drawings.
        penalties: strengths to choose from.
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
    held_out = torch.from_numpy(held_out_rows(labels, groups, HELD_OUT_SHARE, seed)).to(target)

    ordered = sorted(set(penalties), reverse=True)
    candidates: list[tuple[float, float, bool]] = []
    if len(ordered) > 1 and bool(held_out.any()):
        layer = None
        layers = {}
        for penalty in ordered:  # strong to weak, each starting from the last: a warm start costs less
            layer, converged = _fit_layer(x[~held_out], y[~held_out], len(present), penalty, layer)
            chosen = (x[held_out] @ layer[:-1] + layer[-1]).argmax(dim=1)
            layers[float(penalty)] = layer
            candidates.append((float(penalty), float((chosen == y[held_out]).float().mean()), converged))
        penalty = max(candidates, key=lambda tried: (tried[1], tried[0]))[0]
        start = layers[penalty]
    else:
        penalty, start = float(ordered[0]), None
    layer, converged = _fit_layer(x, y, len(present), penalty, start)
    found = layer.cpu().numpy()
    inner = found[:-1] / deviation[:, None]
    weight = np.zeros((classes, features.shape[1]), dtype=np.float32)
    bias = np.full(classes, NEVER, dtype=np.float32)
    weight[present] = inner.T
    bias[present] = found[-1] - mean @ inner
    return LinearProbe(weight, bias, penalty, tuple(candidates), converged)


def _fit_layer(x: Tensor, y: Tensor, classes: int, penalty: float, start: Tensor | None) -> tuple[Tensor, bool]:
    """Return ``[dim + 1, classes]``, weights and in the last row biases, and whether they are at the optimum."""
    import torch

    from whyrobust.training.light_imports import keep_compiler_out

    keep_compiler_out()
    layer = torch.zeros(x.shape[1] + 1, classes, device=x.device) if start is None else start.clone()
    layer.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [layer],
        max_iter=MAX_STEPS,
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
    closure()
    assert layer.grad is not None
    # The distance of a strongly convex objective from its optimum is at most this (Boyd and Vandenberghe 2004, 9.9).
    gap = layer.grad.square().sum() / (2 * penalty)
    return layer.detach(), bool(gap <= LARGEST_GAP)


def fit_heads(
    heads: Sequence[Mapping[str, str]],
    embeddings: Mapping[str, Floats],
    labels_of: Mapping[str, Sequence[str | None]],
    groups_of: Mapping[str, Sequence[str]],
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
        groups_of: source -> the drawing that each of these images is of.
        classes: names of the classes, by id.
        seed: decides the held-out drawings of linear probes.
        threads: CPU threads.
        device: 'cpu', 'cuda' or 'auto'.

    Returns:
        Weights of the heads by name (see `whyrobust.evaluation.scoring.score_head`), and the penalties that were tried:
        ``penalty, held_out_accuracy, converged, fitted_on, chosen``.
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
            groups = [group for group, kept in zip(groups_of[source], labelled, strict=True) if kept]
            probe = fit_linear_probe(features, labels, len(classes), groups, seed, threads=threads, device=device)
            _warn_of_fit(name, probe)
            weights |= {f"{name}.weight": probe.weight, f"{name}.bias": probe.bias}
            tried = pd.DataFrame(probe.candidates, columns=["penalty", "held_out_accuracy", "converged"])
            penalties.append(tried.assign(fitted_on=source, chosen=tried["penalty"] == probe.penalty))
        logger.info("%s: %d images", name, len(labels))
    empty = pd.DataFrame(columns=["penalty", "held_out_accuracy", "converged", "fitted_on", "chosen"])
    return weights, pd.concat(penalties) if penalties else empty


def _warn_of_fit(name: str, probe: LinearProbe) -> None:
    """Say in the log where a better penalty may lie beyond the grid, and where a fit has not converged."""
    if probe.at_edge:
        tried = [penalty for penalty, *_ in probe.candidates]
        logger.warning(
            "%s: the best penalty, %g, is at the edge of the grid (%g to %g): a better one may lie beyond, widen "
            "PENALTIES in whyrobust.evaluation.heads", name, probe.penalty, min(tried), max(tried),
        )  # fmt: skip
    for penalty in [penalty for penalty, _, converged in probe.candidates if not converged]:
        logger.warning("%s: the fit with penalty %g has not converged in %d steps", name, penalty, MAX_STEPS)
    if not probe.converged:
        logger.warning(
            "%s: the last fit, on all images with penalty %g, has not converged in %d steps: it is used as it is",
            name, probe.penalty, MAX_STEPS,
        )  # fmt: skip
