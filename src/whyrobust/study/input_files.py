"""The files that a config names: the table of classes, prompts, model descriptions, downloads and files of data sets.

Every function says in one line which key names a file that is missing or wrong.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from whyrobust.study.caption_build import BUILT_CAPTIONS, CaptionBuild
from whyrobust.study.class_table import ClassTableError, covered_names, read_class_table
from whyrobust.study.config import Config, Published, Sentences
from whyrobust.study.data_kinds import DATA_KINDS
from whyrobust.study.dataset_settings import Dataset
from whyrobust.study.file_patterns import FILES_IN_FOLDERS, PatternError, matching_files, wrong_shard_number
from whyrobust.study.kind_settings import SET_COLUMNS
from whyrobust.study.pinned_sources import PinnedSource, SourcesTableError, read_pinned_sources
from whyrobust.study.setting_checks import ConfigError
from whyrobust.study.table_cells import LABEL_SEPARATOR, SHOWN_CHARACTERS, shown
from whyrobust.study.training_settings import OPEN_CLIP_SIDE, PIXELS_A_CELL, check_progressive_resizing


def read_class_counts(path: Path | str) -> dict[str, dict[str, int]]:
    """Return the number of images of each class by part from the columns ``<part>_images`` of the class table.

    Raises:
        ConfigError: the file is no table with a column ``class``, a class comes twice or has no name, or a number is
            none.
    """
    found = f"config key data.classes is '{path}'"
    columns, rows = _read_classes(path)
    if "class" not in columns:
        raise ConfigError(
            f"{found}, a table without the column 'class': allowed is a CSV with class, and name if wanted"
        )
    names = [row["class"] or "" for row in rows]
    if not rows or not all(name.strip() for name in names):
        raise ConfigError(
            f"{found}, which {'has a class without a name' if rows else 'has no class'}: name every class"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"{found}, where class '{twice[0]}' comes twice: allowed is each class once")
    _check_class_cells(found, columns, rows)
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for column in columns:
            if column.endswith("_images"):
                value = row[column] or ""
                if not value.isdecimal():
                    raise ConfigError(f"{found}, where {column} of '{row['class']}' is '{value}': give a whole number")
                counts.setdefault(column.removesuffix("_images"), {})[row["class"]] = int(value)
    return counts


def _check_class_cells(found: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    """Check that classes can be written as labels are, and that no cell belongs to no column."""
    repeated = [name for name, count in Counter(columns).items() if count > 1]
    if repeated:
        raise ConfigError(f"{found}, which has the column '{repeated[0]}' twice: keep one")
    for row in rows:
        name = row["class"]
        if name != " ".join(name.split()):
            raise ConfigError(f"{found}, where class {name!r} has a blank too many: remove it")
        if LABEL_SEPARATOR in name:
            raise ConfigError(
                f"{found}, where class '{name}' has a '{LABEL_SEPARATOR}', which separates the classes of a picture of "
                "several: call the class otherwise, and put what it is called into the column name"
            )
        if None in row:
            raise ConfigError(f"{found}, where the row of class '{name}' has more cells than the header: quote commas")


def classes_of_one_name(path: Path | str) -> list[tuple[str, ...]]:
    """Return the classes that are called alike in prompts and captions, upper and lower case and blanks aside."""
    _, rows = _read_classes(path)
    called: dict[str, list[str]] = {}
    for row in rows:
        spoken = " ".join((row.get("name") or row["class"]).split()).casefold()
        called.setdefault(spoken, []).append(row["class"])
    return [tuple(classes) for classes in called.values() if len(classes) > 1]


def check_class_names(path: Path | str, shared_names: str) -> None:
    """Check that no two classes are called alike, unless the config says that some are.

    Raises:
        ConfigError: two are; a model that reads names cannot tell them apart.
    """
    alike = classes_of_one_name(path)
    if alike and shared_names == "error":
        raise ConfigError(
            f"config key data.classes is '{path}', where the classes '{alike[0][0]}' and '{alike[0][1]}' are called "
            "alike: give them names that differ, or set data.shared_names to ambiguous"
        )


def count_covered_classes(path: Path | str) -> dict[str, int]:
    """Return how many classes each kind of data set covers that has a column of its own in the class table."""
    _, rows = _read_classes(path)
    kinds = [kind.name for kind in DATA_KINDS.values() if kind.covered_classes_column]
    return {name: len(covered_names(rows, name)) for name in kinds}


def _read_classes(path: Path | str) -> tuple[list[str], list[dict[str, str]]]:
    try:
        return read_class_table(path)
    except ClassTableError as error:
        raise ConfigError(f"config key data.classes is '{path}': {error}") from error


def named_inputs(dataset: Dataset) -> dict[str, tuple[str, ...]]:
    """Return the files and folders that a data set's settings name, as written, by key."""
    named = {key: getattr(dataset, key) for key in dataset.row.input_keys}
    return {key: value if isinstance(value, tuple) else (value,) for key, value in named.items() if value is not None}


