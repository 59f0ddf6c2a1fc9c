"""GPU memory that a step of training needs, counted before it runs on tensors without data.

A lower bound: what autograd keeps for the backward pass, and weights, gradients and the optimiser's two moments. Work
space of kernels, fragments and batches that wait come on top, so a run needs some tenths more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.study.training_settings import OPEN_CLIP_CONTEXT, OPEN_CLIP_SIDE
from whyrobust.training.device import ComputeSettings, choose_device
from whyrobust.training.text_encoder import longest_caption

#: Weights, gradients and two moments, 32 bits each.
BYTES_A_PARAMETER = 16

#: Images that are counted at once: a batch norm needs more than one.
COUNTED = 2

GIGABYTE = 1e9


class FootprintError(RuntimeError):
    """A run that does not fit into the memory of its GPU."""


@dataclass(frozen=True)
class Footprint:
    """What training a model keeps in memory.

    Attributes:
        image_bytes: kept for the backward pass of one view of an image.
        text_bytes: kept for that of one caption.
        image_parameters: of the image encoder.
        parameters: of both towers.
    """

    image_bytes: float
    text_bytes: float
    image_parameters: int
    parameters: int

    def of_step(self, objective: str, batch: int, images_at_once: int | None, filled: float = 1.0) -> float:
        """Return the bytes that a step needs at least.

        Args:
            objective: what is trained.
            batch: samples of a process in a step.
            images_at_once: as in `whyrobust.training.grad_cache`.
            filled: share of the text tower's context that captions fill; padding is not computed.
        """
        views, has_text = OBJECTIVES[objective].views, OBJECTIVES[objective].supervision == "captions"
        samples = batch if images_at_once is None else min(batch, max(1, images_at_once // views))
        kept = samples * (views * self.image_bytes + (filled * self.text_bytes if has_text else 0.0))
        return kept + BYTES_A_PARAMETER * (self.parameters if has_text else self.image_parameters)

    def check(
        self, objective: str, batch: int, images_at_once: int | None, available: float, filled: float = 1.0
    ) -> float:
        """Check that a step fits into a GPU; return how many bytes something else may take beside it.

        That is half of what a step leaves, if it needs half as much again as is counted.

        Args:
            objective: what is trained.
            batch: samples of a process in a step.
            images_at_once: as in `whyrobust.training.grad_cache`.
            available: bytes of the GPU's memory that are free.
            filled: share of the text tower's context that captions fill.

        Raises:
            FootprintError: it does not; the message says what would.
        """
        needed = self.of_step(objective, batch, images_at_once, filled)
        if needed <= available:
            return max(0.0, (available - 1.5 * needed) / 2)
        fixed = self.of_step(objective, 0, None)
        each = (self.of_step(objective, 1, None, filled) - fixed) / OBJECTIVES[objective].views
        # A tenth is left for what is not counted.
        fitting = int((0.9 * available - fixed) / each)
        what = f"set training.images_at_once to {fitting} or less" if fitting > 0 else "take a smaller model"
        raise FootprintError(
            f"a step of {objective} with {batch} images needs {needed / GIGABYTE:.0f} GB of GPU memory or more, and "
            f"{available / GIGABYTE:.0f} GB are free: {what}, use training.precision bf16, or more GPUs for a run"
        )


def without_weights(config: Mapping[str, Any]) -> Any:  # noqa: ANN401 - open_clip has no types
    """Return open_clip's model of a description on the device ``meta``, where tensors have a shape and no values.

    The text tower is open_clip's for all: ours leaves out padding, so that what it does depends on the texts.
    """
    import open_clip

    from whyrobust.training.models import register_image_encoders

    register_image_encoders()
    with torch.device("meta"):
        return open_clip.CustomTextCLIP(**{name: value for name, value in config.items() if name != "custom_text"})


def inputs_without_values(config: Mapping[str, Any], count: int) -> tuple[Tensor, Tensor]:
    """Return images ``[count, 3, side, side]`` and tokens ``[count, context]`` for `without_weights`."""
    side = config["vision_cfg"].get("image_size", OPEN_CLIP_SIDE)
    length = config["text_cfg"].get("context_length", OPEN_CLIP_CONTEXT)
    with torch.device("meta"):
        return torch.zeros(count, 3, side, side), torch.zeros(count, length, dtype=torch.long)


def count_parameters(model: nn.Module, config: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of parameters of a model of a description, and of its image encoder."""
    from whyrobust.training.models import encoder_of

    whole, encoder = (sum(p.numel() for p in part.parameters()) for part in (model, encoder_of(model, config)))
    return whole, encoder


@contextmanager
def _counting(module: nn.Module) -> Iterator[dict[int, torch.UntypedStorage]]:
    """Collect the storages that autograd keeps, but for parameters and buffers; each counts once."""
    owned = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in owned:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def measure_footprint(config: Mapping[str, Any], precision: str) -> Footprint:
    """Count what training keeps of an image and of a caption, without weights and without a GPU.

    Args:
        config: open_clip model description.
        precision: of products, as in `ComputeSettings`.
    """
    number = torch.bfloat16 if precision == "bf16" else torch.float32
    model = without_weights(config).to(number).train()
    images, texts = inputs_without_values(config, COUNTED)
    with torch.device("meta"):
        with _counting(model) as of_images:
            image = model.encode_image(images.to(number))
        with _counting(model) as of_texts:
            text = model.encode_text(texts)
        del image, text
    image_bytes, text_bytes = (
        sum(storage.nbytes() for storage in kept.values()) / COUNTED for kept in (of_images, of_texts)
    )
    whole, encoder = count_parameters(model, config)
    return Footprint(image_bytes, text_bytes, encoder, whole)


def check_gpu_memory(
    config: Mapping[str, Any],
    objective: str,
    batch: int,
    compute: ComputeSettings,
    targets: Tensor | None,
    padded: bool = False,
    runs_per_gpu: int = 1,
) -> float:
    """Check that a step of a run fits into the memory that it may take of its GPU; nothing is checked on a CPU.

    That is what is free, and where others share the GPU, who are about to take theirs, no more than an equal share.

    Returns how many bytes of it something else may take, none on a CPU.

    Args:
        config: open_clip model description.
        objective: what is trained.
        batch: samples of this process in a step.
        compute: device, precision and parts of a batch.
        targets: caption tokens ``[n, context]``, class ids ``[n]``, or None.
        padded: whether all captions are computed as long as the longest.
        runs_per_gpu: that may share the GPU at a time.

    Raises:
        FootprintError: it does not.
    """
    device = choose_device(compute.device)
    if device.type != "cuda":
        return 0.0
    free, total = torch.cuda.mem_get_info(device)
    has_text = targets is not None and targets.ndim == 2
    filled = 1.0
    if targets is not None and has_text:
        whole = targets.shape[1]
        filled = longest_caption(targets) / whole if padded else float((targets != 0).double().mean())
    footprint = measure_footprint(config, compute.precision)
    share = total / runs_per_gpu
    try:
        return footprint.check(objective, batch, compute.images_at_once, min(free, share), filled)
    except FootprintError as error:
        if free <= share:
            raise
        raise FootprintError(f"{error}; or lower training.runs_per_gpu: {runs_per_gpu} runs share the GPU") from error
