"""Tokens of a run's captions, kept beside its checkpoint until it is trained."""

from __future__ import annotations

import glob
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from whyrobust.files import atomic_path
from whyrobust.training.text_encoder import CAPTIONS_PER_CHUNK, tokenize

logger = logging.getLogger("whyrobust")

#: From so many captions on their tokens are kept in a file while a run is trained.
KEPT_FROM_CAPTIONS = 100_000

#: Letters of a run's identity in the name of the file.
IDENTITY_LETTERS = 16


def tokens_path(checkpoint: Path | str, identity: str) -> Path:
    """Return where the tokens of a run's captions are kept while it is trained: beside its checkpoint."""
    path = Path(checkpoint)
    return path.with_name(f"{path.stem}.{identity[:IDENTITY_LETTERS]}.tokens.npy")


def remove_tokens(checkpoint: Path | str) -> None:
    """Remove the tokens of a run that are kept, of other settings too."""
    path = Path(checkpoint)
    # As many letters as an identity has: another run's name may begin with this one's.
    for kept in path.parent.glob(f"{glob.escape(path.stem)}.{'?' * IDENTITY_LETTERS}.tokens.npy"):
        kept.unlink(missing_ok=True)


def make_tokens(captions: pa.ChunkedArray, context: int, kept: Path | None) -> Tensor:
    """Return the tokens of captions, int32 ``[n, context]``; many are kept in a file and mapped, not made again.

    A run that continues would else make them anew, in each of its processes, while a GPU waits.

    Args:
        captions: of a run, none of them null.
        context: tokens of each.
        kept: the file of this run; None: nothing is kept.
    """
    if kept is not None and kept.exists():
        logger.info("tokens of %d captions are made already: %s", len(captions), kept)
        # Copied where something is written: torch takes no array that is read-only.
        return torch.from_numpy(np.load(kept, mmap_mode="c"))
    tokens = torch.empty((len(captions), context), dtype=torch.int32)
    # As Python's texts a few at a time: 15 million take gigabytes.
    for start in range(0, len(captions), CAPTIONS_PER_CHUNK):
        part = captions.slice(start, CAPTIONS_PER_CHUNK).to_pylist()
        tokens[start : start + len(part)] = tokenize(part, context)
    if kept is None or len(captions) < KEPT_FROM_CAPTIONS:
        return tokens
    try:
        with atomic_path(kept) as temporary:
            np.save(temporary, tokens.numpy())
    except OSError as error:
        logger.warning("tokens cannot be kept in %s (%s): they are made again if the run stops", kept, error)
        return tokens
    return torch.from_numpy(np.load(kept, mmap_mode="c"))
