"""Parts of the section `training`: augmentation, sizes of images, and what differs when a run starts from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from whyrobust.study.objectives_table import LearningRate
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.setting_types import Allowed, Flag, InnerShare, LeftOut, PositiveShare, Settings, Share

#: Pixels of a cell of the grid that the attention pooling of open_clip's residual networks has.
PIXELS_A_CELL = 32

#: Side of the images, and tokens of a caption, of a model whose description does not give them (open_clip's own).
OPEN_CLIP_SIDE, OPEN_CLIP_CONTEXT = 224, 77


@dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """Augmentation of training images, the same for all objectives but those that have their own."""

    max_shift_share: LeftOut[Annotated[float, Allowed(ge=0, le=0.5)]] = None
    """Drawings: largest shift as a share of the side; none if left out."""
    max_zoom: LeftOut[Annotated[float, Allowed(ge=1, le=2)]] = None
    """Drawings: largest zoom factor, in or out; none if left out."""
    plain_share: Share = 0.5
    """Drawings: share of the images of a batch that are neither shifted nor zoomed, so that models see images as sharp
    as those of a test."""
    flip: Flag = True
    """Mirror half of the images."""
    min_crop_area: PositiveShare = 0.35
    """Photographs: smallest share of a picture that a crop shows."""


@dataclass(frozen=True, kw_only=True)
class FineTuning(Settings):
    """Settings that differ if a run starts from another."""

    learning_rate: LearningRate = 0.02
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True)
class ProgressiveResizing(Settings):
    """Smaller images, and shorter captions, for the first steps of each run.

    Most of training costs a fraction of what it does at full size, and in the rest the model meets images as large as
    those of the test. CLIPA ("An Inverse Scaling Law for CLIP Training", 2023) and RECLIP ("Resource-efficient CLIP by
    Training with Small Images", 2023) train CLIP so; they start the optimiser and its schedule anew at full size, here
    both go on.
    """

    share: InnerShare
    """Share of a run's steps that these are; the others have images of data.image_size and whole captions."""
    image_size: Annotated[int, Allowed(ge=16, le=512)]
    """Side of the images in these steps, in pixels. Positional embeddings are interpolated to it."""
    context_length: LeftOut[Annotated[int, Allowed(ge=4)]] = None
    """Tokens of a caption in these steps, its start and end among them; longer captions are cut. Those of the model if
    left out."""


def check_progressive_resizing(
    settings: ProgressiveResizing | None, image_size: int, path: str, description: Mapping[str, Any]
) -> None:
    """Check that a model can be trained on smaller images first.

    Args:
        settings: of the study; None: there is nothing to check.
        image_size: side of the study's images in pixels.
        path: of the model description, for messages.
        description: of the model, as open_clip reads it.

    Raises:
        ConfigError: the images or captions are no smaller, or the model has no grid for them.
    """
    if settings is None:
        return
    key, size, vision = "config key training.progressive_resizing", settings.image_size, description["vision_cfg"]
    if size >= image_size:
        raise ConfigError(f"{key}.image_size is {size}, where data.image_size is {image_size}: give a smaller one")
    context = description["text_cfg"].get("context_length", OPEN_CLIP_CONTEXT)
    if settings.context_length is not None and settings.context_length >= context:
        raise ConfigError(
            f"{key}.context_length is {settings.context_length}, where {path} has {context}: give a smaller one, or "
            "leave it out"
        )
    patch = vision.get("patch_size")
    if patch and size % patch:
        raise ConfigError(
            f"{key}.image_size is {size}, which the patches of {path}, {patch} pixels wide, do not fill: give a "
            f"multiple of {patch}"
        )
    if not patch and "timm_model_name" not in vision and size < PIXELS_A_CELL:
        raise ConfigError(f"{key}.image_size is {size}: {path} needs {PIXELS_A_CELL} or more")
