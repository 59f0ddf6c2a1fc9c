"""A run from its files: alone, by torchrun's processes, stopped by a scheduler, and what makes a checkpoint its own."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.photo_index import index_photographs
from tests.processes import run_script
from whyrobust.data.archives import LOCATION_SCHEMA
from whyrobust.data.decoded_store import write_decoded
from whyrobust.data.grey_images import mark_grey, turn_grey
from whyrobust.data.photo_store import PhotoStore, write_photographs
from whyrobust.data.pixel_store import read_pixels, write_pixels
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.finished_work import VARIABLE
from whyrobust.training.batches import DecodedOnce, ImagesInMemory, PhotographsOnDisk
from whyrobust.training.checkpoints import STOPPED_EXIT_CODE, Checkpoints
from whyrobust.training.device import ComputeSettings
from whyrobust.training.job import (
    MachineSettings,
    RunFiles,
    RunOutputs,
    TrainingJob,
    carry_out,
    open_images,
    read_targets,
    torchrun_command,
)
from whyrobust.training.kept_tokens import tokens_path
from whyrobust.training.models import read_model_config
from whyrobust.training.order_checks import OrderError
from whyrobust.training.weights import read_metadata, read_weights

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.processes", "torch"])

#: Of a run that is asked to stop right after its first: enough that it is not over by then.
STEPS = 60

RUN = {"run": "r", "objective": "clip", "supervision": "captions", "caption": "title", "labels": "", "seed": 1}


@pytest.fixture
def files(root, tmp_path):
    """Files of a run, and what the rule gives its script."""
    uids = [f"u{number}" for number in range(24)]
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    write_pixels(tmp_path / "images.arrow", uids, pixels)
    titles = [None if number == 5 else f"picture {number % 4}" for number in range(24)]
    pq.write_table(pa.table({"uid": uids, "label": ["cat", "dog"] * 12}), tmp_path / "subset.parquet")
    pq.write_table(pa.table({"uid": uids, "title": titles}), tmp_path / "captions.parquet")
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n", encoding="utf-8")

    def give(name="r", steps=12, processes=1):
        made = tmp_path / name
        hyper = {"samples_seen": steps * 8, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.1}
        hyper |= {"warmup_share": 0.1, "optimizer": "muon", "flip": True}
        return {
            "log": [str(made / "log.txt")],
            "resources": {
                "gpu": 0, "processes": processes, "nodes": 1, "loader_threads": 1, "checkpoint_minutes": 10,
                "checkpoint_steps": 0, "runs_per_gpu": 3,
            },
            "input": {
                "subset": str(tmp_path / "subset.parquet"), "images": [str(tmp_path / "images.arrow")],
                "decoded": [],
                "captions": [str(tmp_path / "captions.parquet")], "matched_labels": [], "pretrained": [],
                "classes": str(tmp_path / "classes.csv"),
                "model": str(root / "resources" / "models" / "icon-cnn.json"),
            },
            "output": {
                "weights": str(made / "model.safetensors"), "progress": str(made / "progress.csv"),
                "open_clip": str(made / "open_clip_config.json"),
            },
            "params": {
                "run": RUN, "hyperparameters": hyper, "device": "cpu", "image_size": 32, "normalisation": "white_page",
                "shuffle_block_images": 1, "shuffle_window_blocks": 1, "checkpoint": str(made / "kept" / "r.pt"),
                "cpu_threads": 1, "precision": "fp32", "compile": False, "repeatable": True,
                "images_at_once": None, "code": {"code": "1"},
            },
        }  # fmt: skip

    return give


def run(root, given, **environment):
    """Start the script in a process of its own."""
    script = str(root / "workflow" / "scripts" / "train_run.py")
    process = CONTEXT.Process(target=run_script, args=(script, given, environment))
    process.start()
    return process


def wait_for_training(process, log):
    """Wait until a run takes its first step: from then on it answers to a request to stop."""
    while process.is_alive() and not (log.exists() and "step 1 of" in log.read_text(encoding="utf-8")):
        time.sleep(0.05)


def losses(given):
    with Path(given["output"]["progress"]).open(encoding="utf-8", newline="") as handle:
        return [float(row["loss"]) for row in csv.DictReader(handle)]


def test_two_processes_started_by_torchrun_learn_what_one_learns(root, files):
    alone, together = files("alone"), files("together", processes=2)
    for given in (alone, together):
        process = run(root, given)
        process.join()
        assert process.exitcode == 0
    assert losses(together) == pytest.approx(losses(alone), rel=2e-3)
    one, two = (read_weights(given["output"]["weights"]) for given in (alone, together))
    assert one.keys() == two.keys()
    metadata = read_metadata(together["output"]["weights"])
    assert metadata["images_used"] == 23, "one has no caption"
    # Four captions on six images each, but for one: pairs of a batch of 8 of the 23 images, a few of them twice in it.
    assert metadata["false_negative_share"] == pytest.approx((3 * 6 * 5 + 5 * 4) / (23 * 22), abs=0.03)
    for given in (alone, together):
        assert "of the pairs of samples in a batch have the same caption" in Path(given["log"][0]).read_text("utf-8")
    assert not list(Path(together["params"]["checkpoint"]).parent.iterdir()), "nothing is left to go on from"


def test_a_stage_that_is_asked_to_stop_ends_with_its_code_and_goes_on(root, files):
    whole, stopped = files("whole", steps=STEPS), files("stopped", steps=STEPS)
    stopped["threads"] = 2
    kept, log = Path(stopped["params"]["checkpoint"]), Path(stopped["log"][0])
    first = run(root, whole)
    first.join()
    second = run(root, stopped)
    wait_for_training(second, log)
    time.sleep(0.1)
    second.terminate()
    second.join()
    assert second.exitcode == STOPPED_EXIT_CODE
    assert kept.exists() and not Path(stopped["output"]["weights"]).exists()
    # Another machine: what a job takes of it is no part of a run.
    stopped["resources"] |= {"checkpoint_minutes": 1, "checkpoint_steps": 40, "loader_threads": 3}
    stopped["threads"] = 1  # what --cores leaves
    third = run(root, stopped)
    third.join()
    assert third.exitcode == 0 and not kept.exists()
    assert "continuing from a checkpoint" in log.read_text(encoding="utf-8")
    one, two = (read_weights(given["output"]["weights"]) for given in (whole, stopped))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert losses(whole) == losses(stopped)


def test_two_processes_that_are_asked_to_stop_leave_one_checkpoint_and_go_on(root, files):
    given = files("shared", steps=STEPS, processes=2)
    kept, log = Path(given["params"]["checkpoint"]), Path(given["log"][0])
    process = run(root, given)
    wait_for_training(process, log)
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == STOPPED_EXIT_CODE
    found = torch.load(kept, weights_only=True)
    assert 0 < found["state"]["done"] < STEPS
    process = run(root, given)
    process.join()
    assert process.exitcode == 0
    assert len(losses(given)) == STEPS and "continuing from a checkpoint" in log.read_text(encoding="utf-8")


def job_of(given):
    """Return the job that the rule's script makes of what it is given."""
    params = given["params"]
    names = ("run", "hyperparameters", "image_size", "normalisation", "shuffle_block_images", "shuffle_window_blocks")
    return TrainingJob(
        **{name: params[name] for name in (*names, "code")},
        compute=ComputeSettings("cpu"),
        files=RunFiles(**given["input"] | {"pretrained": ""}),
        outputs=RunOutputs(**given["output"], checkpoint=params["checkpoint"], log=""),
        machine=MachineSettings(1, 1, 1, 10, 0),
    )


