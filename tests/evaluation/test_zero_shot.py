"""Prompt ensembles, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from whyrobust.evaluation.embed import EvaluationError
from whyrobust.evaluation.zero_shot import average_prompts, fill_templates, score_zero_shot

RNG = np.random.default_rng(0)


def test_zero_shot_scores_equal_a_plain_loop():
    prompts = RNG.normal(size=(4, 3, 8)).astype(np.float32)
    images = RNG.normal(size=(5, 8)).astype(np.float32)
    scores = score_zero_shot(images, average_prompts(prompts))
    for i in range(5):
        for c in range(4):
            mean = sum(p / np.linalg.norm(p) for p in prompts[c].astype(float)) / 3
            cosine = images[i] @ mean / np.linalg.norm(images[i]) / np.linalg.norm(mean)
            assert scores[i, c] == pytest.approx(cosine, abs=1e-5)


def test_prompts_need_a_place_for_the_class():
    assert fill_templates(["cat"], ["{class}", "a {class}"]) == [["cat", "a cat"]]
    with pytest.raises(EvaluationError):
        fill_templates(["cat"], ["a dog"])
