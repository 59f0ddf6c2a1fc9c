"""One more test set for all runs of a study, embedded and scored, against clip_benchmark in one process.

As many CLIP models as the default study once had runs, 57, on 2,000 icons with three prompt sets. Ours works as a study
does: a job for each group of runs, formed and started as the workflow does, as many jobs at once as there are cores;
the start of every job counts, Snakemake's part does not. The peer stays in one process, whose start does not count, and
goes through all pictures for each model and prompt set; three of the models are timed and taken 19 times, since each
costs the same.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import score_zero_shot
from benchmarks.rows import Aim, Measured, Row, Setting
from whyrobust.study.plan import plan_heads, plan_runs
from whyrobust.study.run_groups import group_runs, small_models
from whyrobust.training.quick_start import import_torch, keep_freed_memory, leave

RUNS, RUNS_OF_PEER = 57, 3
SEEDS = 5
IMAGES, SETS = 2_000, 3


def groups_of_runs(count: int) -> list[list[str]]:
    """Return the names of so many CLIP runs, five seeds of each size, as the jobs of a study share them."""
    sizes = [1000 * number for number in range(1, -(-count // SEEDS) + 1)]
    grid = {"objective": "clip", "caption": "title", "source": "web", "train_images": sizes}
    planned = plan_runs([grid], range(SEEDS), "icon_cnn", 1000, {"objective": "clip"})
    runs = sorted(planned, key=lambda run: run.train_images)[:count]
    small = small_models({"icon_cnn": score_zero_shot.MODEL}, score_zero_shot.MODEL.parent)
    return list(group_runs(runs, {run.run: plan_heads(run, ["name"], []) for run in runs}, small).values())


def prepare(setting: Setting) -> None:
    """Prepare both sides as for one run, and the table of a test set."""
    score_zero_shot.prepare(setting, IMAGES)
    uids = [f"{number:06d}" for number in range(setting.size(IMAGES, 300))]
    pq.write_table(pa.table({"uid": uids}), setting.folder / "kept.parquet")


def score_group(runs: int, setting: Setting) -> None:
    """Embed with each run of a group as its job does, on one thread, and score; keep the answers of the last run."""
    import_torch()
    keep_freed_memory()
    from whyrobust.evaluation.embed import KeptBatches
    from whyrobust.evaluation.embed_run import KEPT_BYTES, Embedding, Images, embed_run
    from whyrobust.evaluation.scoring import predict
    from whyrobust.evaluation.zero_shot import score_zero_shot as score

    test_set = Images([str(setting.folder / "images.arrow")], str(setting.folder / "kept.parquet"))
    prompts, classes = score_zero_shot.prompt_sets(SETS), score_zero_shot.class_names()
    embedding = Embedding(str(score_zero_shot.MODEL), {"test": test_set}, prompts, classes, setting.device, 1, 1)
    kept = KeptBatches(KEPT_BYTES)
    for _ in range(runs):
        arrays, _ = embed_run(setting.folder / "ours.safetensors", {}, embedding, kept)
        answers = [predict(score(arrays["images.test"], arrays[f"prompts.{name}"])) for name in prompts]
    np.save(setting.folder / f"answers_{multiprocessing.current_process().name}.npy", answers[0])
    leave()


def run_job(number: int, runs: int, setting: Setting) -> None:
    """Carry out the job of a group in a process of its own.

    Raises:
        RuntimeError: the process failed.
    """
    job = multiprocessing.get_context("spawn").Process(target=score_group, args=(runs, setting), name=str(number))
    job.start()
    job.join()
    if job.exitcode:
        raise RuntimeError(f"the job of {runs} runs ended with {job.exitcode}: see its message above")


def ours(setting: Setting) -> Measured:
    """Measure all groups of runs, each in a process of its own."""
    sizes = [len(group) for group in groups_of_runs(setting.size(RUNS, 2))]
    began = time.perf_counter()
    with ThreadPoolExecutor(setting.cores) as executor:
        list(executor.map(partial(run_job, setting=setting), range(len(sizes)), sizes))
    took = time.perf_counter() - began
    (setting.folder / "answers_0.npy").replace(setting.folder / "answers.npy")
    return Measured(took, {"jobs": float(len(sizes))})


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
        limit="the forward passes of the two towers, and the start of a process for up to sixteen runs",
        prepare=prepare,
        rounds=2,
        devices=("cpu",),
    ),
)
