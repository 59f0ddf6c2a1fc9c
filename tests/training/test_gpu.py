"""What a GPU computes is what a processor computes, within rounding; these tests run where there is one."""

from __future__ import annotations

import dataclasses
import os
import shutil
from contextlib import suppress

import pytest
import torch

from tests.processes import CLASSES, HYPER, batch_of, made_up_pictures, objective_settings
from tests.training.test_device_crops import photographs_of
from whyrobust.data.preprocessing import study_preprocessing
from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.augmentation import Augmentation
from whyrobust.training.batches import BatchSettings, DecodedOnce, ImageOrder
from whyrobust.training.checkpoints import Checkpoints
from whyrobust.training.device import ComputeSettings, DeviceError, choose_device
from whyrobust.training.loop import train
from whyrobust.training.models import read_model_config
from whyrobust.training.settings import TrainingSettings

SHORT = dataclasses.replace(HYPER, samples_seen=60 * 16)


class BrokenOffError(Exception):
    """Ends a run in the middle, without the checkpoint of a stop."""


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def icon_cnn(root):
    return read_model_config(root / "resources" / "models" / "icon-cnn.json")


def losses_on(compute, name, config, checkpoints=None, broken_off_at=None):
    """Return the losses of a short run, up to the step at which it is broken off."""
    images, losses = made_up_pictures(), []
    targets = batch_of(name, 1, len(images), config)[1]
    hyper = dataclasses.replace(SHORT, objective=objective_settings(name))
    settings = TrainingSettings(name, config, CLASSES, 3, hyper, compute)

    def report(progress):
        if progress.step == broken_off_at:
            raise BrokenOffError
        losses.append(progress.loss)

    with suppress(BrokenOffError):
        train(images, targets, settings, report, checkpoints=checkpoints)
    return torch.tensor(losses)


