"""The workflow's own files, where a study is run in another folder than the workflow's.

Relative paths of a config start from the folder that the study is run in. What is not there and lies in `OWN_FOLDER`,
as tables of classes, model descriptions and the table of sources do, is found beside the workflow.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

from whyrobust.study.setting_types import Settings

S = TypeVar("S", bound=Settings)

#: Folder of the files that come with the workflow.
OWN_FOLDER = "resources/"


def own_file(path: str, root: Path, home: Path) -> str:
    """Return the path of a file or folder: as it is, or beside the workflow where it is one of its own.

    Args:
        path: relative to ``root``, or absolute.
        root: folder that the study is run in.
        home: folder of the workflow.
    """
    elsewhere = path.startswith(OWN_FOLDER) and not (root / path).exists() and (home / path).exists()
    return (home / path).as_posix() if elsewhere else path


def with_own_files(settings: S, root: Path, home: Path) -> S:
    """Return settings with each of the workflow's own files where it is; arguments as those of `own_file`."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    found = {name: _with_own_files(value, root, home) for name, value in values.items()}
    changed = {name: value for name, value in found.items() if value != values[name]}
    return replace(settings, **changed) if changed else settings


def _with_own_files(value: Any, root: Path, home: Path) -> Any:  # noqa: ANN401 - a value of a config
    if isinstance(value, str):
        return own_file(value, root, home)
    if isinstance(value, Settings):
        return with_own_files(value, root, home)
    if isinstance(value, Mapping):
        return {name: _with_own_files(each, root, home) for name, each in value.items()}
    return tuple(_with_own_files(each, root, home) for each in value) if isinstance(value, tuple) else value


def remake_commands(config_files: Iterable[Path], folder: Path, home: Path) -> list[str]:
    """Return the commands that remake a study.

    Args:
        config_files: given by ``--configfile``; none for the default study.
        folder: that the commands are called in; other files are named without their folder.
        home: folder of the workflow.
    """
    named = [os.path.relpath(path, folder) if path.is_relative_to(folder) else path.name for path in config_files]
    configs = "".join(f" --configfile {path}" for path in named)
    if folder != home:
        return [f"snakemake --snakefile path/to/{home.name}/Snakefile --cores 2{configs}"]
    first = [] if configs else ["make study                       # this page, from nothing"]
    return [*first, f".venv/bin/snakemake --cores 2{configs}    # whatever has changed"]