def test_a_checkpoint_is_of_these_files_and_settings_alone(files, tmp_path):
    job = job_of(files())
    compute = job.compute
    assert TrainingJob.from_json(json.dumps(dataclasses.asdict(job))) == job
    same = dataclasses.replace(
        job,
        machine=MachineSettings(8, 2, 4, 1.0, 7, 3),
        outputs=dataclasses.replace(job.outputs, weights="elsewhere"),
        compute=dataclasses.replace(compute, images_at_once=4),
    )
    assert same.identity() == job.identity()
    others = [
        dataclasses.replace(job, hyperparameters=job.hyperparameters | {"learning_rate": 2e-3}),
        dataclasses.replace(job, compute=dataclasses.replace(compute, precision="bf16")),
        dataclasses.replace(job, compute=dataclasses.replace(compute, repeatable=False)),
        dataclasses.replace(job, run=job.run | {"seed": 2}),
        dataclasses.replace(job, code={"code": "2"}),
    ]
    found = {other.identity() for other in others}
    assert job.identity() not in found
    captions = job.files.captions[0]
    pq.write_table(pq.read_table(captions).slice(0, 23), captions)
    found.add(job.identity())
    assert len(found | {same.identity()}) == len(others) + 2 - (same.identity() in found)
    assert len(found) == len(others) + 1
    assert Checkpoints(tmp_path / "none.pt", job.identity()).read() is None


