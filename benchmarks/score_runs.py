"""One more test set for all runs of a study, embedded and scored, against clip_benchmark in one process.

As many CLIP models as the default study once had runs, 57, on 2,000 icons with three prompt sets. Ours works as a study
does: a job for each five runs, which differ in their seed, as many jobs at once as there are cores; the start of every
job counts, Snakemake's part does not. The peer stays in one process, whose start does not count, and goes through all
pictures for each model and prompt set; three of the models are timed and taken 19 times, since each costs the same.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks import score_zero_shot
from benchmarks.rows import Aim, Measured, Row, Setting

RUNS, RUNS_OF_A_JOB, RUNS_OF_PEER = 57, 5, 3
IMAGES, SETS = 2_000, 3


def score_group(runs: range, setting: Setting) -> None:
    """Embed and score with each run of a group, on one thread; keep the answers of the first run."""
    from whyrobust.evaluation.load_run import open_run
    from whyrobust.training.device import choose_device

    for run in runs:
        weights = setting.folder / "ours.safetensors"
        encoders = open_run(weights, score_zero_shot.MODEL, True, 1, choose_device(setting.device))
        answers = score_zero_shot.score_by_ours(encoders, setting, SETS, setting.size(IMAGES, 300), 1)
        if run == 0:
            np.save(setting.folder / "answers.npy", answers[0])


def ours(setting: Setting) -> Measured:
    """Measure all groups of runs, each in a process of its own."""
    runs = setting.size(RUNS, 2)
    groups = [range(first, min(runs, first + RUNS_OF_A_JOB)) for first in range(0, runs, RUNS_OF_A_JOB)]
    began = time.perf_counter()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.cores, mp_context=spawn, max_tasks_per_child=1) as executor:
        list(executor.map(partial(score_group, setting=setting), groups))
    return Measured(time.perf_counter() - began, {"jobs": float(len(groups))})


def peer(setting: Setting) -> Measured:
    """Measure some of the models with clip_benchmark; its answers must be ours."""
    model, tokenizer, pictures = score_zero_shot.open_peer(setting)
    began = time.perf_counter()
    runs = setting.size(RUNS_OF_PEER, 1)
    for _ in range(runs):
        score_zero_shot.load_peer(model, setting.folder / "peer.pt")
        answers = score_zero_shot.score_by_peer(model, tokenizer, pictures, setting, SETS)
    took = time.perf_counter() - began
    score_zero_shot.check_answers(setting, pictures, answers[0])
    return Measured(took * setting.size(RUNS, 2) / runs)


ROWS = (
    Row(
        name="score_57_runs",
        what="one more test set of 2,000 icons embedded and scored over 57 runs, 3 prompt sets of 6 sentences",
        unit="s",
        ours=ours,
        peer="clip_benchmark, one process",
        measure_peer=peer,
        aims={"cpu": (Aim(least=12),)},
        better="lower",
        limit="the start of a process for each five runs, and the forward passes of the two towers",
        prepare=partial(score_zero_shot.prepare, images=IMAGES),
        rounds=2,
        devices=("cpu",),
    ),
)
