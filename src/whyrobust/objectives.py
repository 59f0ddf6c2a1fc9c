"""Training objectives: what a batch's loss is, for each kind of supervision.

Stands alone so that the training loop is one loop: an objective says how many views of an image it wants and of which
kind, turns them and their targets into a loss and names its weights; the loop knows nothing else about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from whyrobust.losses import nt_xent, supervised_contrastive
from whyrobust.models import (
    build_image_encoder,
    build_two_towers,
    encode_text,
    encoder_of,
    encoder_prefix,
    open_clip_names,
)

#: The logit scale's ceiling of CLIP (Radford et al. 2021, section 2.5).
MAX_LOGIT_SCALE = math.log(100.0)

#: Start values of SigLIP's temperature and bias (Zhai et al. 2023, section 3.2).
SIGLIP_LOGIT_SCALE, SIGLIP_LOGIT_BIAS = math.log(10.0), -10.0

OBJECTIVES = ("clip", "siglip", "cross_entropy", "supcon", "simclr")


class Objective(Protocol):
    """A module that returns the loss of a batch and, for a checkpoint, its weights under open_clip's names.

    Attributes:
        views: how many differently augmented views of each image a loss wants.
        strong_augmentation: whether it wants SimCLR's augmentations instead of the study's.
    """

    views: int
    strong_augmentation: bool

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the mean loss of normalised images ``[views * batch, 3, size, size]``, view by view."""
        ...

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        ...

    def after_step(self) -> None:
        """Keep weights within bounds after an optimiser step."""
        ...

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the weights to save."""
        ...


def _encoder_weights(encoder: nn.Module, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of an image encoder under open_clip's names."""
    return {encoder_prefix(config) + name: tensor for name, tensor in encoder.state_dict().items()}


def _needed(targets: Tensor | None, objective: str) -> Tensor:
    if targets is None:
        raise ValueError(f"objective '{objective}' learns from targets: give one an image")
    return targets


class CrossEntropyObjective(nn.Module):
    """Cross-entropy on labels: the image encoder with one linear layer on its embedding; targets are class ids."""

    views = 1
    strong_augmentation = False

    def __init__(self, config: Mapping[str, Any], classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = build_image_encoder(config)
        self.classifier = nn.Linear(config["embed_dim"], classes)
        self.label_smoothing = label_smoothing

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return self.image_encoder

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the mean cross-entropy; ``targets`` are class ids ``[batch]``."""
        scores = self.classifier(self.image_encoder(images))
        return nn.functional.cross_entropy(
            scores, _needed(targets, "cross_entropy"), label_smoothing=self.label_smoothing
        )

    def after_step(self) -> None:
        """Nothing is bounded."""

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names and the linear layer as ``classifier.*``."""
        layer = {f"classifier.{name}": tensor for name, tensor in self.classifier.state_dict().items()}
        return _encoder_weights(self.image_encoder, self.config) | layer


class TwoTowerObjective(nn.Module):
    """Images against captions, by open_clip's own losses; targets are caption tokens ``[batch, context]``."""

    views = 1
    strong_augmentation = False

    def __init__(self, config: Mapping[str, Any], loss: nn.Module, **start: float) -> None:
        super().__init__()
        self.config = config
        self.model: Any = build_two_towers(dict(config) | start)
        self.contrast = loss

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return encoder_of(self.model, self.config)

    def features(self, images: Tensor, targets: Tensor | None, name: str) -> tuple[Tensor, Tensor]:
        """Return normalised features of images and captions, ``[batch, dim]`` each."""
        return (
            nn.functional.normalize(self.model.visual(images), dim=-1),
            nn.functional.normalize(encode_text(self.model, _needed(targets, name)), dim=-1),
        )

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature at 0.01 or above, as CLIP does."""
        self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the open_clip model's own state."""
        return open_clip_names(self.model.state_dict(), self.config)


class ClipObjective(TwoTowerObjective):
    """InfoNCE between images and captions, both ways (Radford et al. 2021)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from open_clip.loss import ClipLoss

        super().__init__(config, ClipLoss())

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the mean of the two cross-entropies, image to text and text to image."""
        loss: Tensor = self.contrast(*self.features(images, targets, "clip"), self.model.logit_scale.exp())
        return loss


class SiglipObjective(TwoTowerObjective):
    """A sigmoid for every pair of image and caption (Zhai et al. 2023)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        from open_clip.loss import SigLipLoss

        start = {"init_logit_scale": SIGLIP_LOGIT_SCALE, "init_logit_bias": SIGLIP_LOGIT_BIAS}
        super().__init__(config, SigLipLoss(), **start)

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the sum over all pairs of the batch, divided by the images."""
        features = self.features(images, targets, "siglip")
        loss: Tensor = self.contrast(*features, self.model.logit_scale.exp(), self.model.logit_bias)
        return loss


class ViewsObjective(nn.Module):
    """Two views of each image against the others, through a projection head that is thrown away after training."""

    views = 2

    def __init__(self, config: Mapping[str, Any], projection_dim: int, temperature: float) -> None:
        super().__init__()
        width = config["embed_dim"]
        self.config = config
        self.image_encoder = build_image_encoder(config)
        # Two layers with a ReLU between, as in both papers.
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        self.temperature = temperature

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return self.image_encoder

    def after_step(self) -> None:
        """Nothing is bounded."""

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names, without the projection head."""
        return _encoder_weights(self.image_encoder, self.config)


class SupconObjective(ViewsObjective):
    """Supervised contrastive learning (Khosla et al. 2020); targets are class ids ``[batch]``."""

    strong_augmentation = False

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the loss of two views of each image."""
        labels = _needed(targets, "supcon").repeat(self.views)
        return supervised_contrastive(self.projection(self.image_encoder(images)), labels, self.temperature)


class SimclrObjective(ViewsObjective):
    """SimCLR (Chen et al. 2020): no targets, two strongly augmented views of each image."""

    strong_augmentation = True

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the loss of two views of each image."""
        first, second = self.projection(self.image_encoder(images)).chunk(2)
        return nt_xent(first, second, self.temperature)


def build_objective(
    name: str,
    config: Mapping[str, Any],
    classes: int,
    label_smoothing: float,
    temperature: float,
    projection_dim: int,
) -> CrossEntropyObjective | ClipObjective | SiglipObjective | SupconObjective | SimclrObjective:
    """Build an objective by its name in the config; it uses of the settings what it has.

    Raises:
        ValueError: an objective that is not known.
    """
    if name == "cross_entropy":
        return CrossEntropyObjective(config, classes, label_smoothing)
    if name == "clip":
        return ClipObjective(config)
    if name == "siglip":
        return SiglipObjective(config)
    if name == "supcon":
        return SupconObjective(config, projection_dim, temperature)
    if name == "simclr":
        return SimclrObjective(config, projection_dim, temperature)
    raise ValueError(f"objective '{name}' is not known: choose one of {', '.join(OBJECTIVES)}")
