"""Scoring: from the embeddings of a run to the predictions of every head on every test set.

`ScoredSet` is a test set with the classes that may be predicted on it, `score_run` predicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whyrobust.evaluation.embed import EvaluationError, Floats
from whyrobust.evaluation.heads import score_classifier, score_nearest_mean
from whyrobust.evaluation.zero_shot import score_zero_shot
from whyrobust.study.plan import Head
from whyrobust.study.table_cells import LABEL_SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

PREDICTION_SCHEMA = pa.schema(
    [
        ("run", pa.dictionary(pa.int32(), pa.string())),
        ("head", pa.dictionary(pa.int32(), pa.string())),
        ("prompts", pa.dictionary(pa.int32(), pa.string())),
        ("fitted_on", pa.dictionary(pa.int32(), pa.string())),
        ("test_set", pa.dictionary(pa.int32(), pa.string())),
        ("uid", pa.string()),
        ("group", pa.string()),
        ("unit", pa.dictionary(pa.int32(), pa.string())),
        ("label", pa.dictionary(pa.int32(), pa.string())),
        ("prediction", pa.dictionary(pa.int32(), pa.string())),
        ("correct", pa.bool_()),
    ]
)


def predict(scores: Floats, answers: Sequence[Sequence[int]] | None = None) -> NDArray[np.int64]:
    """Return the answer with the highest score of each image; of equal scores the first.

    Args:
        scores: ``[images, classes]``.
        answers: what may be predicted: class ids per answer, which takes their highest score (so that a hit on any of
            them counts, as ObjectNet is scored). None: every class is an answer.

    Returns:
        Positions in ``answers``, ``[images]``.

    Raises:
        EvaluationError: a score is not a number, or no class may be predicted.
    """
    if np.isnan(scores).any():
        images = int(np.isnan(scores).any(axis=1).sum())
        raise EvaluationError(f"{images} images have a score that is not a number: check the run's weights")
    if answers is None:
        return np.argmax(scores, axis=1).astype(np.int64)
    if not len(answers) or not all(len(answer) for answer in answers):
        raise EvaluationError("no class may be predicted: the test set covers none of the study's classes")
    if all(len(answer) == 1 for answer in answers):
        return np.argmax(scores[:, [answer[0] for answer in answers]], axis=1).astype(np.int64)
    best = np.stack([scores[:, list(answer)].max(axis=1) for answer in answers], axis=1)
    return np.argmax(best, axis=1).astype(np.int64)


@dataclass(frozen=True)
class ScoredSet:
    """The images of a test set, in the order of their embeddings, and the classes that may be predicted.

    ``embedded_as`` is the test set whose embeddings are used and ``rows`` the positions among them, so that a
    restricted view shares the embeddings of the whole.

    Attributes:
        labels: position in ``answers`` of the correct answer of each image.
        answers: what may be predicted: each is one class, or several of which any is correct (ObjectNet's classes map
            to one or more ImageNet ids). None if every class may be predicted and is its own answer.
    """

    name: str
    embedded_as: str
    rows: NDArray[np.int64]
    uids: NDArray[np.object_]
    groups: NDArray[np.object_]
    units: NDArray[np.object_]
    labels: NDArray[np.int64]
    answers: tuple[tuple[int, ...], ...] | None

    @classmethod
    def read(
        cls,
        name: str,
        path: Path | str,
        classes: Sequence[str],
        own_classes: bool,
        covered: Sequence[str] | None = None,
        unit: str = "drawing",
        teams: Mapping[str, str] | None = None,
    ) -> ScoredSet:
        """Read the kept records of a test set.

        Args:
            name: of the test set.
            path: its kept records.
            classes: of the study, by id.
            own_classes: only classes that the test set covers may be predicted.
            covered: these classes, where they are published (ImageNet-R and -A), so that a short copy is scored
                among as many as a whole one; None: those that its labels name.
            unit: what the bootstrap resamples: ``team``, ``class`` or ``drawing``.
            teams: for ``team``, the team of each icon set, which is the collection of a record.

        Raises:
            EvaluationError: there are no images, labels do not fit, or an icon set has no team.
        """
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        id_of = {label: number for number, label in enumerate(classes)}
        named = [
            tuple(sorted(id_of[label] for label in text.split(LABEL_SEPARATOR))) for text in table["label"].to_pylist()
        ]
        if not named:
            raise EvaluationError(f"test set '{name}' has no images: leave it out of the config or give it other sets")
        answers = tuple(sorted(set(named) if covered is None else {(id_of[label],) for label in covered}))
        outside = sorted(set(named) - set(answers))
        if outside:
            raise EvaluationError(
                f"test set '{name}' has images of '{classes[outside[0][0]]}', which is none of the {len(answers)} "
                "classes that it is said to cover: correct the table of classes, or the test set"
            )
        shared = Counter(number for answer in answers for number in answer)
        twice = [classes[number] for number, count in shared.items() if count > 1]
        if twice:
            raise EvaluationError(
                f"test set '{name}' has labels that share the class '{twice[0]}': each class may be part of one label"
            )
        several = any(len(answer) > 1 for answer in answers)
        if several and not own_classes:
            raise EvaluationError(
                f"test set '{name}' has labels of several classes: set test_sets.{name}.classes to own"
            )
        whole = not own_classes or (len(answers) == len(classes) and not several)
        if whole:
            answers = tuple((number,) for number in range(len(classes)))
        position = {answer: number for number, answer in enumerate(answers)}
        return cls(
            name=name,
            embedded_as=name,
            rows=np.arange(len(named)),
            uids=np.array(table["uid"].to_pylist(), dtype=object),
            groups=np.array(table["group"].to_pylist(), dtype=object),
            units=_units_of(name, table, unit, teams or {}),
            labels=np.array([position[answer] for answer in named], dtype=np.int64),
            answers=None if whole else answers,
        )

    def restricted_to(self, name: str, answers: tuple[tuple[int, ...], ...]) -> ScoredSet:
        """Return the images of the classes in ``answers``, scored among these only.

        The test set itself must be over all classes, each standing for itself.
        """
        position = {number: index for index, answer in enumerate(answers) for number in answer}
        inside = np.array([label in position for label in self.labels], dtype=np.bool_)
        return replace(
            self,
            name=name,
            rows=self.rows[inside],
            uids=self.uids[inside],
            groups=self.groups[inside],
            units=self.units[inside],
            labels=np.array([position[label] for label in self.labels[inside]], dtype=np.int64),
            answers=answers,
        )

    def predict(self, scores: Floats) -> NDArray[np.int64]:
        """Return the answer chosen for each image from class scores ``[n, classes]`` of the embedded test set."""
        return predict(scores[self.rows], self.answers)

    def answer_names(self, classes: Sequence[str]) -> NDArray[np.object_]:
        """Return the name of each answer: its classes, joined."""
        answers = self.answers or tuple((number,) for number in range(len(classes)))
        return np.array(
            [LABEL_SEPARATOR.join(classes[number] for number in answer) for answer in answers], dtype=object
        )


def _units_of(name: str, records: pa.Table, unit: str, teams: Mapping[str, str]) -> NDArray[np.object_]:
    """Return the unit of each record that the bootstrap resamples."""
    column = {"team": "collection", "class": "label", "drawing": "group"}[unit]
    values = records[column].to_pylist()
    if unit == "team":
        absent = sorted(set(values) - set(teams))
        if absent:
            raise EvaluationError(
                f"test set '{name}' has images of '{absent[0]}', which the table of icon sets does not list: add its "
                f"team, or set test_sets.{name}.units to drawing"
            )
        values = [teams[value] for value in values]
    return np.array(values, dtype=object)


def score_head(head: Head, features: Floats, arrays: Mapping[str, Floats]) -> Floats:
    """Return a head's class scores ``[n, classes]`` of image features ``[n, dim]``.

    Args:
        head: the head.
        features: embeddings of images.
        arrays: weights of the run's heads: ``prompts.<prompt set>`` ``[classes, dim]``,
            ``classifier.weight`` and ``classifier.bias``, ``linear_probe.<fitted on>.weight`` and ``.bias``,
            ``nearest_mean.<fitted on>`` ``[classes, dim]``.

    Raises:
        EvaluationError: the run has no such head.
    """
    name = {"zero_shot": f"prompts.{head.prompts}", "classifier": "classifier"}.get(
        head.head, f"{head.head}.{head.fitted_on}"
    )
    try:
        if head.head == "zero_shot":
            return score_zero_shot(features, arrays[name])
        if head.head == "nearest_mean":
            return score_nearest_mean(features, arrays[name])
        return score_classifier(features, arrays[f"{name}.weight"], arrays[f"{name}.bias"])
    except KeyError as error:
        raise EvaluationError(
            f"the run has no {error}: it has {', '.join(sorted(arrays))}; embed and fit it with this head"
        ) from error


def score_run(
    run: str,
    heads: Sequence[Head],
    arrays: Mapping[str, Floats],
    views: Sequence[ScoredSet],
    classes: Sequence[str],
) -> pd.DataFrame:
    """Return the predictions of every head of a run on every view of a test set.

    Args:
        run: name of the run.
        heads: its heads.
        arrays: ``images.<test set>`` ``[n, dim]``, and what `score_head` needs.
        views: test sets and restricted views.
        classes: class names by id.
    """
    import pandas as pd

    parts = []
    for head in heads:
        scores_of: dict[str, Floats] = {}
        for view in views:
            if view.embedded_as not in scores_of:
                scores_of[view.embedded_as] = score_head(head, arrays[f"images.{view.embedded_as}"], arrays)
            chosen, names = view.predict(scores_of[view.embedded_as]), view.answer_names(classes)
            parts.append(
                pd.DataFrame(
                    {
                        "run": run,
                        "head": head.head,
                        "prompts": head.prompts,
                        "fitted_on": head.fitted_on,
                        "test_set": view.name,
                        "uid": view.uids,
                        "group": view.groups,
                        "unit": view.units,
                        "label": names[view.labels],
                        "prediction": names[chosen],
                        "correct": chosen == view.labels,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
