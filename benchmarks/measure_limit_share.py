"""What share of the machine's own limit training reaches: its arithmetic a second over that of a matrix product.

The arithmetic of a step is counted by torch while a step is taken, forward and backward; work that is not done, such as
that on the padding of captions, does not count. The limit is the best rate of large matrix products in the same
precision on the same cores, measured in turn with it.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

from benchmarks import train_clip_icons, train_clip_photographs
from benchmarks.rows import Aim, Measured, Row, Setting

#: Images of the step whose arithmetic is counted, on a processor.
COUNTED = 8

#: Large enough that a product does nothing but arithmetic.
SIDE = {"cpu": 3072, "cuda": 8192}
BF16 = "bfloat16"


def flop_a_step(model: str, captions: list[str], size: int, device: str) -> float:
    """Return the floating-point operations of one training step, a multiply-add counted as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from whyrobust.training.models import read_model_config
    from whyrobust.training.objectives import build_objective
    from whyrobust.training.text_encoder import tokenize

    config = read_model_config(train_clip_icons.MODELS / f"{model}.json")
    objective = build_objective("clip", config, 2, {}).to(device).train()
    tokens = tokenize(captions, config["text_cfg"]["context_length"]).long().to(device)
    images = torch.rand(len(captions), 3, size, size, device=device)
    with FlopCounterMode(display=False) as counter:
        objective.loss(objective(images, tokens), tokens).backward()
    return float(counter.get_total_flops())


def matrix_products(setting: Setting, precision: str = "float32") -> Measured:
    """Measure the floating-point operations per second of matrix products on all cores."""
    import torch

    torch.set_num_threads(setting.cores)
    side = setting.size(SIDE[setting.device], 256)
    left, right = (torch.randn(side, side, device=setting.device).to(getattr(torch, precision)) for _ in range(2))
    rates = []
    for _ in range(setting.size(10, 3)):
        began = time.perf_counter()
        product = left @ right
        if setting.device == "cuda":
            torch.cuda.synchronize()
        rates.append(2 * side**3 / (time.perf_counter() - began))
    del product
    return Measured(statistics.median(rates[1:]) / 1e9)


def icons(setting: Setting) -> Measured:
    """Measure CLIP training on icons, one run a core, in Gflop per second."""
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    batch = captions[: train_clip_icons.BATCH]
    flop = flop_a_step("icon-cnn", batch, train_clip_icons.SIDE, "cpu") / len(batch)
    rate = train_clip_icons.ours(setting, model="icon-cnn", precision="fp32").value
    return Measured(flop * rate / 1e9, {"Mflop an image": flop / 1e6})


def photographs(setting: Setting, precision: str) -> Measured:
    """Measure CLIP training of ResNet-50 on JPEGs, in Gflop per second."""
    captions = (setting.folder / "captions.txt").read_text(encoding="utf-8").split("\n")
    model, size, _ = train_clip_photographs.scale(setting)
    flop = flop_a_step(model, captions[:COUNTED], size, "cpu") / COUNTED
    rate = train_clip_photographs.ours(setting, precision=precision).value
    return Measured(flop * rate / 1e9, {"Mflop an image": flop / 1e6})


ROWS = (
    Row(
        name="limit_icons",
        what="arithmetic of CLIP training, 32-pixel icons, fp32",
        unit="Gflop/s",
        ours=icons,
        peer="matrix products, fp32",
        measure_peer=matrix_products,
        aims={"cpu": (Aim(least=0.25),)},
        prepare=train_clip_icons.prepare,
        limit="the peer is the limit",
        rounds=2,
    ),
    Row(
        name="limit_resnet50",
        what="arithmetic of CLIP training, ResNet-50 at 224, fp32",
        unit="Gflop/s",
        ours=partial(photographs, precision="fp32"),
        peer="matrix products, fp32",
        measure_peer=matrix_products,
        aims={"cpu": (Aim(least=0.4),)},
        prepare=train_clip_photographs.prepare,
        limit="the peer is the limit",
        rounds=2,
        devices=("cpu",),
    ),
    Row(
        name="limit_resnet50_bf16",
        what="arithmetic of CLIP training, ResNet-50 at 224, bf16",
        unit="Gflop/s",
        ours=partial(photographs, precision="bf16"),
        peer="matrix products, bf16",
        measure_peer=partial(matrix_products, precision=BF16),
        aims={"cuda": (Aim(least=0.45),)},
        prepare=train_clip_photographs.prepare,
        limit="the peer is the limit",
        devices=("cuda",),
    ),
)
