"""What a study will cost, and what it could detect, before it is run: from its config and the rates of docs/scaling.md.

    python -m tools.estimate_cost config/paper.yaml --profile profiles/paper --gpus 8 --gpu A100 --cores 64

The data need not be there. Sizes of data sets are those published, those of the class table, or as many as runs ask for
at least; --images NAME=NUMBER says better.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from tools.cost_model import as_table, estimate, wall_hours
from tools.detectable_effects import describe as describe_detectable
from tools.detectable_effects import read_deviations
from tools.study_size import (
    MEASURED_MODEL,
    CostError,
    Machine,
    Rates,
    measure_model,
    read_machine,
    read_rates,
    size_study,
)
from whyrobust.study.checks import plan_study
from whyrobust.study.config import Config, load_config
from whyrobust.study.config_file import read_config_file
from whyrobust.study.plan import Run
from whyrobust.study.setting_checks import ConfigError
from whyrobust.training.footprint import GIGABYTE, measure_footprint
from whyrobust.training.models import read_model_config

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
MEASURED, ASSUMED = ROOT / "benchmarks" / "results" / "rates.json", FOLDER / "assumed_rates.json"


def named_number(text: str) -> tuple[str, int]:
    """Read NAME=NUMBER."""
    name, _, number = text.partition("=")
    if not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: write NAME=NUMBER, such as photos=1000")
    return name, int(number)


def describe_memory(config: Config, runs: Sequence[Run], machine: Machine, rates: Rates) -> str:
    """Return a line on the GPU memory that a step of the largest run needs, and whether the GPU has it."""
    training, trained = config.training, [run for run in runs if not run.published]
    counted = {
        name: measure_footprint(read_model_config(ROOT / config.models[name]), training.precision)
        for name in {run.model for run in trained}
    }
    batches = {
        name: training.settings_of(name).batch_size // machine.gpus_per_run
        for name in {run.objective for run in trained}
    }

    def needed(run: Run) -> float:
        """Return the bytes that a step of a run needs."""
        return counted[run.model].of_step(run.objective, batches[run.objective], training.images_at_once)

    largest = max(trained, key=needed)
    sharing = training.runs_per_gpu if machine.gpus_per_run == 1 else 1
    needed_gb, has = needed(largest) / GIGABYTE, rates.gpu_memory_gb / sharing
    less = "a lower training.runs_per_gpu, " if sharing > 1 else ""
    advice = f"set {less}training.images_at_once, precision or more GPUs for a run"
    fits = "fits" if needed_gb < has else f"DOES NOT FIT: {advice}"
    return (
        f"GPU memory of a step, counted without padding left out: {needed_gb:,.0f} GB for {largest.objective} "
        f"with {largest.model} and {batches[largest.objective]:,} images a GPU ({training.precision}), of {has:g} GB "
        f"of {rates.gpu}: {fits}."
    )


def describe(config_path: Path, machine: Machine, gpu: str, cores: int, images: dict[str, int]) -> str:
    """Return the table of a study, and what it rests on, as Markdown."""
    config = load_config(read_config_file(config_path))
    study = plan_study(config, ROOT, data_is_there=False)
    descriptions = {name: ROOT / path for name, path in config.models.items()}
    resizing = config.training.progressive_resizing
    models = {name: measure_model(path, resizing) for name, path in descriptions.items()}
    # A published model is counted as the study's first, the one that its runs have where they name none.
    models |= {run.model: models[next(iter(models))] for run in study.runs if run.published}
    rates = read_rates(MEASURED, ASSUMED, gpu)
    size = size_study(config, study, models, rates, images, ROOT, machine)
    costs = estimate(size, rates, measure_model(ROOT / MEASURED_MODEL))
    measured_on = json.loads(MEASURED.read_text(encoding="utf-8"))["machine"]
    hours = wall_hours(costs, cores, max(1, machine.gpus))
    listed = ", ".join(f"{name} {dataset.images:,}" for name, dataset in size.datasets.items())
    memory = [describe_memory(config, study.runs, machine, rates)] if size.on_gpu else []
    lines = [
        as_table(costs),
        "",
        f"On {cores} cores and {machine.gpus} x {gpu}: {hours:,.1f} hours, {hours / 24:,.1f} days, stage after stage.",
        f"Images: {listed}.",
        f"A second of one core: measured on {measured_on['processor']}. A GPU: {rates['gpu_utilisation']:.0%} of "
        f"{rates.peak_flops / 1e12:,.0f} TFLOP/s, not measured here (tools/assumed_rates.json).",
        *memory,
        "",
        describe_detectable(config, study, read_deviations()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--profile", type=Path, help="Snakemake profile with the resources of train_run")
    parser.add_argument("--gpu", default="A100", help="name in tools/assumed_rates.json")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--images", type=named_number, nargs="*", default=[], metavar="NAME=NUMBER")
    given = parser.parse_args()
    machine = read_machine(given.profile, given.gpus)
    try:
        print(describe(given.config, machine, given.gpu, given.cores, dict(given.images)))
    except (ConfigError, CostError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
