"""All that a study embeds with one run: test sets, prompts, and the training images that heads are fitted on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
from safetensors import safe_open

from whyrobust.data.grey_images import is_grey, turn_grey
from whyrobust.data.image_stores import read_images
from whyrobust.evaluation.embed import EvaluationError, Floats, KeptBatches, embed_batches, normalised_batches
from whyrobust.evaluation.load_run import Encoders, open_run
from whyrobust.evaluation.zero_shot import prompt_ensemble
from whyrobust.files import read_parquet
from whyrobust.training.device import choose_device
from whyrobust.training.weights import read_metadata

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger("whyrobust")

BATCH_SIZE = 256

#: Of normalised images that a job keeps for its later runs: room for 21,000 of 32 pixels, as 32-bit numbers.
KEPT_BYTES = 2**28

#: Of a normalised pixel: three 32-bit numbers.
PIXEL_BYTES = 12


@dataclass(frozen=True)
class Images:
    """Images that are embedded.

    Attributes:
        stores: files that hold them.
        table: file whose column ``uid`` names them, in order.
    """

    stores: Sequence[str]
    table: str


@dataclass(frozen=True)
class Embedding:
    """What is embedded with each of several runs of one model, and by what.

    Attributes:
        description: model description; None for a published model, which brings its own.
        test_sets: images by the name of their test set.
        prompts: sentences by the name of their prompt set; none for runs without a text tower.
        classes: their names as they stand in prompts.
        device: 'cpu', 'cuda' or 'auto'.
        threads: of the CPU.
        loader_threads: that decode photographs.
    """

    description: str | None
    test_sets: Mapping[str, Images]
    prompts: Mapping[str, Sequence[str]]
    classes: Sequence[str]
    device: str
    threads: int
    loader_threads: int


def embed_run(
    weights: Path | str, fitted_on: Mapping[str, Images], embedding: Embedding, kept: KeptBatches | None = None
) -> tuple[dict[str, Floats], dict[str, float | None]]:
    """Return the arrays and the facts that `save_embeddings` writes.

    Args:
        weights: of the run, a safetensors file.
        fitted_on: training images by the name that heads have for what they are fitted on.
        embedding: what is embedded besides.
        kept: images of test sets that runs before were shown, and those after will be.

    Raises:
        ModelError: the weights do not fit the description.
        EvaluationError: there are prompts and no text tower, or no images.
    """
    device = choose_device(embedding.device)
    encoders = open_run(weights, embedding.description, bool(embedding.prompts), embedding.threads, device)
    arrays: dict[str, Floats] = {}
    for name, images in embedding.test_sets.items():
        arrays[f"images.{name}"] = _embed(encoders, images, embedding, kept)
        logger.info("%s: %d images", name, len(arrays[f"images.{name}"]))
    for name, templates in embedding.prompts.items():
        if encoders.text is None:
            raise EvaluationError(f"{weights} has no text tower: it cannot read the prompt set '{name}'")
        arrays[f"prompts.{name}"] = prompt_ensemble(encoders.text, embedding.classes, templates)
        logger.info("prompt set %s: %d classes, %d prompts each", name, len(embedding.classes), len(templates))
    with safe_open(str(weights), framework="numpy") as stored:
        names = [name for name in list(stored.keys()) if name.startswith("classifier.")]
        arrays |= {name: stored.get_tensor(name) for name in names}
    for name, images in fitted_on.items():
        arrays[f"fitting.{name}"] = _embed(encoders, images, embedding, None)
        logger.info("for heads fitted on %s: %d images", name, len(arrays[f"fitting.{name}"]))
    metadata = read_metadata(weights)
    # A published model does not say what was in its batches.
    return arrays, {name: metadata.get(name) for name in ("images_used", "false_negative_share")}


def _embed(encoders: Encoders, images: Images, embedding: Embedding, kept: KeptBatches | None) -> Floats:
    """Embed images in the order of their table."""
    preprocessing = encoders.preprocessing

    def read() -> Iterator[Tensor]:
        uids = read_parquet(images.table, ["uid"])["uid"]
        pictures = read_images(images.stores, uids, preprocessing, embedding.loader_threads)
        shown = map(turn_grey, pictures) if is_grey(images.table) else pictures
        return normalised_batches(shown, preprocessing, BATCH_SIZE, embedding.device)

    if kept is None:
        return embed_batches(encoders.image, read())
    needed = pq.read_metadata(images.table).num_rows * PIXEL_BYTES * preprocessing.size**2
    name = (*images.stores, images.table, preprocessing)
    return embed_batches(encoders.image, kept.batches_of(name, needed, read))
