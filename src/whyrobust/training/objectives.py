"""Training objectives: what a batch's loss is, for each kind of supervision.

Stands alone so that the training loop is one loop: an objective says how many views of an image it wants and of which
kind, turns images and targets into features, features into a loss, and names its weights; the loop knows nothing else
about it. Features and loss are two steps because a loss compares a whole batch, of which a forward pass, or a process,
may have seen a part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from whyrobust.training.distributed import ALONE, Ranks, gather
from whyrobust.training.losses import nt_xent, supervised_contrastive
from whyrobust.training.models import build_image_encoder, build_two_towers, encoder_of
from whyrobust.training.text_encoder import UsedEmbedding, encode_text, narrow_vocabulary
from whyrobust.training.weights import export_encoder_weights, open_clip_names

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

    def features(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return what the loss compares, ``[views * batch, ...]`` each, of normalised images, view by view."""
        ...

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean loss over a batch's features; where several processes share it, over those of all."""
        ...

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        ...

    def after_step(self) -> None:
        """Keep weights within bounds after an optimiser step."""
        ...

    def expect(self, targets: Tensor | None) -> None:
        """Look at all targets of a run before its first step."""
        ...

    def checkpoint_weights(self, shrunk: float = 1.0) -> dict[str, Tensor]:
        """Return the weights to save; ``shrunk``: what weight decay made of a 1 that never had a gradient."""
        ...


