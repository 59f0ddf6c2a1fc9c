"""What is used of torch and open_clip without the rest of them is what they would have given."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from whyrobust.data.pixel_store import write_pixels
from whyrobust.training.light_imports import AdamW, keep_compiler_out, open_clip_file
from whyrobust.training.models import (
    TwoTowers,
    build_two_towers,
    is_own_model,
    read_model_config,
    register_image_encoders,
)
from whyrobust.training.text_encoder import encode_text, tokenize

#: Packages that take from a quarter of a second to three to import.
HEAVY = ("open_clip", "timm", "torchvision", "torch._dynamo", "sympy", "pandas", "scipy", "altair", "resvg_py")

#: Draws a subset, trains a run from the files of this test, embeds and fits, and prints which heavy packages that took.
RUN = """
import sys
from whyrobust.data.subsets import draw_from_files
from whyrobust.evaluation.embed import embed_images
from whyrobust.evaluation.heads import fit_linear_probe
from whyrobust.evaluation.load_run import open_run
from whyrobust.evaluation.zero_shot import prompt_ensemble
from whyrobust.data.image_stores import read_images
from whyrobust.files import read_parquet
from whyrobust.training.device import choose_device
from whyrobust.training.job import TrainingJob, carry_out

job = TrainingJob.from_json(sys.argv[1])
draw_from_files([job.files.subset], 8, 0, only_labelled=True)
carry_out(job)
captions = job.run["supervision"] == "captions"
run = open_run(job.outputs.weights, job.files.model, captions, 1, choose_device("cpu"))
images = read_images(job.files.images, read_parquet(job.files.subset, ["uid"])["uid"], run.preprocessing)
embedded = embed_images(run.image, images, run.preprocessing, 8, "cpu")
if captions:
    prompt_ensemble(run.text, ["cat", "dog"], ["a {class}"])
import numpy as np
fit_linear_probe(embedded, np.arange(16) % 2, 2, [str(row) for row in range(16)], 0)
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


@pytest.fixture
def job(root, tmp_path):
    """Make a run of 16 images, as JSON, by its objective."""
    uids = [f"u{number}" for number in range(16)]
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    write_pixels(tmp_path / "images.arrow", uids, pixels)
    pq.write_table(pa.table({"uid": uids, "label": ["cat", "dog"] * 8}), tmp_path / "subset.parquet")
    pq.write_table(pa.table({"uid": uids, "title": ["a cat", "a dog"] * 8}), tmp_path / "captions.parquet")
    (tmp_path / "classes.csv").write_text("class\ncat\ndog\n", encoding="utf-8")

    def give(objective, supervision, labels=""):
        return json.dumps(
            {
                "run": {
                    "run": "r", "objective": objective, "supervision": supervision, "caption": "title",
                    "labels": labels, "seed": 0,
                },
                "hyperparameters": {
                    "samples_seen": 16, "batch_size": 8, "learning_rate": 1e-3, "weight_decay": 0.1,
                    "warmup_share": 0.1, "flip": True, "optimizer": "muon",
                },
                "compute": {"device": "cpu"}, "image_size": 32, "normalisation": "white_page",
                "shuffle_block_images": 1, "shuffle_window_blocks": 1,
                "files": {
                    "subset": str(tmp_path / "subset.parquet"), "images": [str(tmp_path / "images.arrow")],
                    "decoded": [],
                    "captions": [str(tmp_path / "captions.parquet")],
                    "matched_labels": [str(tmp_path / "subset.parquet")],
                    "classes": str(tmp_path / "classes.csv"),
                    "model": str(root / "resources" / "models" / "icon-cnn.json"),
                },
                "outputs": {
                    "weights": str(tmp_path / "model.safetensors"), "progress": str(tmp_path / "progress.csv"),
                    "open_clip": str(tmp_path / "open_clip.json"), "checkpoint": str(tmp_path / "r.pt"),
                    "log": str(tmp_path / "log.txt"),
                },
                "machine": {},
            }
        )  # fmt: skip

    return give