def files_of(dataset: Dataset, root: Path, leave_out: Sequence[str] = ()) -> list[str]:
    """Return the files and folders that a data set is read from; patterns of shards are looked up.

    Args:
        dataset: its settings.
        root: folder that relative paths start from.
        leave_out: keys that are not asked for.
    """
    named = named_inputs(dataset)
    asked = {key: texts for key, texts in named.items() if key not in leave_out}
    return [path for key, texts in asked.items() for path in matching_files(texts, root, FILES_IN_FOLDERS.get(key, ()))]


def downloadable_files(table: Path, folder: str) -> dict[str, PinnedSource]:
    """Return the rows of the table of sources by the path of their file under the folder for downloads.

    Raises:
        ConfigError: see `pinned_sources.read_pinned_sources`.
    """
    try:
        rows = read_pinned_sources(table).values()
    except SourcesTableError as error:
        raise ConfigError(f"config key sources_table is '{table}': {error}") from error
    return {Path(folder, row.file).as_posix(): row for row in rows}


def read_prompts(path: Path, key: str) -> list[str]:
    """Return the sentences of a prompt set in a file, one per line; empty lines are passed over.

    Raises:
        ConfigError: there is none, or one has no place for the class.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key} is '{path}', which is no text in UTF-8 ({error}): give a text file") from error
    # Sets of the hub and of clip_benchmark call the class c.
    sentences = [line.replace("{c}", "{class}") for line in lines]
    wrong = [sentence for sentence in sentences if "{class}" not in sentence]
    if wrong or not sentences:
        what = f"has the line {wrong[0][:SHOWN_CHARACTERS]!a}" if wrong else "has no line"
        raise ConfigError(
            f"{key} is '{path}', which {what}: allowed are sentences with {{class}} or {{c}}, one per line"
        )
    return sentences


def read_prompt_sets(prompts: Mapping[str, Sentences | str], root: Path) -> dict[str, list[str]]:
    """Return the sentences of each prompt set, those in files among them.

    Raises:
        ConfigError: see `read_prompts`.
    """
    return {
        name: read_prompts(root / value, f"config key prompts.{name}") if isinstance(value, str) else list(value)
        for name, value in prompts.items()
    }


def missing_files(how_to_get: Mapping[str, str], root: Path) -> str:
    """Return in one line which files are not there and how to get them; nothing where all are there.

    Args:
        how_to_get: by path, of files that cannot be downloaded.
        root: folder that relative paths start from.
    """
    missing = [f"{path} ({how})" for path, how in sorted(how_to_get.items()) if not (root / path).exists()]
    number = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"
    return f"{number} must be asked for and put in place first: {'; '.join(missing)}" if missing else ""


def check_files(config: Config, root: Path, data_is_there: bool = True) -> None:
    """Check that the files that a config names are there, or can be downloaded; those of data sets where asked.

    Raises:
        ConfigError: one is not, or a model description or prompt set is wrong.
    """
    data = {"sets": config.data.sets, "classes": config.data.classes, "nouns": config.data.nouns}
    named = {f"data.{key}": path for key, path in data.items() if path is not None}
    named |= {f"models.{name}": path for name, path in config.models.items()}
    named |= {f"prompts.{name}": path for name, path in config.prompts.items() if isinstance(path, str)}
    named["sources_table"] = config.sources_table
    for key, path in {**named, "downloads": config.downloads}.items():
        if "{" in path or "}" in path:
            # Snakemake takes braces in a path for a wildcard.
            raise ConfigError(f"config key {key} is '{path}': allowed are paths without braces; rename it")
    for key, path in named.items():
        if not (root / path).is_file():
            raise ConfigError(f"config key {key} is '{path}': there is no such file; correct the path")
    _check_folder("config key downloads", config.downloads, root)
    for key, columns in {"data.sets": SET_COLUMNS, "data.nouns": ("class",)}.items():
        if key in named:
            _check_columns(f"config key {key} is '{named[key]}'", root / named[key], columns)
    for name, path in config.models.items():
        description = read_description(f"config key models.{name}", root / path)
        _check_untrained(f"config key models.{name}", path, description)
        _check_side(f"config key models.{name}", path, description, config.data.image_size)
        check_progressive_resizing(config.training.progressive_resizing, config.data.image_size, path, description)
    for number, entry in enumerate(config.pretrained):
        _check_published(f"config key pretrained[{number}]", entry, root, data_is_there)
    read_prompt_sets(config.prompts, root)
    known = set(downloadable_files(root / config.sources_table, config.downloads))
    build = config.imagenet_captions
    if data_is_there and build is not None:
        _check_build_files(build, root, known, config.sources_table)
        known.add(BUILT_CAPTIONS)
    if data_is_there:
        for section, datasets in (("sources", config.sources), ("test_sets", config.test_sets)):
            for name, dataset in datasets.items():
                _check_dataset_files(f"config key {section}.{name}", dataset, root, known, config.sources_table)


def _check_folder(key: str, path: str, root: Path) -> None:
    """Check that files can be put into a folder, which need not be there yet."""
    for place in (root / path, *(root / path).parents):
        if place.exists() and not place.is_dir():
            raise ConfigError(f"{key} is '{path}', but {place} is a file: allowed is a folder")


def _check_columns(found: str, path: Path, needed: Sequence[str]) -> None:
    """Check that a file is a table with some columns, before a job days later reads it."""
    try:
        columns, _ = read_class_table(path)
    except ClassTableError as error:
        raise ConfigError(f"{found}: {error}") from error
    lacking = [name for name in needed if name not in columns]
    if lacking:
        allowed = ", ".join(needed)
        raise ConfigError(f"{found}, a table without the column '{lacking[0]}': allowed is a CSV with {allowed}")


def _check_build_files(build: CaptionBuild, root: Path, known: Collection[str], table: str) -> None:
    for name, path in build.files.items():
        if not (root / path).exists() and Path(path).as_posix() not in known:
            raise ConfigError(
                f"config key imagenet_captions.{name} is '{path}': there is no such file, and {table} does not say how "
                "to download it; correct the path, or put the file there"
            )


def _check_dataset_files(key: str, dataset: Dataset, root: Path, known: Collection[str], table: str) -> None:
    for name, texts in named_inputs(dataset).items():
        for text in texts:
            if re.match(r"[A-Za-z][\w+.-]+://|pipe:", text):
                raise ConfigError(
                    f"{key}.{name} is '{text}', an address: allowed are files on this machine, so fetch them first, or "
                    f"pin the address in {table}"
                )
            try:
                found = matching_files([text], root, FILES_IN_FOLDERS.get(name, ()))
            except PatternError as error:
                raise ConfigError(f"{key}.{name}: {error}") from error
            missing = [path for path in found if not (root / path).exists() and path not in known]
            if missing or not found:
                lacking = f" '{missing[0]}'" if missing and missing[0] != text else ""
                raise ConfigError(
                    f"{key}.{name} is '{text}': there is no such file{lacking}, and {table} does not say how to "
                    "download it; correct the path, or put the data there"
                )
            wrong = wrong_shard_number(found, root) if name == "shards" else ""
            if wrong:
                raise ConfigError(f"{key}.{name} is '{text}': {wrong}")


def published_files(entry: Published, root: Path) -> list[str]:
    """Return the files that a published model is read from: weights that are no tag of open_clip's, a description."""
    weights = [entry.weights] if (root / entry.weights).is_file() else []
    return [*weights, *([entry.model] if entry.model.endswith(".json") else [])]