class Loss(nn.Module):
    """What all objectives are: features, then a loss."""

    #: The processes that share a batch.
    ranks: Ranks = ALONE

    def features(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """See `Objective`."""
        raise NotImplementedError

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """See `Objective`."""
        raise NotImplementedError

    def loss(self, images: Tensor, targets: Tensor | None) -> Tensor:
        """Return the mean loss of normalised images ``[views * batch, 3, size, size]``, view by view."""
        return self.loss_of(self.features(images, targets), targets)

    def expect(self, targets: Tensor | None) -> None:
        """See `Objective`."""

    def forward(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the features; the name that torch's wrappers call."""
        return self.features(images, targets)


def _needed(targets: Tensor | None, objective: str) -> Tensor:
    if targets is None:
        raise ValueError(f"objective '{objective}' learns from targets: give one an image")
    return targets


class CrossEntropyObjective(Loss):
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

    def features(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return the scores ``[batch, classes]``."""
        return (self.classifier(self.image_encoder(images)),)

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean cross-entropy; ``targets`` are class ids ``[batch]``."""
        (scores,) = features
        return nn.functional.cross_entropy(
            scores.float(), _needed(targets, "cross_entropy"), label_smoothing=self.label_smoothing
        )

    def after_step(self) -> None:
        """Nothing is bounded."""

    def checkpoint_weights(self, shrunk: float = 1.0) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names and the linear layer as ``classifier.*``."""
        layer = {f"classifier.{name}": tensor for name, tensor in self.classifier.state_dict().items()}
        return export_encoder_weights(self.image_encoder, self.config) | layer


class TwoTowerObjective(Loss):
    """Images against captions, by open_clip's own losses; targets are caption tokens ``[batch, context]``."""

    name: str
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

    def features(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return normalised features of images and captions, ``[batch, dim]`` each."""
        captions = _needed(targets, self.name)
        return (
            nn.functional.normalize(self.model.visual(images).float(), dim=-1),
            nn.functional.normalize(encode_text(self.model.text, captions).float(), dim=-1),
        )

    @torch.no_grad()
    def after_step(self) -> None:
        """Keep the temperature at 0.01 or above, as CLIP does."""
        self.model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def expect(self, targets: Tensor | None) -> None:
        """Keep the rows of the tokens that occur; the others come back in `checkpoint_weights`."""
        if targets is not None:
            narrow_vocabulary(self.model.text, targets)

    def checkpoint_weights(self, shrunk: float = 1.0) -> dict[str, Tensor]:
        """Return the open_clip model's own state."""
        weights = self.model.state_dict()
        if isinstance(embedding := getattr(self.model.text, "token_embedding", None), UsedEmbedding):
            weights["text.token_embedding.weight"] = embedding.whole(shrunk)
        return open_clip_names(weights, self.config)


class ClipObjective(TwoTowerObjective):
    """InfoNCE between images and captions, both ways (Radford et al. 2021)."""

    name = "clip"

    def __init__(self, config: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        from open_clip.loss import ClipLoss

        # Each process compares its own images and captions with those of all.
        shared = {"local_loss": True, "gather_with_grad": True, "rank": ranks.rank, "world_size": ranks.size}
        super().__init__(config, ClipLoss(**shared) if ranks.size > 1 else ClipLoss())

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the mean of the two cross-entropies, image to text and text to image."""
        loss: Tensor = self.contrast(*features, self.model.logit_scale.exp())
        return loss


class SiglipObjective(TwoTowerObjective):
    """A sigmoid for every pair of image and caption (Zhai et al. 2023)."""

    name = "siglip"

    def __init__(self, config: Mapping[str, Any], ranks: Ranks = ALONE) -> None:
        from open_clip.loss import SigLipLoss

        start = {"init_logit_scale": SIGLIP_LOGIT_SCALE, "init_logit_bias": SIGLIP_LOGIT_BIAS}
        super().__init__(config, SigLipLoss(rank=ranks.rank, world_size=ranks.size, dist_impl="gather"), **start)

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the sum over all pairs of the batch, divided by the images."""
        loss: Tensor = self.contrast(*features, self.model.logit_scale.exp(), self.model.logit_bias)
        return loss


class ViewsObjective(Loss):
    """Two views of each image against the others, through a projection head that is thrown away after training."""

    views = 2

    def __init__(
        self, config: Mapping[str, Any], projection_dim: int, temperature: float, ranks: Ranks = ALONE
    ) -> None:
        super().__init__()
        self.ranks = ranks
        width = config["embed_dim"]
        self.config = config
        self.image_encoder = build_image_encoder(config)
        # Two layers with a ReLU between, as in both papers.
        self.projection = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, projection_dim))
        self.temperature = temperature

    def features(self, images: Tensor, targets: Tensor | None) -> tuple[Tensor, ...]:
        """Return projections ``[views * batch, projection_dim]``."""
        return (self.projection(self.image_encoder(images)).float(),)

    @property
    def encoder(self) -> nn.Module:
        """The image encoder."""
        return self.image_encoder

    def after_step(self) -> None:
        """Nothing is bounded."""

    def checkpoint_weights(self, shrunk: float = 1.0) -> dict[str, Tensor]:
        """Return the encoder under open_clip's names, without the projection head."""
        return export_encoder_weights(self.image_encoder, self.config)


class SupconObjective(ViewsObjective):
    """Supervised contrastive learning (Khosla et al. 2020); targets are class ids ``[batch]``."""

    strong_augmentation = False

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the loss of two views of each image."""
        labels = _needed(targets, "supcon").repeat(self.views)
        projections, labels = gather(features[0], self.ranks), gather(labels, self.ranks)
        return supervised_contrastive(projections, labels, self.temperature)


class SimclrObjective(ViewsObjective):
    """SimCLR (Chen et al. 2020): no targets, two strongly augmented views of each image."""

    strong_augmentation = True

    def loss_of(self, features: tuple[Tensor, ...], targets: Tensor | None) -> Tensor:
        """Return the loss of two views of each image."""
        first, second = (gather(view, self.ranks) for view in features[0].chunk(2))
        return nt_xent(first, second, self.temperature)


def build_objective(
    name: str,
    config: Mapping[str, Any],
    classes: int,
    label_smoothing: float,
    temperature: float,
    projection_dim: int,
    ranks: Ranks = ALONE,
) -> CrossEntropyObjective | ClipObjective | SiglipObjective | SupconObjective | SimclrObjective:
    """Build an objective by its name in the config; it uses of the settings what it has.

    ``ranks`` are the processes that share a batch.

    Raises:
        ValueError: an objective that is not known.
    """
    if name == "cross_entropy":
        return CrossEntropyObjective(config, classes, label_smoothing)
    if name == "clip":
        return ClipObjective(config, ranks)
    if name == "siglip":
        return SiglipObjective(config, ranks)
    if name == "supcon":
        return SupconObjective(config, projection_dim, temperature, ranks)
    if name == "simclr":
        return SimclrObjective(config, projection_dim, temperature, ranks)
    raise ValueError(f"objective '{name}' is not known: choose one of {', '.join(OBJECTIVES)}")