@pytest.mark.parametrize(
    ("objective", "supervision", "labels"),
    [("clip", "captions", ""), ("siglip", "captions", ""), ("cross_entropy", "labels", "text_match")],
)
def test_subsets_are_drawn_and_runs_trained_and_evaluated_without_heavy_packages(job, objective, supervision, labels):
    command = [sys.executable, "-c", RUN, job(objective, supervision, labels), *HEAVY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["icon-cnn", "icon-resnet"])
@pytest.mark.parametrize("changes", [{}, {"layers": 3, "width": 64}])
@pytest.mark.parametrize("initial", [{}, {"init_logit_scale": 2.0, "init_logit_bias": -10.0}])
def test_two_towers_start_as_open_clips_from_the_same_seed(root, name, changes, initial):
    config = read_model_config(root / "resources" / "models" / f"{name}.json")
    config = config | {"text_cfg": config["text_cfg"] | changes} | initial
    register_image_encoders()
    torch.manual_seed(3)
    ours = build_two_towers(config)
    after = torch.rand(1)
    torch.manual_seed(3)
    theirs = open_clip.CustomTextCLIP(**config)
    assert isinstance(ours, TwoTowers) and torch.equal(torch.rand(1), after)
    # Their order too: it is the order of the optimiser's moments in a checkpoint.
    named, wanted = list(ours.state_dict().items()), list(theirs.state_dict().items())
    assert [name for name, _ in named] == [name for name, _ in wanted]
    assert all(torch.equal(weight, same) for (_, weight), (_, same) in zip(named, wanted, strict=True))
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    images, tokens = torch.rand(3, 3, 32, 32), tokenize(["cat", "a house with a garden", "!"], 24)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert torch.equal(ours.visual(images), theirs.visual(images))
        assert torch.equal(ours.text(tokens), encode_text(theirs.text, tokens))
        torch.testing.assert_close(ours.text(tokens), theirs.text(tokens), atol=1e-5, rtol=1e-4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours.text(tokens), encode_text(theirs.text, tokens))


@pytest.mark.parametrize(
    ("part", "settings"),
    [
        ("text_cfg", {"mlp_ratio": 2.0}),
        ("text_cfg", {"no_causal_mask": True}),
        ("vision_cfg", {"timm_proj": "linear"}),
        ("vision_cfg", {"timm_pool": "abs_attn"}),
        ("vision_cfg", {"timm_drop": 0.1}),
        ("vision_cfg", {"timm_model_name": "resnet18"}),
    ],
)
def test_a_description_that_asks_for_more_is_left_to_open_clip(root, part, settings):
    config = read_model_config(root / "resources" / "models" / "icon-cnn.json")
    assert is_own_model(config) and is_own_model(config | {"custom_text": True})
    assert not is_own_model(config | {part: config[part] | settings})
    assert not is_own_model(config | {"quick_gelu": True})


def test_adamw_without_the_compiler_is_torchs_bit_for_bit():
    keep_compiler_out()
    weights = []
    for kind in (AdamW, torch.optim.AdamW):
        torch.manual_seed(0)
        model = torch.nn.Linear(7, 5)
        optimiser = kind(model.parameters(), lr=0.1, betas=(0.9, 0.98), weight_decay=0.1, fused=True)
        for step in range(4):
            optimiser.zero_grad()
            model(torch.randn(3, 7)).square().sum().backward()
            optimiser.step()
            if step == 1:
                optimiser.load_state_dict(optimiser.state_dict())
        weights.append(model.weight.detach())
        assert not model.weight.grad_fn
    assert torch.equal(*weights)


def test_files_of_open_clip_are_those_of_the_package():
    assert tokenize(["Café & crème brûlée!"], 24).tolist() == open_clip.tokenize(["Café & crème brûlée!"], 24).tolist()
    pair = torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1)
    ours, theirs = open_clip_file("loss").ClipLoss(), open_clip.ClipLoss()
    assert torch.equal(ours(*pair, torch.tensor(10.0)), theirs(*pair, torch.tensor(10.0)))