@needs_gpu
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_on_a_gpu_goes_the_way_of_one_on_a_processor(name, icon_cnn):
    cpu, gpu = (losses_on(ComputeSettings(device), name, icon_cnn) for device in ("cpu", "cuda"))
    # The same images and weights at first; rounding then drives them apart no further than another seed would.
    assert torch.allclose(cpu[:3], gpu[:3], rtol=1e-2)
    assert (cpu[-20:].mean() - gpu[-20:].mean()).abs() < 0.2 * cpu[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_sixteen_bits_go_the_way_of_thirty_two(name, icon_cnn):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    whole, half = (
        losses_on(ComputeSettings(device, precision=precision), name, icon_cnn) for precision in ("fp32", "bf16")
    )
    assert not torch.equal(whole, half)
    assert torch.allclose(whole[:3], half[:3], rtol=5e-2)
    assert (whole[-20:].mean() - half[-20:].mean()).abs() < 0.2 * whole[0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_says_what_to_do():
    with pytest.raises(DeviceError, match=r"training\.device"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_a_card_without_products_of_fewer_bits_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    with pytest.raises(DeviceError, match=r"Tesla T4 has no products in TF32 .* set it to fp32"):
        ComputeSettings("cuda", precision="tf32").check()
    assert ComputeSettings("cpu", precision="tf32").check() == "CPU, fp32"
    with pytest.raises(DeviceError, match=r"Tesla T4 has no products in bfloat16 .* set it to fp32"):
        ComputeSettings("cuda", precision="bf16").check()
    assert ComputeSettings("cuda").check() == "Tesla T4, fp32 without TF32"
    assert ComputeSettings("cpu", precision="bf16").check() == "CPU, bf16"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_compilation_without_what_it_calls_is_refused_before_any_work(device, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "Tesla T4")
    ComputeSettings(device).check()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(DeviceError, match=r"training\.compile is true, and the C\+\+ compiler 'no-such-compiler'"):
        ComputeSettings(device, compile=True).check()
    monkeypatch.setenv("CXX", "true")  # a command that is everywhere
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if device == "cpu":
        ComputeSettings(device, compile=True).check()
    else:
        with pytest.raises(DeviceError, match="the package triton is not found"):
            ComputeSettings(device, compile=True).check()


def test_products_and_convolutions_have_the_bits_that_the_precision_says(icon_cnn):
    def rounds():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    kept = rounds()
    try:
        for precision, rounded in (("tf32", True), ("fp32", False), ("tf32", True), ("bf16", False)):
            losses_on(ComputeSettings("cpu", precision=precision), "cross_entropy", icon_cnn)
            assert rounds() == (rounded, rounded)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="no C++ compiler here")
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
def test_a_compiled_encoder_learns_what_one_that_is_not_compiled_learns(device, icon_cnn):
    from torch._dynamo.utils import counters

    before, skipped = counters["stats"]["unique_graphs"], counters["inductor"]["cudagraph_skips"]
    plain, compiled = (
        losses_on(ComputeSettings(device, compile=on), "cross_entropy", icon_cnn) for on in (False, True)
    )
    assert counters["stats"]["unique_graphs"] == before + 1, "it was compiled, once"
    assert counters["inductor"]["cudagraph_skips"] == skipped, "on a GPU it was recorded"
    assert torch.allclose(plain[:3], compiled[:3], rtol=1e-3)
    assert (plain[-20:].mean() - compiled[-20:].mean()).abs() < 0.2 * plain[0]


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_recorded_run_goes_the_way_of_a_plain_one(name, precision, icon_cnn, monkeypatch):
    compute = ComputeSettings("cuda", precision=precision)
    recorded, again = (losses_on(compute, name, icon_cnn) for _ in range(2))
    monkeypatch.setattr("whyrobust.training.loop.is_recorded", lambda *given: False)
    plain = losses_on(compute, name, icon_cnn)
    assert torch.equal(recorded, again)
    assert torch.allclose(recorded[:8], plain[:8], rtol=2e-2)
    assert (recorded[-20:].mean() - plain[-20:].mean()).abs() < 0.2 * plain[0]


@needs_gpu
@pytest.mark.parametrize(("views", "strong"), [(1, False), (2, True)])
def test_photographs_cropped_on_a_gpu_are_those_of_threads(views, strong):
    photographs = photographs_of([(90, 120), (120, 90), (100, 100)])
    augmentation = Augmentation(flip=True, min_crop_area=0.35, strong=strong)

    def shown_on(device):
        how = BatchSettings(views, augmentation, 5, torch.device(device))
        images = DecodedOnce(photographs, study_preprocessing(64, "clip"), 2, gpu_bytes=1e9)
        made = images.batches(ImageOrder(3, 12, 3, seed=5).batches(), how, torch.Generator().manual_seed(5))
        return torch.cat([images.finish(batch.on(how.device), how).cpu() for batch in made])

    cpu, gpu = shown_on("cpu"), shown_on("cuda")
    assert (cpu - gpu).abs().mean() < 0.01


@needs_gpu
def test_the_fastest_operations_learn_the_same(icon_cnn):
    repeatable, fastest = (
        losses_on(ComputeSettings("cuda", repeatable=on), "cross_entropy", icon_cnn) for on in (True, False)
    )
    assert torch.allclose(repeatable[:8], fastest[:8], rtol=2e-2)
    assert (repeatable[-20:].mean() - fastest[-20:].mean()).abs() < 0.2 * repeatable[0]


@needs_gpu
def test_products_in_tf32_learn_the_same(icon_cnn):
    whole, rounded = (losses_on(ComputeSettings("cuda", precision=p), "clip", icon_cnn) for p in ("fp32", "tf32"))
    assert not torch.equal(whole, rounded)
    assert torch.allclose(whole[:8], rounded[:8], rtol=2e-2)
    assert (whole[-20:].mean() - rounded[-20:].mean()).abs() < 0.2 * whole[0]


@needs_gpu
@pytest.mark.parametrize("name", ["clip", "simclr"])
def test_a_recorded_run_that_was_broken_off_goes_on(name, icon_cnn, tmp_path):
    compute = ComputeSettings("cuda")
    whole = losses_on(compute, name, icon_cnn)
    checkpoints = Checkpoints(tmp_path / "run.pt", steps=20)
    begun = losses_on(compute, name, icon_cnn, checkpoints, broken_off_at=35)
    assert checkpoints.path.is_file() and len(begun) == 34
    continued = losses_on(compute, name, icon_cnn, checkpoints)
    assert torch.equal(begun, whole[:34])
    assert torch.equal(continued[:20], whole[:20])
    assert torch.allclose(continued[20:28], whole[20:28], rtol=2e-2)
    assert (continued[-20:].mean() - whole[-20:].mean()).abs() < 0.2 * whole[0]