#: Endings of files of weights, which no tag of open_clip's has.
WEIGHT_ENDINGS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz", ".npy")


def _check_published(key: str, entry: Published, root: Path, data_is_there: bool) -> None:
    """Check what can be known of a published model without open_clip."""
    if entry.model.endswith(".json"):
        if not (root / entry.model).is_file():
            raise ConfigError(f"{key}.model is '{entry.model}': there is no such file; correct the path")
        read_description(f"{key}.model", root / entry.model)
    elif ":" in entry.model:
        raise ConfigError(
            f"{key}.model is '{entry.model}', which brings weights of its own beside {key}.weights: give a name that "
            "open_clip knows, or the path of a model description"
        )
    named_as_file = "/" in entry.weights or entry.weights.endswith(WEIGHT_ENDINGS)
    if data_is_there and named_as_file and not (root / entry.weights).is_file():
        raise ConfigError(f"{key}.weights is '{entry.weights}': there is no such file; correct the path")


def read_description(key: str, path: Path) -> dict[str, Any]:
    """Return a model description in open_clip's format.

    Raises:
        ConfigError: it is no JSON, or lacks what open_clip needs.
    """
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{key} is '{path}', which is no JSON ({error}): give an open_clip model description"
        ) from error
    needed = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
    for name, kind in needed.items():
        if not isinstance(described, dict) or not isinstance(described.get(name), kind):
            raise ConfigError(f"{key} is '{path}', which lacks {name}: give an open_clip model description")
    return dict(described)


