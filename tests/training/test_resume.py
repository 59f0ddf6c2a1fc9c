"""A run that is stopped or killed at any moment goes on, and ends with the weights of one that was not."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from tests.photo_index import index_photographs
from tests.processes import HYPER, made_up_pictures, train_and_tell, train_made_up
from whyrobust.data.archives import LOCATION_SCHEMA
from whyrobust.data.decoded_store import open_decoded, write_decoded
from whyrobust.data.photo_store import PhotoStore, open_locations, write_photographs
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.training_settings import ProgressiveResizing
from whyrobust.training.batches import DecodedOnce, ImagesInMemory, PhotographsOnDisk
from whyrobust.training.checkpoints import Checkpoints, StoppedError
from whyrobust.training.distributed import SINGLE_PROCESS
from whyrobust.training.loop import LossReader
from whyrobust.training.models import read_model_config

#: Preloaded, so that a killed process is followed by the next at once and not after torch's import.
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.processes", "torch"])

STEPS = HYPER.steps
SHORT = dataclasses.replace(HYPER, samples_seen=32 * 16)


@pytest.fixture(scope="module")
def icon_cnn(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


@pytest.fixture(scope="module", params=["decoded once", "decoded each time"])
def photographs(request, tmp_path_factory):
    """Photographs on the disk, cropped by two threads a few batches ahead."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(5)
    places = []
    for number in range(24):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)).save(path)
        places.append((str(path), 0, path.stat().st_size, 1, ""))
    preprocessing = study_preprocessing(32, "clip")
    files, offsets, lengths, *_ = zip(*places, strict=True)
    located = pa.table({"uid": files, "file": files, "offset": offsets, "length": lengths}, LOCATION_SCHEMA)
    write_photographs(folder / "index.arrow", index_photographs(located), border=1)
    if request.param == "decoded each time":
        return PhotographsOnDisk(open_locations([folder / "index.arrow"], files), preprocessing, loader_threads=2)
    write_decoded(folder / "decoded.arrow", PhotoStore.open(folder / "index.arrow"), 36, 1e9, 2)
    return DecodedOnce(open_decoded([folder / "decoded.arrow"], files), preprocessing, loader_threads=2)


def undisturbed(images, name, config, hyper=HYPER):
    losses = []
    weights = train_made_up(images, name, config, lambda progress: losses.append(progress.loss), hyper=hyper)
    return weights, losses


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight, expected[name]), name


def start(images, name, config, checkpoints, weights):
    told, tell = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=train_and_tell, args=(tell, images, name, config, checkpoints, weights))
    process.start()
    tell.close()
    return process, told


def steps_until(told, wanted):
    """Read what a process tells until it is at a step; return what it told last."""
    last = 0
    while last != "done" and last != "stopped" and last < wanted:
        try:
            last = told.recv()
        except EOFError:
            break
    return last


