"""Studies of known truth: one of five causes is real, and the pipeline must find that one and clear the others.

Whether each image is right is simulated, and all after that is the package's own: accuracies and their draws
(`resample_accuracies`), the line and residuals (`measure_shift`), pairs (`pair_rows`), effects with moderated variances
(`measure_effects`), and tests adjusted by Holm. Cut for speed, with no part in an effect: the band of the line has 2
resamples and 2 points, and pairs are matched once, since the table of runs is the same in all simulations. There are
100 draws rather than 1,000, which adds a little noise to the variance that test images cause.

The first simulations have no real cause; they say how large an effect can be detected. In the others one cause is real
and just so large, the five in turn.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy.special import ndtri

from whyrobust.analysis.accuracies import ShiftAccuracies
from whyrobust.analysis.attribution import EffectSettings, attribute_causes
from whyrobust.analysis.bootstrap import resample_accuracies
from whyrobust.analysis.effective_robustness import MeasurementSettings, measure_effective_robustness, measure_shift
from whyrobust.analysis.effects import contrast_pairs, measure_effects
from whyrobust.analysis.hypothesis_tests import detectable_effect, holm, two_sided_p
from whyrobust.analysis.measured import SHIFT, MeasuredShift
from whyrobust.analysis.scales import from_scale
from whyrobust.study.comparisons import Comparison, Pair, pair_rows

SEEDS = (0, 1, 2)
IMAGES = 600
RESAMPLES = 100
NULL_SIMULATIONS = 100
SIMULATIONS = 400
ALPHA = 0.05

# Logits. What a run's accuracies do at random, what runs of one seed and source share (their nested subsets), and
# what runs of one seed share on a cause (some subsets suit it better).
RUN_NOISE, SUBSET_NOISE, CAUSE_NOISE = 0.06, 0.06, 0.08
SLOPE, INTERCEPT = 0.9, -0.6
# Shares of the variance of an image's difficulty: for all rows, and for the rows with a cause, each cause.
COMMON_DIFFICULTY, CAUSE_DIFFICULTY = 0.3, 0.1

# cause: (start, end, where, match). Each changes one property and nothing else, as the questions of the study do.
PROPERTIES = ("source", "train_images", "objective", "supervision", "model", "head")
COMPARISONS = {
    "training_set_size": ({"train_images": 1500}, {"train_images": 6000}, {"model": "usual"}),
    "training_distribution": ({"source": "studio"}, {"source": "web"}, {"model": "usual"}),
    "language_at_training": ({"supervision": "labels"}, {"supervision": "captions"}, {"head": "linear_probe"}),
    "language_at_test": ({"head": "linear_probe"}, {"head": "zero_shot"}, {"objective": "clip"}),
    "contrastive_loss": ({"objective": "cross_entropy"}, {"objective": "supcon"}, {"train_images": 6000}),
}
# What follows from the property that a comparison changes, and so cannot be matched.
FOLLOWS = {"supervision": {"objective"}, "objective": {"head"}}


def make_runs() -> pd.DataFrame:
    """Three seeds of five standard models of several widths, and of each kind of training that a comparison needs."""
    kinds = [("studio", 1500, "cross_entropy", f"width_{width}", "classifier") for width in (1, 2, 4, 5)]
    kinds += [
        (source, size, "cross_entropy", "usual", "classifier") for source in ("studio", "web") for size in (1500, 6000)
    ]
    kinds += [(source, 6000, "supcon", "usual", "linear_probe") for source in ("studio", "web")]
    kinds += [
        (source, 6000, "clip", "usual", head) for source in ("studio", "web") for head in ("zero_shot", "linear_probe")
    ]
    rows = [
        dict(zip(("source", "train_images", "objective", "model", "head"), kind, strict=True)) | {"seed": seed}
        for seed in SEEDS
        for kind in kinds
    ]
    runs = pd.DataFrame(rows)
    runs["supervision"] = np.where(runs["objective"] == "clip", "captions", "labels")
    runs["run"] = runs.drop(columns="head").astype(str).agg("-".join, axis=1)
    runs["prompts"] = ""
    runs["standard"] = (
        (runs["objective"] == "cross_entropy") & (runs["source"] == "studio") & (runs["train_images"] == 1500)
    )
    return runs


RUNS = make_runs()
#: Whether each row has what each cause is about, [rows].
HAS_CAUSE = {
    "training_set_size": (RUNS["train_images"] == 6000).to_numpy(),
    "training_distribution": (RUNS["source"] == "web").to_numpy(),
    "language_at_training": (RUNS["supervision"] == "captions").to_numpy(),
    "language_at_test": (RUNS["head"] == "zero_shot").to_numpy(),
    "contrastive_loss": RUNS["objective"].isin(["clip", "supcon"]).to_numpy(),
}


def pairs_of(cause: str) -> list[Pair]:
    start, end, where = COMPARISONS[cause]
    changed = set(start).union(*(FOLLOWS.get(name, set()) for name in start))
    matched = [name for name in PROPERTIES if name not in changed]
    return pair_rows(RUNS.to_dict("records"), start, end, where, matched)


PAIRS = {cause: pairs_of(cause) for cause in COMPARISONS}
SUBSETS = RUNS.groupby(["seed", "source"]).ngroup().to_numpy()
CONTRASTS = [contrast_pairs(pairs, np.zeros(len(RUNS))) for pairs in PAIRS.values()]
SEED_NUMBERS = RUNS["seed"].to_numpy()
RUN_NUMBERS = RUNS.groupby("run").ngroup().to_numpy()


def mean_abilities() -> np.ndarray:
    """In-distribution ability of each row in logits: standard models span what the others have."""
    widths = {"width_1": -0.9, "width_2": -0.4, "usual": 0.1, "width_4": 0.7, "width_5": 1.2}
    ability = RUNS["model"].map(widths).to_numpy(dtype=float)
    ability = ability + 0.25 * HAS_CAUSE["training_set_size"] - 0.3 * HAS_CAUSE["training_distribution"]
    return ability - 0.15 * HAS_CAUSE["language_at_training"] - 0.1 * HAS_CAUSE["contrastive_loss"]


def draw_accuracies(effects: dict[str, float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True accuracies of the rows of one study, in distribution and under shift, [rows] each.

    Effects of causes are added in logits, the scale of the line.
    """

    def noise(level: float, groups: np.ndarray) -> np.ndarray:
        return rng.normal(0, level, groups.max() + 1)[groups]

    ability = mean_abilities() + noise(RUN_NOISE, RUN_NUMBERS) + noise(SUBSET_NOISE, SUBSETS)
    shifted = INTERCEPT + SLOPE * ability
    shifted += noise(RUN_NOISE, RUN_NUMBERS) + noise(SUBSET_NOISE, SUBSETS)
    for has in HAS_CAUSE.values():
        shifted += has * noise(CAUSE_NOISE, SEED_NUMBERS)
    for cause, effect in effects.items():
        shifted += effect * HAS_CAUSE[cause]
    return from_scale(ability, "logit"), from_scale(shifted, "logit")


