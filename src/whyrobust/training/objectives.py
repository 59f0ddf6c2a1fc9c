"""Training objectives: the loss of a batch, for each kind of supervision.

An objective turns images and targets into features (its forward pass), features into a loss, and names its weights for
a checkpoint; the training loop knows nothing else about it. Features and loss are two steps because a loss compares a
whole batch, of which one forward pass, or one process, may see only a share.

`whyrobust.study.objectives_table` lists the objectives with their settings; a new one is a class and a row there.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from whyrobust.study.objectives_table import OBJECTIVES
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks, gather
from whyrobust.training.image_sizes import encode_images
from whyrobust.training.light_imports import open_clip_file
from whyrobust.training.losses import nt_xent, supervised_contrastive
from whyrobust.training.models import build_image_encoder, build_two_towers, encoder_of
from whyrobust.training.text_encoder import UsedEmbedding, encode_text, narrow_vocabulary
from whyrobust.training.weights import export_encoder_weights, open_clip_names

#: The maximum of CLIP's logit scale (Radford et al. 2021, section 2.5).
MAX_LOGIT_SCALE = math.log(100.0)

#: Initial values of SigLIP's temperature and bias (Zhai et al. 2023, section 3.2).
SIGLIP_LOGIT_SCALE, SIGLIP_LOGIT_BIAS = math.log(10.0), -10.0


class Objective(nn.Module):
    """A module with a loss; subclasses take their own settings of the objectives table as keyword arguments.

    Attributes:
        strong_augmentation: whether images are augmented as in SimCLR instead of as the study says.

    Args:
        config: open_clip model description.
        classes: number of classes of the study.
        ranks: the processes that share a batch.
    """

    strong_augmentation = False

    def __init__(self, config: Mapping[str, Any], classes: int, ranks: Ranks = SINGLE_PROCESS) -> None:
        super().__init__()
        self.config, self.classes, self.ranks = config, classes, ranks

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        raise NotImplementedError

    def forward(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return what the loss compares, ``[views * batch, ...]`` each, of normalised images, view by view."""
        raise NotImplementedError

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean loss over a batch's features; where several processes share it, over those of all.

        On a GPU, steps of small models are recorded once and repeated (`whyrobust.training.steps`): forward pass and
        loss may read nothing back from the GPU, and nothing in main memory that changes from step to step.
        """
        raise NotImplementedError

    def checkpoint_weights(self, decay: float = 1.0) -> dict[str, Tensor]:
        """Return the weights to save under open_clip's names.

        Args:
            decay: factor by which weight decay has shrunk a weight that never had a gradient.
        """
        raise NotImplementedError

    def prepare(self, targets: Tensor | None) -> None:
        """Adapt to all targets of a run before its first step."""

    def after_step(self) -> None:
        """Keep weights within bounds after an optimiser step."""


class CrossEntropyObjective(Objective):
    """Cross-entropy on labels: the image encoder with one linear layer on its embedding; targets are class ids."""

    def __init__(
        self, config: Mapping[str, Any], classes: int, ranks: Ranks = SINGLE_PROCESS, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(config, classes, ranks)
        self.image_encoder = build_image_encoder(config)
        self.classifier = nn.Linear(config["embed_dim"], classes)
        self.label_smoothing = label_smoothing

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return self.image_encoder

    def forward(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the class scores ``[batch, classes]``."""
        return (self.classifier(encode_images(self.image_encoder, images)),)

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean cross-entropy; ``targets`` are class ids ``[batch]``."""
        (scores,) = features
        return nn.functional.cross_entropy(scores.float(), _given(targets), label_smoothing=self.label_smoothing)

    def checkpoint_weights(self, decay: float = 1.0) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names and the linear layer as ``classifier.*``."""
        layer = {f"classifier.{name}": tensor for name, tensor in self.classifier.state_dict().items()}
        return export_encoder_weights(self.image_encoder, self.config) | layer