def _check_side(key: str, path: str, description: Mapping[str, Any], image_size: int) -> None:
    """Check that an image encoder of open_clip's own, which has an embedding of each place, has those of the images.

    Raises:
        ConfigError: it has others, so that it could not be evaluated.
    """
    vision = description["vision_cfg"]
    side = vision.get("image_size", OPEN_CLIP_SIDE)
    if vision.get("timm_model_name"):
        return
    if isinstance(vision.get("layers"), list) and image_size % PIXELS_A_CELL:
        raise ConfigError(
            f"{key} is '{path}', a ResNet of open_clip's, and data.image_size is {image_size}: give a multiple of "
            f"{PIXELS_A_CELL}"
        )
    if not isinstance(side, int) or side != image_size:
        raise ConfigError(
            f"{key} is '{path}', whose vision_cfg.image_size is {shown(side)}, and data.image_size is {image_size}: "
            "they must be equal; change one of them"
        )


def _check_untrained(key: str, path: str, description: Mapping[str, Any]) -> None:
    """Check that a description of a model to be trained asks for no weights made elsewhere.

    Raises:
        ConfigError: it does.
    """
    for section in ("vision_cfg", "text_cfg"):
        for name, value in description[section].items():
            if ("pretrained" in name and value) or (name == "hf_model_name" and value):
                raise ConfigError(
                    f"{key} is '{path}', whose {section}.{name} is {shown(value)}: runs start from random weights, "
                    "so nothing is fetched; remove it, or evaluate such a model with pretrained"
                )