def answer(accuracy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each row gets each image right, [rows, images].

    A row is right where the difficulty of the image, a standard normal number, lies below a threshold, so that its
    mean accuracy is the true one whatever the difficulties share. They share a part between all rows
    and a part between all rows with a cause: noise that no number of seeds averages away.
    """
    threshold = ndtri(accuracy)[:, None]
    parts = [COMMON_DIFFICULTY * np.ones(len(RUNS)), *(CAUSE_DIFFICULTY * has for has in HAS_CAUSE.values())]
    own = 1.0 - np.sum(parts, axis=0)
    difficulty = np.sqrt(own)[:, None] * rng.standard_normal((len(RUNS), IMAGES))
    difficulty += np.sqrt(parts).T @ rng.standard_normal((len(parts), IMAGES))
    return difficulty < threshold


def simulate(effects: dict[str, float], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One study, from images to residuals [rows] and their draws [resamples, rows]."""
    right, right_shifted = (answer(accuracy, rng) for accuracy in draw_accuracies(effects, rng))
    models = RUNS.assign(
        id_accuracy=right.mean(axis=1),
        id_images=IMAGES,
        shift_accuracy=right_shifted.mean(axis=1),
        shift_images=IMAGES,
    )
    first, second, third = (int(seed) for seed in rng.integers(0, 2**31, 3))
    result = measure_shift(
        models,
        "sketch",
        "studio_test",
        resample_accuracies(right, np.arange(IMAGES), np.arange(IMAGES), RESAMPLES, first),
        resample_accuracies(right_shifted, np.arange(IMAGES), np.arange(IMAGES), RESAMPLES, second),
        MeasurementSettings(resamples=2, band_points=2, seed=third),
    )
    return result.measurement.residuals, result.measurement.residual_draws


def sides(pairs: list[Pair]) -> tuple[list[int], list[int]]:
    """The rows of both sides of pairs."""
    return [pair.starts[0] for pair in pairs], [pair.end for pair in pairs]


def interval_of_draws_alone(pairs: list[Pair], draws: np.ndarray) -> np.ndarray:
    """The broken interval: percentiles over draws of the mean over pairs, as if other seeds did the same."""
    start, end = sides(pairs)
    difference = draws[:, end] - draws[:, start]
    return np.nanquantile(difference.mean(axis=1), [0.025, 0.975])


def measure(effects: dict[str, float], rng: np.random.Generator) -> list[dict[str, object]]:
    """One study: a row for each comparison, with its test in the family of five."""
    residuals, draws = simulate(effects, rng)
    found = measure_effects(CONTRASTS, residuals, draws, IMAGES - 1.0)
    p = np.array([two_sided_p(one.effect, one.error, one.freedom) for one in found])
    rows = []
    for (cause, pairs), effect, adjusted in zip(PAIRS.items(), found, holm(p), strict=True):
        truth = effects.get(cause, 0.0)
        low, high = effect.interval()
        broken_low, broken_high = interval_of_draws_alone(pairs, draws)
        rows.append(
            {
                "cause": cause,
                "is_real": truth != 0,
                "error": effect.effect - truth,
                "covered": low <= truth <= high,
                "significant": adjusted < ALPHA,
                "found": adjusted < ALPHA and effect.effect > 0,
                "detectable": detectable_effect(effect.error, effect.freedom, ALPHA / len(PAIRS)),
                "covered_by_broken": broken_low <= truth <= broken_high,
            }
        )
    return rows


def study_of(number: int, effects: dict[str, float], kind: int) -> list[dict[str, object]]:
    return [row | {"study": number} for row in measure(effects, np.random.default_rng([kind, number]))]


@cache
def run_null_simulations() -> pd.DataFrame:
    """Studies without a real cause: a row for each study and comparison."""
    return pd.DataFrame([row for number in range(NULL_SIMULATIONS) for row in study_of(number, {}, 2021)])


def detectable() -> dict[str, float]:
    """What each comparison says that it could detect, in logits, mean over studies without a real cause."""
    return run_null_simulations().groupby("cause")["detectable"].mean().to_dict()


@cache
def run_simulations() -> pd.DataFrame:
    """Studies with one real cause of the detectable size: a row for each study and comparison."""
    rows, effects = [], detectable()
    for number in range(SIMULATIONS):
        real = list(COMPARISONS)[number % len(COMPARISONS)]
        rows += study_of(number, {real: effects[real]}, 2022)
    return pd.DataFrame(rows)


def test_the_contrasts_change_what_they_say_and_match_the_rest():
    assert {cause: len(pairs) for cause, pairs in PAIRS.items()} == {
        "training_set_size": 6,
        "training_distribution": 15,
        "language_at_training": 6,
        "language_at_test": 6,
        "contrastive_loss": 6,
    }
    for cause, pairs in PAIRS.items():
        for other, has in HAS_CAUSE.items():
            start, end = sides(pairs)
            differs = has[end].astype(int) - has[start]
            assert (differs == (cause == other)).all(), (cause, other)


def test_the_real_cause_is_found_as_often_as_said():
    real = run_simulations().query("is_real")
    assert len(real) == SIMULATIONS
    assert 0.75 <= real["found"].mean() <= 0.85
    assert 0.92 <= real["covered"].mean() <= 0.98
    assert abs(real["error"].mean()) < 0.02


def test_the_four_that_are_not_real_are_cleared():
    null = run_simulations().query("not is_real")
    assert null.groupby("study")["significant"].any().mean() <= 0.05
    assert 0.94 <= null["covered"].mean() <= 0.97
    by_cause = null.groupby("cause")
    assert (by_cause["error"].mean().abs() < 0.03).all() and by_cause["covered"].mean().between(0.92, 0.99).all()


def test_without_a_real_cause_none_is_found():
    assert run_null_simulations().groupby("study")["significant"].any().mean() <= 0.05


def test_the_bounds_catch_an_interval_that_leaves_the_seeds_out():
    covered = run_simulations().groupby(["is_real", "cause"])["covered_by_broken"].mean()
    assert (covered < 0.90).all()


# --- A source effect that comes from the x axis alone -----------------------------------------------------------

SIZES = (0, 1, 2, 3)


def simulate_sources(rng: np.random.Generator) -> tuple[pd.DataFrame, ShiftAccuracies]:
    """A study in which models of each source are better on their own source's test set, and equally good elsewhere."""
    rows = [
        {"run": f"{source}-{size}-{seed}", "source": source, "train_images": size, "seed": seed}
        for source in ("studio", "web")
        for size in SIZES
        for seed in range(5)
    ]
    runs = pd.DataFrame(rows).assign(
        objective="cross_entropy", supervision="labels", caption="", labels="annotated", pretrained_by="", model="m",
        samples_seen=1, head="classifier", prompts="", fitted_on="", main=True, standard=True,
    )  # fmt: skip
    web = (runs["source"] == "web").to_numpy()
    ability = 0.5 * runs["train_images"].to_numpy() - 0.8 + rng.normal(0, 0.06, len(runs))
    logits = [ability + 0.3 * ~web, ability + 0.3 * web, 0.9 * ability - 0.4]
    right = []
    for values in logits:
        accuracy = from_scale(values + rng.normal(0, 0.06, len(runs)), "logit")
        right.append(rng.normal(size=(len(runs), 2 * IMAGES)) < ndtri(accuracy)[:, None])
    groups = np.arange(2 * IMAGES)
    draws = [
        resample_accuracies(some, groups, groups, RESAMPLES, int(seed))
        for some, seed in zip(right, rng.integers(0, 2**31, 3), strict=True)
    ]
    x, y = np.stack([some.mean(axis=1) for some in right[:2]], axis=1), right[2].mean(axis=1)
    return runs, ShiftAccuracies(x, y, np.stack(draws[:2], axis=2), draws[2], np.ones(len(runs), dtype=bool))


@cache
def verdicts_of_sources() -> pd.DataFrame:
    """Verdicts and effects of web instead of studio, beyond both test sets and beyond the paper's line, by study."""
    comparison = Comparison("training_distribution", "web", {"source": "studio"}, {"source": "web"}, {}, "")
    rows = []
    for number in range(60):
        runs, both = simulate_sources(np.random.default_rng([2023, number]))
        first = replace(
            both, x=both.x[:, :1], x_draws=both.x_draws[:, :, :1], standard=(runs["source"] == "studio").to_numpy()
        )
        row = {}
        for name, accuracies in (("main", both), ("paper", first)):
            measured = measure_effective_robustness(accuracies, seed=number)
            shift = MeasuredShift(
                residuals=measured.residuals,
                draws=measured.residual_draws,
                extrapolated=measured.extrapolated,
                id_accuracies=both.x,
                shift_accuracy=both.y,
                role=SHIFT,
                units=2 * IMAGES,
            )
            table = attribute_causes([comparison], runs, {"v2": shift}, EffectSettings())
            row |= {name: table["verdict"][0], f"{name}_effect": table["effect_logits"][0]}
        rows.append(row)
    return pd.DataFrame(rows)


def test_an_effect_of_the_x_axis_alone_is_none_beyond_all_test_sets_and_raises_beyond_one():
    verdicts = verdicts_of_sources()
    assert (verdicts["paper"] == "raises").all() and verdicts["paper_effect"].mean() > 0.2
    assert verdicts["main"].isin(["raises", "lowers"]).mean() <= 0.05
    assert (verdicts["main"] == "within ±2").mean() > 0.3 and abs(verdicts["main_effect"].mean()) < 0.02
