"""Whether the models that runs are trained with can be built, and take the images of the study.

Only torch knows, whose import takes seconds: a process of its own is asked about each model that is not plainly one of
this project's, and what it says is kept for later starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from whyrobust.study.code_version import KEPT, PACKAGE_FOLDER, code_version, package_versions
from whyrobust.study.config import Config
from whyrobust.study.input_files import read_description
from whyrobust.study.kept_answers import KeptAnswers
from whyrobust.study.run_groups import SMALL_ENCODERS
from whyrobust.study.setting_checks import ConfigError

#: The program that tries a model out, without the package's name, and the packages that decide what it says.
TRIAL, PACKAGES = "training.model_trial", ("torch", "open_clip_torch", "timm")

#: Seconds that a trial may take; it takes about eight.
PATIENCE = 300

#: Settings of the models in ``resources/models`` that have an encoder of this project: whole numbers in ``text_cfg``.
PLAIN_VISION_SETTINGS = {"timm_model_name", "timm_model_pretrained", "timm_pool", "timm_proj", "image_size"}
PLAIN_TEXT_SETTINGS = {"context_length", "vocab_size", "width", "heads", "layers"}


class _UnknownError(Exception):
    """Nobody can say here whether a model can be built."""


def is_plain(description: Mapping[str, Any]) -> bool:
    """Tell whether a model is surely one of this project's, which can be built and takes images of any size.

    One that is so in the eyes of `whyrobust.training.models.is_own_model` alone is tried out.
    """
    vision, text = description["vision_cfg"], description["text_cfg"]
    numbers = [description["embed_dim"], *text.values()]
    return (
        set(description) == {"embed_dim", "vision_cfg", "text_cfg"}
        and set(vision) == PLAIN_VISION_SETTINGS
        and vision["timm_model_name"] in SMALL_ENCODERS
        and (vision["timm_model_pretrained"], vision["timm_pool"], vision["timm_proj"]) == (False, "avg", None)
        and set(text) == PLAIN_TEXT_SETTINGS
        and all(type(number) is int and number > 0 for number in numbers)
        and text["width"] % text["heads"] == 0
    )


def check_described_models(config: Config, used: Collection[str], root: Path, kept: KeptAnswers = KEPT) -> None:
    """Check that models can be built and take the images that runs show them.

    Where that cannot be known, since a package is missing or memory is short, the model passes.

    Args:
        config: the config, whose files have been checked.
        used: names of the models that runs are trained with.
        root: folder that relative paths start from.
        kept: what earlier starts were told.

    Raises:
        ConfigError: one cannot, with what the library says.
    """
    sides = {"data.image_size": config.data.image_size}
    if config.training.progressive_resizing is not None:
        sides["training.progressive_resizing.image_size"] = config.training.progressive_resizing.image_size
    for name, path in config.models.items():
        if name not in used:
            continue
        key = f"config key models.{name}"
        description = read_description(key, root / path)
        if is_plain(description):
            continue
        for size_key, side in sides.items():
            with suppress(_UnknownError):
                reason = _why_unusable(root / path, description, side, kept)
                if reason:
                    raise ConfigError(
                        f"{key} is '{path}', which cannot be trained where {size_key} is {side} ({reason}): correct "
                        f"the description, or {size_key}"
                    )


def _why_unusable(path: Path, description: Mapping[str, Any], side: int, kept: KeptAnswers) -> str:
    """Return why a model cannot be built or takes no images of a side, "" where all is well.

    Raises:
        _UnknownError: nobody can say.
    """
    versions = package_versions(PACKAGES)
    if "not installed" in versions.values():
        raise _UnknownError
    what = json.dumps([description, versions, code_version([TRIAL])], sort_keys=True)
    question = f"model {hashlib.sha256(what.encode()).hexdigest()} {side}"
    return kept.answer(question, lambda: _try_out(path, side))


def _try_out(path: Path, side: int) -> str:
    """Let a process without a GPU and without a network try a model out, and return what it says."""
    paths = [str(PACKAGE_FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    alone = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    try:
        tried = subprocess.run(
            [sys.executable, "-m", f"whyrobust.{TRIAL}", str(path), str(side)],
            env=os.environ | alone | {"PYTHONPATH": os.pathsep.join(paths)},
            capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=True,
        )  # fmt: skip
        # A library may have said something before.
        return str(json.loads(tried.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise _UnknownError from error
