"""Models that cannot be trained are known by being tried out, in the words of the library that refuses them."""

from __future__ import annotations

import pytest

from whyrobust.training import model_trial
from whyrobust.training.model_trial import why_unusable
from whyrobust.training.models import read_model_config

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
NATIVE = {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1}


def described(vision, **text):
    return {"embed_dim": 64, "vision_cfg": vision, "text_cfg": TEXT | text}


def of_timm(name):
    return {"timm_model_name": name, "timm_pool": "avg", "timm_proj": "linear", "image_size": 32}


REFUSED = {
    "images of another size": (described(of_timm("vit_tiny_patch16_224")), r"Input height \(32\) doesn't match .*224"),
    "a patch larger than an image": (described(NATIVE | {"patch_size": 64}), "Kernel size"),
    "no such name": (described(of_timm("resnet5000")), r"Unknown model \(resnet5000\)"),
    "heads that do not divide the width": (described(NATIVE, heads=7), "must be divisible"),
    "heads of an own model": (described(of_timm("icon_cnn") | {"timm_proj": None}, heads=7), "must be divisible"),
    "no such setting": (described(NATIVE | {"depth": 3}), "unexpected keyword argument 'depth'"),
}


@pytest.mark.parametrize(("config", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_a_model_that_cannot_be_trained_is_refused_as_the_library_does(config, reason):
    found = why_unusable(config, 32)
    assert "\n" not in found
    with pytest.raises(ValueError, match=reason):
        raise ValueError(found)


def test_models_that_can_be_trained_are_not_refused(root, monkeypatch):
    tried = []
    monkeypatch.setattr(model_trial, "_try_out", record(tried, model_trial._try_out))
    folder = root / "resources" / "models"
    assert why_unusable(described(NATIVE), 32) == why_unusable(described(of_timm("resnet18")), 32) == ""
    assert why_unusable(read_model_config(folder / "vit-b-32.json"), 224) == ""
    assert tried == ["meta"] * 3, "no numbers are computed where shapes say enough"
    # What interpolates the places of smaller images, and this project's text tower, compute with numbers.
    assert why_unusable(read_model_config(folder / "rn-tiny.json"), 32) == ""
    assert why_unusable(read_model_config(folder / "icon-cnn.json"), 32) == ""


def record(tried, try_out):
    def recorded(config, side, device):
        tried.append(device)
        try_out(config, side, device)

    return recorded


@pytest.mark.parametrize("error", [ModuleNotFoundError("no timm"), OSError("no disk"), MemoryError()])
def test_what_says_nothing_of_the_model_is_raised(monkeypatch, error):
    def fail(config, side, device):
        raise error

    monkeypatch.setattr(model_trial, "_try_out", fail)
    with pytest.raises(type(error)):
        why_unusable(described(NATIVE), 32)


def test_a_machine_without_the_memory_for_a_model_says_nothing_of_it(monkeypatch):
    def fail(config, side, device):
        raise RuntimeError("no kernel" if device == "meta" else "DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(model_trial, "_try_out", fail)
    with pytest.raises(MemoryError):
        why_unusable(described(NATIVE), 32)
