"""Checkpoints of strangers: none of their code runs, what does not fit names both architectures, a cut is named."""

from __future__ import annotations

import json
import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from whyrobust.evaluation.load_run import open_run
from whyrobust.training.models import ModelError, build_two_towers, read_model_config
from whyrobust.training.weights import (
    load_image_encoder,
    open_clip_names,
    read_metadata,
    read_published,
    read_weights,
    save_weights,
)


class Payload:
    """What a pickle can do to whoever reads it."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.fixture(scope="module")
def tiny(root, tmp_path_factory):
    """A description of a small model that open_clip knows by itself, and its weights."""
    path = tmp_path_factory.mktemp("tiny") / "tiny-test.json"
    path.write_text((root / "resources" / "models" / "rn-tiny.json").read_text(encoding="utf-8"), encoding="utf-8")
    config = read_model_config(path)
    return path, config, build_two_towers(config).state_dict()


@pytest.mark.parametrize("kind", ["legacy pickle", "torch.save", "weights and code", "named safetensors"])
def test_a_pickle_that_runs_code_does_not_run_it(tiny, tmp_path, kind):
    description, _, weights = tiny
    canary = tmp_path / "was here"
    path = tmp_path / ("x.safetensors" if kind == "named safetensors" else "x.pt")
    if kind in ("legacy pickle", "named safetensors"):
        path.write_bytes(pickle.dumps(Payload(canary)))
    elif kind == "torch.save":
        torch.save(Payload(canary), path)
    else:
        torch.save({"state_dict": weights, "extra": Payload(canary)}, path)
    with pytest.raises(ModelError, match="cannot load"):
        read_published(str(description), str(path))
    for read in (read_weights, read_metadata):
        with pytest.raises(ModelError, match="cannot be read as weights"):
            read(path)
    assert not canary.exists()
    # The file is armed: read in the ordinary way it does run.
    with path.open("rb") as handle:
        if not zipfile.is_zipfile(path):
            pickle.load(handle)
            assert canary.exists()


def test_weights_of_another_architecture_name_both(tiny, tmp_path, root):
    cnn, resnet = (
        read_model_config(root / "resources" / "models" / f"{name}.json") for name in ("icon-cnn", "icon-resnet")
    )
    path = tmp_path / "model.safetensors"
    from whyrobust.training.models import IconCnn

    save_weights(path, {f"visual.trunk.{k}": v for k, v in IconCnn(128).state_dict().items()}, {"run": "x"})
    with pytest.raises(ModelError, match=r"are of IconCnn with an embedding of 128 and do not fit IconResNet"):
        load_image_encoder(path, resnet)
    with pytest.raises(ModelError, match=r"embedding of 128 and do not fit IconCnn with an embedding of 64"):
        load_image_encoder(path, cnn | {"embed_dim": 64})
    _, described, _ = tiny
    facts = {"open_clip_model": "tiny", "description": described, "preprocessing": {"size": 64}}
    save_weights(path, {"a": torch.zeros(2)}, facts)
    with pytest.raises(ModelError, match=r"another model with 1 weights and do not fit another model with \d+ weights"):
        open_run(path, None, False, 1, torch.device("cpu"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2000), content=st.binary(max_size=9), cut=st.booleans())
def test_a_damaged_file_of_weights_is_named_or_holds_what_it_says(tmp_path, at, content, cut):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"a": torch.arange(300.0)}, {"run": "x"})
    whole = path.read_bytes()
    at = min(at, len(whole) - 1)
    path.write_bytes(whole[:at] if cut else whole[:at] + content + whole[at + len(content) :])
    try:
        weights = read_weights(path)
    except ModelError as error:
        assert "model.safetensors" in str(error)
    else:
        assert not cut and all(isinstance(tensor, torch.Tensor) for tensor in weights.values())
    try:
        facts = read_metadata(path)
    except ModelError as error:
        assert "model.safetensors" in str(error)
    else:
        assert isinstance(json.dumps(facts), str)


def test_metadata_of_a_file_that_no_run_wrote_are_missing(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match="no metadata"):
        read_metadata(tmp_path / "x.safetensors")


def _with(value):
    """Replace the values of a weight."""
    return lambda tensor: torch.full_like(tensor, value)


@pytest.mark.parametrize(
    ("names", "change", "words"),
    [
        (["visual.conv1.weight"], _with(float("nan")), r"'visual\.conv1\.weight' has .* not finite"),
        (["logit_scale"], _with(float("inf")), "'logit_scale' has 1 of 1 numbers that are not finite"),
        (["visual.bn1.running_var"], _with(-1.0), "embedding that is not finite"),
        ([], _with(0.0), r"is 0\.0 throughout"),
        (["text.token_embedding.weight"], _with(0.5), r"'token_embedding\.weight' is 0\.5 throughout"),
        (["visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias"],
         lambda tensor: torch.zeros_like(tensor).index_fill_(0, torch.tensor([0]), 1e-20) + (tensor.ndim == 1),
         "the same embedding"),
        (["visual.conv1.weight"], lambda tensor: (100 * tensor).to(torch.int8), "holds int8 numbers"),
        (["visual.conv1.weight"], lambda tensor: tensor.to(torch.complex64), "holds complex64 numbers"),
        (["visual.conv1.weight"], lambda tensor: tensor.to(torch.float8_e4m3fn), "holds float8_e4m3fn numbers"),
        (["visual.conv1.weight"], lambda tensor: 1e300 * tensor.double(), "not finite"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_published_weights_that_are_no_weights_are_an_error(tiny, tmp_path, names, change, words, ending):
    description, _, weights = tiny
    changed = {name: change(value) if name in names or not names else value for name, value in weights.items()}
    path = tmp_path / f"w.{ending}"
    save = torch.save if ending == "pt" else save_file
    save(open_clip_names(changed, {}), path)
    with pytest.raises(ModelError, match=words):
        read_published(str(description), str(path))


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_published_weights_of_any_usual_precision_are_read(tiny, tmp_path, kind):
    description, config, weights = tiny
    stored = {name: value.to(kind) if value.is_floating_point() else value for name, value in weights.items()}
    save_file(open_clip_names(stored, {}), tmp_path / "w.safetensors")
    published = read_published(str(description), str(tmp_path / "w.safetensors"))
    assert published.open_clip_config["model_cfg"] == config
    name = "visual.conv1.weight"
    assert torch.equal(published.weights[name], weights[name].to(kind).float())


def test_a_description_counts_although_open_clip_has_a_model_of_its_name(tiny, tmp_path):
    """A file named ViT-B-32.json, and weights in a file that is named like one of its tags."""
    _, config, weights = tiny
    (tmp_path / "ViT-B-32.json").write_text(json.dumps(config), encoding="utf-8")
    path = tmp_path / "openai"
    torch.save(open_clip_names(weights, {}), path)
    published = read_published(str(tmp_path / "ViT-B-32.json"), str(path))
    assert published.open_clip_config["model_cfg"] == config
    assert published.weights.keys() == open_clip_names(weights, {}).keys()
    facts = {"open_clip_model": published.name, "description": config,
             "preprocessing": published.preprocessing.as_dict()}  # fmt: skip
    save_weights(tmp_path / "model.safetensors", published.weights, facts)
    # What was described when the model was taken in counts, whatever the file says now.
    (tmp_path / "ViT-B-32.json").unlink()
    encoders = open_run(tmp_path / "model.safetensors", None, True, 1, torch.device("cpu"))
    assert encoders.text is not None and encoders.text(["a cat"]).shape == (1, config["embed_dim"])


@pytest.mark.parametrize("model", ["local-dir:x", "hf-hub:a/b", "no-such-model"])
def test_a_model_that_brings_weights_of_its_own_is_no_model_name(model, tmp_path):
    (tmp_path / "w.pt").touch()
    with pytest.raises(ModelError, match="knows no model"):
        read_published(model, str(tmp_path / "w.pt"))
