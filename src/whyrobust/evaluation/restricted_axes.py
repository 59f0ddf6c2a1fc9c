"""Restricted axes: in-distribution accuracy on the classes of a shift alone, where a shift covers only some."""

from __future__ import annotations

from collections.abc import Sequence

from whyrobust.evaluation.scoring import ScoredSet
from whyrobust.study.restricted_names import restricted_name


def add_restricted_views(test_sets: Sequence[ScoredSet], in_distribution: Sequence[str]) -> list[ScoredSet]:
    """Add, for every shift that covers only some classes, each in-distribution set restricted to those classes.

    Both axes of the shift's plot are then about the same classes (Taori et al. 2020, appendix on class
    subsampling; ImageNet-R, ImageNet-A and ObjectNet are compared in this way).
    """
    wholes = [test_set for test_set in test_sets if test_set.name in in_distribution]
    views = list(test_sets)
    for shift in test_sets:
        if shift.name not in in_distribution and shift.answers is not None:
            views += [whole.restricted_to(restricted_name(whole.name, shift.name), shift.answers) for whole in wholes]
    return views