class TwoTowerObjective(Objective):
    """Images against captions, by a loss of open_clip; targets are caption tokens ``[batch, context]``.

    Args:
        config: open_clip model description.
        classes: number of classes of the study.
        ranks: the processes that share a batch.
        contrast: open_clip's loss.
        initial: initial values of the temperature and the bias, as open_clip names them.
    """

    def __init__(
        self, config: Mapping[str, Any], classes: int, ranks: Ranks, contrast: nn.Module, **initial: float
    ) -> None:
        super().__init__(config, classes, ranks)
        self.model: Any = build_two_towers(dict(config) | initial)
        self.contrast = contrast

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return encoder_of(self.model, self.config)

    def forward(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return normalised features of images and captions, ``[batch, dim]`` each."""
        return (
            nn.functional.normalize(encode_images(self.model.visual, images).float(), dim=-1),
            nn.functional.normalize(encode_text(self.model.text, _given(targets)).float(), dim=-1),
        )

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature at 0.01 or above, as CLIP does."""
        self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def prepare(self, targets: Tensor | None) -> None:
        """Keep the rows of the token embedding that occur; `checkpoint_weights` restores the others."""
        narrow_vocabulary(self.model.text, _given(targets))

    def checkpoint_weights(self, decay: float = 1.0) -> dict[str, Tensor]:
        """Return the open_clip model's own state."""
        weights = self.model.state_dict()
        if isinstance(embedding := getattr(self.model.text, "token_embedding", None), UsedEmbedding):
            weights["text.token_embedding.weight"] = embedding.whole(decay)
        return open_clip_names(weights, self.config)


class ClipObjective(TwoTowerObjective):
    """InfoNCE between images and captions, both ways (Radford et al. 2021)."""

    def __init__(self, config: Mapping[str, Any], classes: int, ranks: Ranks = SINGLE_PROCESS) -> None:
        # Each process compares its own images and captions with those of all.
        shared = {"local_loss": True, "gather_with_grad": True, "rank": ranks.rank, "world_size": ranks.size}
        contrast = open_clip_file("loss").ClipLoss(**shared if ranks.size > 1 else {})
        super().__init__(config, classes, ranks, contrast)

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean of the two cross-entropies, image to text and text to image."""
        loss: Tensor = self.contrast(*features, self.model.logit_scale.exp())
        return loss


class SiglipObjective(TwoTowerObjective):
    """A sigmoid for every pair of image and caption (Zhai et al. 2023)."""

    def __init__(self, config: Mapping[str, Any], classes: int, ranks: Ranks = SINGLE_PROCESS) -> None:
        contrast = open_clip_file("loss").SigLipLoss(rank=ranks.rank, world_size=ranks.size, dist_impl="gather")
        initial = {"init_logit_scale": SIGLIP_LOGIT_SCALE, "init_logit_bias": SIGLIP_LOGIT_BIAS}
        super().__init__(config, classes, ranks, contrast, **initial)

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the sum over all pairs of the batch, divided by the number of images."""
        loss: Tensor = self.contrast(*features, self.model.logit_scale.exp(), self.model.logit_bias)
        return loss


class ViewsObjective(Objective):
    """Two views of each image against the others, through a projection head that is discarded after training."""

    def __init__(
        self,
        config: Mapping[str, Any],
        classes: int,
        ranks: Ranks = SINGLE_PROCESS,
        *,
        projection_dim: int,
        temperature: float,
    ) -> None:
        super().__init__(config, classes, ranks)
        width = config["embed_dim"]
        self.image_encoder = build_image_encoder(config)
        # Two layers with a ReLU between, as in both papers.
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        self.temperature = temperature

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return self.image_encoder

    def forward(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return projections ``[views * batch, projection_dim]``."""
        return (self.projection(encode_images(self.image_encoder, images)).float(),)

    def checkpoint_weights(self, decay: float = 1.0) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names, without the projection head."""
        return export_encoder_weights(self.image_encoder, self.config)


class SupconObjective(ViewsObjective):
    """Supervised contrastive learning (Khosla et al. 2020); targets are class ids ``[batch]``."""

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the loss of the views of each image."""
        (projections,), labels = features, _given(targets)
        labels = labels.repeat(len(projections) // len(labels))
        return supervised_contrastive(gather(projections, self.ranks), gather(labels, self.ranks), self.temperature)


class SimclrObjective(ViewsObjective):
    """SimCLR (Chen et al. 2020): no targets, two strongly augmented views of each image."""

    strong_augmentation = True

    def loss(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the loss of two views of each image."""
        first, second = (gather(view, self.ranks) for view in features[0].chunk(2))
        return nt_xent(first, second, self.temperature)


def _given(targets: Tensor | None) -> Tensor:
    """Return the targets; `build_objective`'s caller has checked that there are some."""
    assert targets is not None
    return targets


def build_objective(
    name: str, config: Mapping[str, Any], classes: int, settings: Mapping[str, Any], ranks: Ranks = SINGLE_PROCESS
) -> Objective:
    """Build an objective of the objectives table.

    Args:
        name: of its row.
        config: open_clip model description.
        classes: number of classes of the study.
        settings: the objective's own settings, keyword arguments of its class.
        ranks: the processes that share a batch.

    Raises:
        ValueError: no such objective.
    """
    if name not in OBJECTIVES:
        raise ValueError(f"objective '{name}' is not known: choose one of {', '.join(OBJECTIVES)}")
    module, _, class_name = OBJECTIVES[name].implementation.partition(":")
    implementation: type[Objective] = getattr(importlib.import_module(module), class_name)
    return implementation(config, classes, ranks, **settings)
