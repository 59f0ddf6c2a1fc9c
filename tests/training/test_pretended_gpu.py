"""A step on a GPU mixes no devices and waits for nothing: shown where there is no GPU, by tensors without values."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from tests.photo_index import index_photographs
from tests.pretended_gpu import pretended_gpu
from tests.processes import CLASSES, HYPER, batch_of, made_up_pictures, objective_settings
from whyrobust.data.archives import LOCATION_SCHEMA
from whyrobust.data.decoded_store import DecodedPhotographs
from whyrobust.data.photo_store import open_locations, write_photographs
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.training_settings import ProgressiveResizing
from whyrobust.training import losses
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import DecodedOnce, ImagesInMemory, PhotographsOnDisk
from whyrobust.training.device import ComputeSettings, send
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import TrainingSettings

#: Six steps, of which those after the third can be recorded; some images are shown as they are.
FEW = dataclasses.replace(
    HYPER,
    samples_seen=6 * 16,
    augmentation=Augmentation(flip=True, max_shift_share=0.1, max_zoom=1.2, plain_share=0.5, min_crop_area=0.3),
)


@pytest.fixture(scope="module")
def icon_cnn(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


def waits_of(images, name, config, hyper=FEW, recorded=False, **compute):
    """Train on a pretended GPU; return what waited for it after the first step, each line with how often."""
    targets = batch_of(name, 1, len(images), config)[1]
    hyper = dataclasses.replace(hyper, objective=objective_settings(name))
    settings = TrainingSettings(name, config, CLASSES, 3, hyper, ComputeSettings("cuda", **compute))
    with pytest.MonkeyPatch.context() as patch, pretended_gpu(patch, recorded) as gpu:
        train(images, targets, settings, lambda progress: None)
    return Counter(gpu.waits)


@pytest.mark.parametrize(("precision", "images_at_once"), [("fp32", None), ("bf16", 6)])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_step_mixes_devices_or_waits(name, precision, images_at_once, icon_cnn):
    assert not waits_of(made_up_pictures(), name, icon_cnn, precision=precision, images_at_once=images_at_once)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_no_recorded_step_reads_main_memory_or_waits(name, precision, icon_cnn):
    assert not waits_of(made_up_pictures(), name, icon_cnn, recorded=True, precision=precision)


def test_main_memory_that_a_recorded_step_reads_is_found(icon_cnn, monkeypatch):
    def reading(features, labels, temperature):
        return send(torch.ones(()), features.device) * losses_of(features, labels, temperature)

    losses_of = losses.supervised_contrastive
    monkeypatch.setattr("whyrobust.training.objectives.supervised_contrastive", reading)
    assert not waits_of(made_up_pictures(), "supcon", icon_cnn)
    waits = waits_of(made_up_pictures(), "supcon", icon_cnn, recorded=True)
    assert waits == {"device.py: return values.pin_memory().to(device, non_blocking=True)": 3}


@pytest.mark.parametrize("name", ["clip", "simclr"])
@pytest.mark.parametrize("decoded", ["once", "once, on the GPU", "each time"])
@pytest.mark.parametrize("recorded", [False, True])
def test_no_step_on_photographs_waits(name, decoded, recorded, icon_cnn, tmp_path):
    pixels, how = (
        np.random.default_rng(0).integers(0, 256, (20, 80, 72, 3), dtype=np.uint8),
        study_preprocessing(64, "clip"),
    )
    images = DecodedOnce(
        DecodedPhotographs(
            [pixels.reshape(-1)], np.zeros(20, np.int64), np.arange(20) * 80 * 72 * 3, np.tile([80, 72], (20, 1))
        ),
        how,
        2,
        gpu_bytes=1e9 if "GPU" in decoded else 0.0,
    )
    if decoded == "each time":
        for number, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / f"{number}.png")
        uids = [str(tmp_path / f"{number}.png") for number in range(20)]
        located = pa.table({"uid": uids, "file": uids, "offset": [0] * 20, "length": [-1] * 20}, LOCATION_SCHEMA)
        write_photographs(tmp_path / "index.arrow", index_photographs(located), 0)
        images = PhotographsOnDisk(open_locations([tmp_path / "index.arrow"], uids), how, 2)
    assert not waits_of(images, name, icon_cnn, recorded=recorded)


def test_no_step_waits_where_image_size_and_captions_change(root):
    config = read_model_config(root / "resources" / "models" / "rn-tiny.json")
    images = ImagesInMemory(np.zeros((40, 64, 64, 3), dtype=np.uint8), study_preprocessing(64, "clip"))
    resizing = ProgressiveResizing(share=0.5, image_size=32, context_length=4)
    waits = waits_of(images, "clip", config, dataclasses.replace(FEW, progressive_resizing=resizing))
    assert not waits


def test_a_number_that_is_read_in_a_step_is_found(icon_cnn, monkeypatch):
    whole = losses.supervised_contrastive

    def reading(features, labels, temperature):
        assert float(features.detach().sum()) > 0
        return whole(features, labels, temperature)

    monkeypatch.setattr("whyrobust.training.objectives.supervised_contrastive", reading)
    with pytest.raises(Exception, match="_local_scalar_dense"):
        waits_of(made_up_pictures(), "supcon", icon_cnn)


def test_a_tensor_that_stayed_in_main_memory_is_found(icon_cnn, monkeypatch):
    monkeypatch.setattr("whyrobust.training.batches.send", lambda values, device: values)
    with pytest.raises(RuntimeError, match="found at least two devices"):
        waits_of(made_up_pictures(), "cross_entropy", icon_cnn)


def test_a_copy_that_waits_is_found(icon_cnn, monkeypatch):
    monkeypatch.setattr("whyrobust.training.batches.send", lambda values, device: values.to(device))
    waits = waits_of(made_up_pictures(), "cross_entropy", icon_cnn)
    sent = "return PreparedBatch(send(self.images, device), send(self.random, device))"
    assert waits == {f"batches.py: {sent}": 2 * 5}
