"""Whether a described model can be built and takes the images of a study: asked before the first job, answered here.

A program of its own, ``python -m whyrobust.training.model_trial DESCRIPTION SIDE``, since planning imports no torch;
`whyrobust.study.described_models` calls it, and keeps what it says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch

from whyrobust.training.image_sizes import encode_images
from whyrobust.training.models import build_two_towers, read_model_config

#: Images and captions that a model is tried with.
EXAMPLES = 2


def why_unusable(config: Mapping[str, Any], side: int) -> str:
    """Return why a model cannot be built or takes no images of a side, as the library says it; "" where all is well.

    Args:
        config: model description.
        side: of the images, in pixels.

    Raises:
        ImportError: a package is missing; this, and the following, say nothing of the model.
        OSError: a file of a library cannot be read.
        MemoryError: the model is too large for this machine.
    """
    reason = ""
    # First without numbers, which takes no time; a library that cannot work so may be able to with them.
    for device in ("meta", "cpu"):
        try:
            _try_out(config, side, device)
        except (ImportError, OSError, MemoryError):
            raise
        except Exception as error:  # of any class: each library has its own
            reason = " ".join(str(error).split()) or type(error).__name__
            if "can't allocate memory" in reason:
                raise MemoryError(reason) from error
        else:
            return ""
    return reason


def _try_out(config: Mapping[str, Any], side: int, device: str) -> None:
    """Build a model and pass images and captions through it."""
    with torch.device(device), torch.inference_mode():
        model = build_two_towers(config).eval()
        encode_images(model.visual, torch.zeros(EXAMPLES, 3, side, side))
        model.text(torch.zeros(EXAMPLES, model.context_length, dtype=torch.long))


if __name__ == "__main__":
    description, side = sys.argv[1:]
    print(json.dumps(why_unusable(read_model_config(description), int(side))))