@pytest.mark.parametrize("supervision, says", [
    ("captions", r"none of the 24 images of .*subset\.parquet has text for the caption variant 'title'"),
    ("labels", r"none of the 24 images of .*subset\.parquet has a label of kind 'text_match'"),
])  # fmt: skip
def test_a_subset_without_any_text_or_label_stops_before_training(files, tmp_path, supervision, says):
    uids = [f"u{number}" for number in range(24)]
    nothing = {name: pa.array([None] * 24, pa.string()) for name in ("title", "label")}
    pq.write_table(pa.table({"uid": uids} | nothing), tmp_path / "captions.parquet")
    job = job_of(files())
    labels = "text_match" if supervision == "labels" else ""
    job = dataclasses.replace(
        job,
        run=job.run | {"supervision": supervision, "labels": labels},
        files=dataclasses.replace(job.files, matched_labels=job.files.captions),
    )
    with pytest.raises(ValueError, match=says):
        carry_out(job)
    assert not Path(job.outputs.weights).exists()


def test_tokens_of_many_captions_are_made_once_and_kept_until_the_run_is_trained(files, monkeypatch):
    job = job_of(files())
    assert carry_out(job) is None
    plain = read_weights(job.outputs.weights)
    monkeypatch.setattr("whyrobust.training.kept_tokens.KEPT_FROM_CAPTIONS", 10)
    config, kept = read_model_config(job.files.model), tokens_path(job.outputs.checkpoint, job.identity())
    other = kept.with_name(f"{Path(job.outputs.checkpoint).stem}.0123456789abcdef.tokens.npy")
    of_another_run = kept.with_name(f"{Path(job.outputs.checkpoint).stem}.1.0123456789abcdef.tokens.npy")
    uids, made = read_targets(job, ["cat", "dog"], config, kept)
    assert kept.exists() and len(made) == len(uids) == 23
    other.write_bytes(b"of other settings")
    of_another_run.write_bytes(b"of a run whose name begins like this one's")
    monkeypatch.setattr("whyrobust.training.kept_tokens.tokenize", lambda *given: pytest.fail("made again"))
    assert torch.equal(read_targets(job, ["cat", "dog"], config, kept)[1], made)
    carry_out(job)
    again = read_weights(job.outputs.weights)
    assert all(torch.equal(tensor, again[name]) for name, tensor in plain.items())
    assert not kept.exists() and not other.exists() and of_another_run.exists()


def test_tokens_that_cannot_be_kept_do_not_stop_a_run(files, monkeypatch, caplog):
    job = job_of(files())
    monkeypatch.setattr("whyrobust.training.kept_tokens.KEPT_FROM_CAPTIONS", 10)
    monkeypatch.setattr("numpy.save", lambda *given: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    kept = tokens_path(job.outputs.checkpoint, job.identity())
    with caplog.at_level("WARNING", "whyrobust"):
        _, made = read_targets(job, ["cat", "dog"], read_model_config(job.files.model), kept)
    assert len(made) == 23 and not kept.exists() and "No space left" in caplog.text


def test_the_command_for_one_machine_and_for_several(monkeypatch, tmp_path):
    one = torchrun_command(4, 1, tmp_path / "job.json", {})
    assert "--nproc-per-node=4" in one and "--standalone" in one and one[-1].endswith("job.json")
    for command, says in (("squeue", "node[7-8]"), ("scontrol", "node7\nnode8")):
        (tmp_path / command).write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    two = torchrun_command(8, 2, "job.json", {"SLURM_JOB_ID": "123"})
    assert two[0] == "srun" and "--nodes=2" in two and "--nproc-per-node=4" in two
    assert any(part.startswith("--rdzv-endpoint=node7:") for part in two)
    with pytest.raises(ValueError, match="resource nodes"):
        torchrun_command(3, 2, "job.json", {"SLURM_JOB_ID": "1"})
    with pytest.raises(ValueError, match="slurm"):
        torchrun_command(4, 2, "job.json", {})


@pytest.mark.parametrize("grey", [False, True])
def test_the_images_of_a_grey_view_are_grey(files, grey):
    given = files()
    subset, images = given["input"]["subset"], given["input"]["images"]
    if grey:
        pq.write_table(mark_grey(pq.read_table(subset)), subset)
    params = given["params"]
    names = {field.name for field in dataclasses.fields(TrainingJob)} & params.keys()
    job = TrainingJob(
        compute=ComputeSettings("cpu", 1),
        files=RunFiles(**given["input"] | {"pretrained": ""}),
        outputs=RunOutputs("", "", "", "", ""),
        **{name: params[name] for name in names},
    )
    uids = [f"u{number}" for number in (3, 1)]
    opened = open_images(job, uids, study_preprocessing(32, "white_page"), 0.0)
    assert isinstance(opened, ImagesInMemory)
    plain = read_pixels(images, uids)
    assert np.array_equal(opened.pixels, turn_grey(plain) if grey else plain)
    assert not np.array_equal(turn_grey(plain), plain)


def test_a_run_takes_its_share_of_a_gpu_and_of_its_memory(root, files, tmp_path, monkeypatch):
    """The GPU is a stand-in: the run is trained on the CPU."""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA X (UUID: GPU-x)'\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    (tmp_path / "locks").mkdir()
    given = files()
    given["params"]["device"] = "auto"
    process = run(root, given, PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}", TMPDIR=str(tmp_path / "locks"),
                  CUDA_VISIBLE_DEVICES="0")  # fmt: skip
    process.join()
    assert process.exitcode == 0
    assert list((tmp_path / "locks").glob("whyrobust-gpus-*/GPU-x.part-1-of-3.lock"))
    shares = []
    monkeypatch.setattr("whyrobust.training.job.check_gpu_memory", lambda *args: shares.append(args[-1]) or 0.0)
    carry_out(dataclasses.replace(job_of(files("alone")), machine=MachineSettings(runs_per_gpu=3)))
    assert shares == [3]


