"""What a study could detect, before it is run: from its seeds and comparisons, and deviations of a finished study.

`python -m tools.detectable_effects results/icons` measures the deviations of a finished study and writes them to
tools/assumed_deviations.json; `make estimate` prints what follows from them for a study that has not been run.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tools.write_docs import table
from whyrobust.analysis.accuracies import KEYS
from whyrobust.analysis.attribution import add_means, contrasts_of, shared_freedom
from whyrobust.analysis.effects import average_by_seed, estimate_variance, match_comparisons, overlap_of, satterthwaite
from whyrobust.analysis.hypothesis_tests import POWER, detectable_effect
from whyrobust.analysis.intervals import moderate_variances
from whyrobust.analysis.measured import MeasuredShift, read_measured
from whyrobust.analysis.scales import points_at
from whyrobust.files import write_json
from whyrobust.study.checks import plan_study
from whyrobust.study.comparisons import Comparison, match_pairs
from whyrobust.study.config import Config, load_config
from whyrobust.study.config_file import read_config_file
from whyrobust.study.display_names import MEAN, name_cause
from whyrobust.study.plan import Plan, evaluated_rows

ROOT = Path(__file__).parent.parent
ASSUMED = Path(__file__).parent / "assumed_deviations.json"


@dataclass(frozen=True)
class Deviations:
    """How far effects of comparisons on the mean over shifts deviate from the truth, in logits.

    Attributes:
        between_seeds: standard deviation of the mean difference of one seed, by what the seed does itself.
        prior_freedom: degrees of freedom that moderation adds to those of the seeds of a comparison.
        shared: standard deviation of what all seeds share: test images and baseline.
        shared_freedom: degrees of freedom of the latter.
        measured: in which study, or why they are assumed.
    """

    between_seeds: float
    prior_freedom: float
    shared: float
    shared_freedom: float
    measured: str


def read_deviations(path: Path = ASSUMED) -> Deviations:
    """Return the deviations that are assumed of a study that has not been run."""
    return Deviations(**json.loads(path.read_text(encoding="utf-8")))


def measure_deviations(
    comparisons: Sequence[Comparison], runs: pd.DataFrame, measured: MeasuredShift, scale: str, study: str
) -> Deviations:
    """Return the typical deviations of the comparisons of a finished study: root of the median of each variance.

    Args:
        comparisons: of the study; those of fewer than two seeds are left out.
        runs: one row for each evaluated run, as measured.
        measured: the mean over shifts.
        scale: of the residuals.
        study: name of the study.

    Raises:
        SystemExit: no comparison has two seeds.
    """
    contrasts, variances = [], []
    for one in contrasts_of(match_comparisons(comparisons, runs), measured, scale):
        differences = average_by_seed(one, measured.residuals, measured.draws) if one.seeds else None
        variance = differences and estimate_variance(differences.by_seed[None], differences.by_draw[None])
        if variance and variance.own[0, 0] > 0:
            contrasts.append(one)
            variances.append(variance)
    if not variances:
        raise SystemExit(f"{study} has no comparison of two seeds or more on the mean over shifts: run one that has")
    between = np.array([one.own[0, 0] * one.seeds for one in variances])
    freedom = np.array([one.seeds - 1.0 for one in variances])
    _, moderated = moderate_variances(between, freedom, overlap_of(contrasts))
    shared = float(np.median([one.shared[0, 0] for one in variances]))
    found = f"{len(variances)} comparisons of {study}, by python -m tools.detectable_effects results/{study}"
    return Deviations(
        between_seeds=round(math.sqrt(float(np.median(between))), 4),
        prior_freedom=round(float(np.median(moderated - freedom)), 1),
        shared=round(math.sqrt(shared), 4),
        shared_freedom=shared_freedom(measured),
        measured=found,
    )


def detectable_logits(seeds: int, alpha: float, deviations: Deviations) -> float:
    """Return the effect on the mean over shifts that a test at a level finds with a power of `POWER`; NaN for one seed.

    The standard error is sqrt(S^2 / n + C), as of `whyrobust.analysis.effects.measure_effects`.
    """
    if seeds < 2:
        return math.nan
    own, shared = deviations.between_seeds**2 / seeds, deviations.shared**2
    freedom = satterthwaite(own, seeds - 1 + deviations.prior_freedom, shared, deviations.shared_freedom)
    return detectable_effect(math.sqrt(own + shared), freedom, alpha)


def describe(config: Config, plan: Plan, deviations: Deviations) -> str:
    """Return a table of what each comparison of a plan could detect, and what it rests on, as Markdown."""
    rows = evaluated_rows(plan.runs, plan.heads)
    alpha, mains = 1.0 - config.intervals.effect, len({one.cause for one in plan.comparisons})
    reference, scale = config.baseline.reference_accuracy, config.baseline.scale
    seen: set[str] = set()
    lines = []
    for comparison in plan.comparisons:
        pairs = match_pairs(comparison, rows)
        seeds = len({pair.seed for pair in pairs})
        main = comparison.cause not in seen
        seen.add(comparison.cause)
        smallest = detectable_logits(seeds, alpha / mains if main else alpha, deviations)
        points = "nothing: one seed" if math.isnan(smallest) else f"{points_at(reference, smallest, scale):.1f}"
        lines.append(
            [
                name_cause(comparison.cause),
                comparison.name,
                "main" if main else "-",
                f"{len(pairs)}",
                f"{seeds}",
                points,
            ]
        )
    head = ["cause", "comparison", "family", "pairs", "seeds", "detectable points"]
    return table(head, lines) + (
        f"\nSmallest effects on the mean over shifts that {POWER:.0%} of studies would find, in percentage points at "
        f"an accuracy of {reference:.0%}: main comparisons at {alpha:.0%} divided by {mains} (Holm's strictest), "
        f"others at {alpha:.0%}, before adjustment.\nDeviations: {deviations.between_seeds:g} between seeds, "
        f"{deviations.shared:g} shared by seeds (logits); {deviations.measured}."
    )


def _read(results: Path) -> tuple[pd.DataFrame, Mapping[str, MeasuredShift]]:
    """Return the evaluated runs of a finished study, and its measurement with the means over shifts."""
    tables = {
        name: pd.read_csv(results / f"{name}.csv", keep_default_na=False)
        for name in ("effective_robustness", "accuracy", "shifts", "runs")
    }
    effective = tables["effective_robustness"]
    first = effective[effective["shift"] == effective["shift"].iloc[0]]
    runs = first[[*KEYS, "main"]].merge(tables["runs"], on="run", validate="many_to_one")
    draws, accuracy_draws = (np.load(results / f"{name}_draws.npz") for name in ("effective_robustness", "accuracy"))
    return runs, add_means(read_measured(effective, draws, accuracy_draws, tables["accuracy"], tables["shifts"]))


def main() -> None:
    """Measure the deviations of a finished study and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--config", type=Path, default=ROOT / "config.yaml", help="of the study")
    given = parser.parse_args()
    config = load_config(read_config_file(given.config))
    plan = plan_study(config, ROOT, data_is_there=False)
    runs, measured = _read(given.results)
    if MEAN not in measured:
        raise SystemExit(f"{given.results} has no shift that takes part in verdicts: deviations are of their mean")
    scale = config.baseline.scale
    found = measure_deviations(plan.comparisons, runs, measured[MEAN], scale, given.results.name)
    write_json(ASSUMED, asdict(found))
    print(describe(config, plan, found))


if __name__ == "__main__":
    main()