def test_twenty_kills_at_random_moments_leave_no_trace_in_the_weights(icon_cnn, tmp_path):
    """Kill without warning; each time the run goes on from the last checkpoint, at most five steps back."""
    rng = random.Random(time.time_ns())
    images, checkpoints = made_up_pictures(), Checkpoints(tmp_path / "run.pt", "this run", steps=5)
    weights = str(tmp_path / "weights.pt")
    begun = []
    for wanted in sorted(rng.sample(range(1, STEPS - 40), 20)):
        process, told = start(images, "cross_entropy", icon_cnn, checkpoints, weights)
        assert steps_until(told, wanted) >= wanted
        time.sleep(rng.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        kept = checkpoints.read()
        begun.append(0 if kept is None else kept["done"])
        assert kept is None or kept["done"] % 5 == 0
        assert begun[-1] > wanted - 6
    process, told = start(images, "cross_entropy", icon_cnn, checkpoints, weights)
    assert steps_until(told, STEPS + 1) == "done"
    process.join()
    assert len(set(begun)) > 5, "the run went on from many places"
    assert_same_weights(torch.load(weights), undisturbed(images, "cross_entropy", icon_cnn)[0])


@pytest.mark.parametrize(("name", "optimizer"), [("clip", "muon"), ("simclr", "muon"), ("clip", "adamw")])
def test_a_stopped_run_goes_on_in_mid_epoch_with_the_same_weights(name, optimizer, icon_cnn, tmp_path):
    short = dataclasses.replace(SHORT, optimizer=optimizer)
    stop_and_go_on(made_up_pictures(), name, icon_cnn, short, ({3}, {3 + 14}, set()), tmp_path)


def stop_and_go_on(images, name, config, hyper, steps_of_stops, folder):
    """Stop a run at some steps, go on each time, and compare it with one that was not stopped.

    A signal that comes while a step is reported stops the run after the next.
    """
    checkpoints = Checkpoints(folder / "run.pt", "this run")
    expected, losses = undisturbed(images, name, config, hyper)
    found: list[float] = []

    def stop_at(steps):
        def report(progress):
            found.append(progress.loss)
            if len(found) in steps:
                os.kill(os.getpid(), signal.SIGTERM)

        return report

    for stops in steps_of_stops:
        found.clear()
        report = stop_at(stops)
        if stops:
            with pytest.raises(StoppedError):
                train_made_up(images, name, config, report, checkpoints, hyper)
            assert checkpoints.read() is not None
        else:
            weights = train_made_up(images, name, config, report, checkpoints, hyper)
    assert_same_weights(weights, expected)
    assert found == losses, "a run reports every step once, those before the stop too"


def test_a_run_on_a_gpu_stops_after_the_step_that_it_is_at(icon_cnn, tmp_path, monkeypatch):
    """On a GPU losses are read every 16 steps at most: a run of one process does not wait for that to stop."""
    monkeypatch.setattr(LossReader, "is_due", False)
    images, checkpoints = made_up_pictures(), Checkpoints(tmp_path / "run.pt", "this run")
    whole = type(images).batches

    def batches(*given):
        for step, batch in enumerate(whole(*given), start=1):
            if step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(type(images), "batches", batches)
    with pytest.raises(StoppedError, match="after step 5 of 32"):
        train_made_up(images, "cross_entropy", icon_cnn, lambda _: None, checkpoints, SHORT)
    kept = checkpoints.read()
    assert kept is not None and kept["done"] == 5


@pytest.mark.parametrize(("seconds_a_step", "steps"), [(0.005, 16), (0.125, 16), (0.5, 4), (1.9, 1), (33.0, 1)])
def test_a_gpu_is_read_as_often_as_its_steps_take_time(seconds_a_step, steps, monkeypatch):
    """Processes that share a run learn at a read that one of them was asked to stop: in time before they are killed."""
    now = 100.0
    monkeypatch.setattr("whyrobust.training.loop.time", SimpleNamespace(monotonic=lambda: now))
    settings = SimpleNamespace(hyperparameters=SHORT, objective="clip")
    state = SimpleNamespace(progress=[], seconds=1.0)
    for on_gpu in (True, False):
        losses = LossReader(state, settings, lambda _: None, SINGLE_PROCESS, on_gpu)
        between = []
        for step in range(40):
            now += seconds_a_step
            losses.add(step, 1e-3, torch.tensor(1.0))
            if losses.is_due:
                between.append(step - sum(between) + 1)
                assert not losses.read(False)
        assert between[:2] == [1, steps if on_gpu else 1] and set(between[1:]) == {between[1]}
    losses.add(40, 1e-3, torch.tensor(1.0))
    assert losses.read(True)


def test_photographs_cropped_by_threads_go_on_with_the_same_crops(photographs, icon_cnn, tmp_path):
    short = dataclasses.replace(HYPER, samples_seen=10 * 16)
    expected, _ = undisturbed(photographs, "simclr", icon_cnn, short)
    checkpoints = Checkpoints(tmp_path / "run.pt", "this run", steps=4)

    class CutOffError(Exception):
        pass

    def cut_off(progress):
        if progress.step == 7:
            raise CutOffError

    with pytest.raises(CutOffError):
        train_made_up(photographs, "simclr", icon_cnn, cut_off, checkpoints, short)
    kept = checkpoints.read()
    assert kept is not None and kept["done"] == 4
    weights = train_made_up(photographs, "simclr", icon_cnn, lambda _: None, checkpoints, short)
    assert_same_weights(weights, expected)


#: Twelve steps, of which the first six have images of half the side.
RESIZED = dataclasses.replace(
    HYPER,
    samples_seen=12 * 16,
    optimizer="adamw",
    progressive_resizing=ProgressiveResizing(share=0.5, image_size=16, context_length=4),
)


def test_a_run_that_is_stopped_before_at_and_after_the_change_of_image_size_is_one_that_was_not(root, tmp_path):
    config = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), dtype=np.uint8)
    resizing = dataclasses.replace(RESIZED.progressive_resizing, image_size=32)
    hyper = dataclasses.replace(RESIZED, progressive_resizing=resizing)
    assert hyper.resized_steps == 6
    images = ImagesInMemory(pixels, study_preprocessing(64, "clip"))
    stop_and_go_on(images, "clip", config, hyper, ({2}, {5}, {8}, set()), tmp_path)


def test_photographs_of_two_sizes_go_on_with_the_same_crops(photographs, icon_cnn, tmp_path):
    stop_and_go_on(photographs, "simclr", icon_cnn, RESIZED, ({3}, {5}, {7}, set()), tmp_path)


def test_a_checkpoint_by_time(icon_cnn, tmp_path):
    checkpoints = Checkpoints(tmp_path / "run.pt", "this run", minutes=1e-9)
    kept = []

    def look(progress):
        state = checkpoints.read()
        kept.append(0 if state is None else state["done"])

    hyper = dataclasses.replace(HYPER, samples_seen=5 * 16)
    train_made_up(made_up_pictures(), "cross_entropy", icon_cnn, look, checkpoints, hyper)
    assert kept == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spoil", ["of other settings", "cut off", "not a checkpoint", "empty"])
def test_a_checkpoint_that_is_not_this_runs_is_not_taken_up(spoil, tmp_path):
    path = tmp_path / "run.pt"
    Checkpoints(path, "this run").write({"done": 3})
    assert Checkpoints(path, "this run").read() == {"done": 3}
    whole = path.read_bytes()
    path.write_bytes(
        {"cut off": whole[: len(whole) // 2], "not a checkpoint": b"x" * 100, "empty": b""}.get(spoil, whole)
    )
    assert Checkpoints(path, "another" if spoil == "of other settings" else "this run").read() is None