def test_a_run_is_taken_by_a_study_of_another_name_without_training(root, files, tmp_path):
    first, second, longer = files("first"), files("second"), files("longer", steps=13)
    stopped = Path(second["params"]["checkpoint"])
    stopped.parent.mkdir(parents=True)
    stopped.touch()
    for given in (first, second, longer):
        given["params"]["code"] |= {"inputs": given["output"]["weights"]}  # paths take no part
        process = run(root, given, **{VARIABLE: str(tmp_path / "store")})
        process.join()
        assert process.exitcode == 0
    logs = [Path(given["log"][0]).read_text("utf-8") for given in (first, second, longer)]
    assert ["step 1 of" in text for text in logs] == [True, False, True]
    assert ["taken from finished work" in text for text in logs] == [False, True, False]
    assert not stopped.exists()
    for name in first["output"]:
        assert Path(first["output"][name]).read_bytes() == Path(second["output"][name]).read_bytes()
    assert len(losses(longer)) != len(losses(first)) == len(losses(second))


def test_photographs_are_read_from_stores_unless_one_is_empty(files, tmp_path):
    uids = [f"u{number}" for number in range(4)]
    for uid in uids:
        Image.new("RGB", (70, 50), (10, 20, 30)).save(tmp_path / f"{uid}.png")
    paths = [str(tmp_path / f"{uid}.png") for uid in uids]
    located = pa.table({"uid": uids, "file": paths, "offset": [0] * 4, "length": [-1] * 4}, LOCATION_SCHEMA)
    write_photographs(tmp_path / "index.arrow", index_photographs(located), 0)
    index = PhotoStore.open(tmp_path / "index.arrow")
    write_decoded(tmp_path / "stored.arrow", index, 40, 1e9, 1)
    write_decoded(tmp_path / "empty.arrow", index, 40, 0, 1)
    jobs = {}
    for name, decoded in (("stored", ["stored"]), ("empty", ["empty"]), ("both", ["stored", "empty"]), ("off", [])):
        given = files()
        given["input"] |= {
            "images": [str(tmp_path / "index.arrow")],
            "decoded": [str(tmp_path / f"{store}.arrow") for store in decoded],
        }
        jobs[name] = job_of(given)
        images = open_images(jobs[name], uids, study_preprocessing(32, "clip"), 0.0)
        assert isinstance(images, DecodedOnce if name == "stored" else PhotographsOnDisk), name
        assert len(images) == 4
    assert len({job.identity() for job in jobs.values()}) == 4, "a checkpoint is continued from the same pixels"


@pytest.mark.parametrize(("labels", "refused"), [(["cat"] * 12 + ["dog"] * 12, True), ([None] * 24, False)])
def test_images_in_class_order_train_no_run_in_blocks(files, labels, refused):
    give = files()
    pq.write_table(
        pa.table({"uid": [f"u{number}" for number in range(24)], "label": pa.array(labels, pa.string())}),
        give["input"]["subset"],
    )
    give["params"] |= {"shuffle_block_images": 6, "shuffle_window_blocks": 1}
    job = job_of(give)
    if refused:
        with pytest.raises(OrderError, match="the files lie class by class"):
            carry_out(job)
    else:
        carry_out(job)
    assert Path(job.outputs.weights).exists() != refused
