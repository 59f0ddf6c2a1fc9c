"""Training objectives: what a batch's loss is, for each kind of supervision.

Stands alone so that the training loop is one loop: an objective turns image embeddings and targets into a loss
and names its extra weights, and the loop knows nothing else about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from whyrobust.models import IMAGE_ENCODER_PREFIX, build_image_encoder, build_two_towers, encode_text

#: The logit scale's ceiling of CLIP (Radford et al. 2021, section 2.5).
MAX_LOGIT_SCALE = math.log(100.0)


class Objective(Protocol):
    """A module that returns the loss of a batch and, for a checkpoint, its weights under open_clip's names."""

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of normalised images ``[batch, 3, size, size]`` and their targets."""
        ...

    def after_step(self) -> None:
        """Keep weights within bounds after an optimiser step."""
        ...

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the weights to save."""
        ...


class CrossEntropyObjective(nn.Module):
    """Cross-entropy on labels: the image encoder with one linear layer on its embedding; targets are class ids."""

    def __init__(self, config: Mapping[str, Any], classes: int, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.image_encoder = build_image_encoder(config)
        self.classifier = nn.Linear(config["embed_dim"], classes)
        self.label_smoothing = label_smoothing

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy; ``targets`` are class ids ``[batch]``."""
        scores = self.classifier(self.image_encoder(images))
        return nn.functional.cross_entropy(scores, targets, label_smoothing=self.label_smoothing)

    def after_step(self) -> None:
        """Nothing is bounded."""

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names and the linear layer as ``classifier.*``."""
        weights = {IMAGE_ENCODER_PREFIX + name: tensor for name, tensor in self.image_encoder.state_dict().items()}
        return weights | {f"classifier.{name}": tensor for name, tensor in self.classifier.state_dict().items()}


class ClipObjective(nn.Module):
    """InfoNCE between images and captions, both ways (Radford et al. 2021), by open_clip's own loss."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        from open_clip.loss import ClipLoss

        self.model: Any = build_two_towers(config)
        self.contrast = ClipLoss()

    def loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss; ``targets`` are caption tokens ``[batch, context]``."""
        image_features = nn.functional.normalize(self.model.visual(images), dim=-1)
        text_features = nn.functional.normalize(encode_text(self.model, targets), dim=-1)
        loss: Tensor = self.contrast(image_features, text_features, self.model.logit_scale.exp())
        return loss

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature at 0.01 or above, as CLIP does."""
        self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def checkpoint_weights(self) -> dict[str, Tensor]:
        """Return the open_clip model's own state."""
        return dict(self.model.state_dict())


def build_objective(
    name: str, config: Mapping[str, Any], classes: int, label_smoothing: float
) -> CrossEntropyObjective | ClipObjective:
    """Build an objective by its name in the config.

    Raises:
        ValueError: an objective that is not known.
    """
    if name == "cross_entropy":
        return CrossEntropyObjective(config, classes, label_smoothing)
    if name == "clip":
        return ClipObjective(config)
    raise ValueError(f"objective '{name}' is not known: choose clip or cross_entropy")
