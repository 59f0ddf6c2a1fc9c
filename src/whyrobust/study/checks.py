"""Checks a study's config before any work is done.

Stands alone because it runs while the DAG is built: it may import nothing heavy, and every problem must come out
as one line that names the key, the value found and what is allowed.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import yaml

from whyrobust.study.class_table import ClassTableError, covered_names, read_class_table
from whyrobust.study.display_names import KIND_FIELDS, VERDICTS, name_kind
from whyrobust.study.plan import (
    OWN,
    Comparison,
    Head,
    PlanError,
    Run,
    count_pairs,
    evaluated_rows,
    matches,
    plan_comparisons,
    plan_heads,
    plan_pretrained,
    plan_runs,
)
from whyrobust.study.setting_checks import ConfigError

#: Parts of the icons study; studio_test is split from studio, the others are named by the table of sets.
ICON_PARTS = ("studio", "web", "studio_test", "v2", "rendition", "sketch", "objects")


#: Sections whose keys are names that the user gives: what is there is all there is.
NAMED_BY_USER = ("prompts", "models", "sources", "test_sets", "causes")

#: Kinds of data sets made of photographs: keys that they need, and keys that they may have.
PHOTO_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "image_folder": ({"folder"}, {"class_table"}),
    "image_table": ({"table", "image"}, {"title", "description", "tags", "label", "root"}),
    "webdataset": ({"shards"}, {"image_endings", "text_ending", "fields", "label", "slices"}),
    "yfcc15m": ({"subset"}, {"shards", "metadata", "shorter_side", "slices"}),
    "imagenet": ({"split", "images"}, {"devkit"}),
    "imagenet_captions": ({"annotations", "images"}, set()),
    "imagenet_v2": ({"archive"}, set()),
    "imagenet_r": ({"archive"}, set()),
    "imagenet_a": ({"archive"}, set()),
    "imagenet_sketch": ({"archive"}, set()),
    "objectnet": ({"archive", "class_table"}, {"password"}),
}

#: Keys of a photograph data set that name files or folders which the build reads.
FILE_KEYS = ("folder", "class_table", "table", "root", "shards", "subset", "metadata", "images", "devkit",
             "annotations", "archive")  # fmt: skip

#: Kinds of test sets whose classes are a column of the table of classes, named as the kind.
CLASS_COLUMN_KINDS = ("imagenet_r", "imagenet_a")

#: Kinds that are made of other sources.
DERIVED_KINDS = ("view", "mixture")


def _key(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text or "the config"


def allowed_words(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say in words what a schema node allows."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    parts = []
    if "enum" in schema:
        parts.append("one of " + ", ".join("''" if value == "" else str(value) for value in schema["enum"]))
    if "type" in schema:
        kinds = {"object": "a mapping", "array": "a list", "integer": "a whole number", "number": "a number",
                 "string": "text", "boolean": "true or false", "null": "null"}  # fmt: skip
        parts.append(kinds.get(schema["type"], schema["type"]))
    for key, words in (
        ("minimum", "at least {}"), ("exclusiveMinimum", "above {}"), ("maximum", "at most {}"),
        ("exclusiveMaximum", "below {}"), ("pattern", "matching {}"), ("minItems", "with {} entries or more"),
        ("minProperties", "with {} entries or more"), ("minLength", "not empty"),
    ):  # fmt: skip
        if key in schema:
            parts.append(words.format(schema[key]))
    if schema.get("uniqueItems"):
        parts.append("each value once")
    if "anyOf" in schema:
        first, *others = schema["anyOf"]
        options = [allowed_words(first, definitions)]
        for other in others:
            same = other.get("type") == "array" and other.get("items") == first
            options.append("a list of such values" if same else allowed_words(other, definitions))
        parts.append(", or ".join(options))
    if "items" in schema and schema.get("type") == "array":
        parts.append(f"of ({allowed_words(schema['items'], definitions)})")
    return ", ".join(parts)


def _explain(error: jsonschema.ValidationError, definitions: Mapping[str, Any]) -> str:
    """Turn a schema violation into one line."""
    key = _key(list(error.absolute_path))
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    instance: Any = error.instance
    found = repr(instance)
    found = found if len(found) <= 80 else found[:77] + "..."
    if error.validator == "additionalProperties":
        known = schema.get("properties", {})
        unknown = sorted(str(name) for name in instance if name not in known)
        prefix = "" if key == "the config" else key + "."
        return f"config key {prefix}{unknown[0]} is not known: allowed here are {', '.join(known)}"
    if error.validator == "required":
        missing = [name for name in schema["required"] if name not in instance]
        prefix = "" if key == "the config" else key + "."
        allowed = allowed_words(schema["properties"][missing[0]], definitions)
        return f"config key {prefix}{missing[0]} is missing: give {allowed}"
    if error.absolute_path and "propertyNames" in error.absolute_schema_path:
        return f"config key {key} has an entry named {found}: allowed is {allowed_words(schema, definitions)}"
    return f"config key {key} is {found}: allowed is {allowed_words(schema, definitions)}"


def _is_whole(_checker: object, value: object) -> bool:
    # JSON Schema takes 300.0 for a whole number; here it would end in names of runs and files.
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(_checker: object, value: object) -> bool:
    # NaN lies within every range, since no comparison with it holds.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole).redefine(
        "number", _is_finite
    ),
)


@cache
def _read_schema(path: Path) -> dict[str, Any]:
    # Every start of Snakemake reads it, on a cluster twice a job: libyaml's loader, where there is one, is much faster.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schema: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    return schema


def _texts(node: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every text in a config with its place, keys among them."""
    if isinstance(node, str):
        yield path, node
    elif isinstance(node, Mapping):
        for name, value in node.items():
            if isinstance(name, str):
                yield path, name
            yield from _texts(value, (*path, name))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from _texts(value, (*path, number))


def check_schema(config: Mapping[str, Any], schema_path: Path | str) -> None:
    """Check a config against the schema.

    Raises:
        ConfigError: the first problem, as one line.
    """
    for path, text in _texts(config):
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
            # A line break at the end would pass a pattern, and none of them can be part of a path.
            raise ConfigError(
                f"config key {ascii(_key(path))[1:-1]} has {text[:80]!a}: allowed is text without line breaks and "
                "control characters"
            )
    schema = _read_schema(Path(schema_path))
    errors = _Validator(schema).iter_errors(dict(config))
    first = min(errors, key=lambda error: (len(error.absolute_path), str(list(error.absolute_path))), default=None)
    if first is not None:
        raise ConfigError(_explain(first, schema.get("$defs", {})))


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Fill what a config leaves out; nested settings key by key, but names that the user chose are never added to."""
    filled = dict(config)
    for key, value in defaults.items():
        if key not in filled:
            filled[key] = value
        elif isinstance(value, Mapping) and isinstance(filled[key], Mapping) and key not in NAMED_BY_USER:
            filled[key] = with_defaults(filled[key], value)
    return filled


def in_distribution_test_set(test_sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the name of the one in-distribution test set."""
    names = [name for name, facts in test_sets.items() if facts["role"] == "in_distribution"]
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ConfigError(
            f"config key test_sets has {len(names)} entries with role in_distribution ({found}): allowed is one"
        )
    return names[0]


def read_class_counts(path: Path | str) -> dict[str, dict[str, int]]:
    """Return the number of images of each class by part from the columns ``<part>_images`` of the class table.

    Raises:
        ConfigError: the file is no table with a column ``class``, a class comes twice or has no name, or a number is
            none.
    """
    place = f"config key data.classes is '{path}'"
    columns, rows = _read_classes(path)
    if "class" not in columns:
        raise ConfigError(
            f"{place}, a table without the column 'class': allowed is a CSV with class, and name if wanted"
        )
    names = [row["class"] or "" for row in rows]
    if not rows or not all(name.strip() for name in names):
        raise ConfigError(
            f"{place}, which {'has a class without a name' if rows else 'has no class'}: name every class"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"{place}, where class '{twice[0]}' comes twice: allowed is each class once")
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for column in columns:
            if column.endswith("_images"):
                value = row[column] or ""
                if not value.isdecimal():
                    raise ConfigError(f"{place}, where {column} of '{row['class']}' is '{value}': give a whole number")
                counts.setdefault(column.removesuffix("_images"), {})[row["class"]] = int(value)
    return counts


def count_covered_classes(path: Path | str) -> dict[str, int]:
    """Return how many classes each kind of `CLASS_COLUMN_KINDS` covers by its column of the class table."""
    _, rows = _read_classes(path)
    return {kind: len(covered_names(rows, kind)) for kind in CLASS_COLUMN_KINDS}


def _read_classes(path: Path | str) -> tuple[list[str], list[dict[str, str]]]:
    try:
        return read_class_table(path)
    except ClassTableError as error:
        raise ConfigError(f"config key data.classes is '{path}': {error}") from error


def _read_sources(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns and the rows of the table of sources, as `downloads.read_pinned_sources` reads it."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            reader = csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE)
            return list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(
            f"config key sources_table is '{path}', which cannot be read as a table in UTF-8 ({error}): give a table"
        ) from error


def photo_datasets(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the sources and test sets that are made of photographs."""
    return {
        name: facts
        for section in ("sources", "test_sets")
        for name, facts in config[section].items()
        if facts["kind"] in PHOTO_KEYS
    }


def files_of(facts: Mapping[str, Any], root: Path) -> list[str]:
    """Return the files and folders that a data set of photographs is read from; patterns of shards are looked up."""
    found: list[str] = []
    for key in FILE_KEYS:
        value = facts.get(key)
        for text in value if isinstance(value, list) else [value] if value is not None else []:
            if any(mark in text for mark in "*?[") and not (root / text).exists():
                base = Path(text)
                start = Path(base.anchor) if base.is_absolute() else root
                matched = sorted(start.glob(base.relative_to(base.anchor).as_posix()))
                found += [
                    path.as_posix() if base.is_absolute() else path.relative_to(root).as_posix() for path in matched
                ]
            else:
                found.append(text)
    return found


def downloadable_files(table: Path, folder: str) -> dict[str, str]:
    """Return, for each path under the folder for downloads that the table of sources knows, its row's name."""
    columns, rows = _read_sources(table)
    missing = [name for name in ("name", "file") if name not in columns]
    if missing:
        raise ConfigError(f"config key sources_table is '{table}', a table without the column '{missing[0]}'")
    found: dict[str, str] = {}
    for row in rows:
        inside = PurePosixPath(row["file"] or "")
        if inside.is_absolute() or not inside.parts or ".." in inside.parts:
            raise ConfigError(
                f"config key sources_table is '{table}', where '{row['name']}' has the file '{row['file']}': "
                "allowed is a path inside the folder for downloads"
            )
        found[Path(folder, inside).as_posix()] = row["name"]
    return found


def read_prompts(path: Path, key: str) -> list[str]:
    """Return the sentences of a prompt set in a file, one a line; empty lines are passed over.

    Raises:
        ConfigError: there is none, or one has no place for the class.
    """
    try:
        sentences = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{key} is '{path}', which is no text in UTF-8 ({error}): give a text file") from error
    wrong = [sentence for sentence in sentences if "{class}" not in sentence]
    if wrong or not sentences:
        what = f"has the line {wrong[0][:80]!a}" if wrong else "has no line"
        raise ConfigError(f"{key} is '{path}', which {what}: allowed are sentences with {{class}}, one a line")
    return sentences


def _check_model(key: str, path: Path) -> None:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(
            f"{key} is '{path}', which is no JSON ({error}): give an open_clip model description"
        ) from error
    needed = ("embed_dim", "vision_cfg", "text_cfg")
    missing = [name for name in needed if name not in described] if isinstance(described, dict) else needed[:1]
    if missing:
        raise ConfigError(f"{key} is '{path}', which lacks {missing[0]}: give an open_clip model description")


def missing_files(how_to_get: Mapping[str, str], root: Path) -> str:
    """Return in one line which files are not there and how to get them; nothing where all are there.

    Args:
        how_to_get: by path, of files that cannot be downloaded.
        root: folder that relative paths start from.
    """
    missing = [f"{path} ({how})" for path, how in sorted(how_to_get.items()) if not (root / path).exists()]
    number = f"{len(missing)} file{'s' if len(missing) > 1 else ''}"
    return f"{number} must be asked for and put in place first: {'; '.join(missing)}" if missing else ""


def check_files(config: Mapping[str, Any], root: Path, data_is_there: bool = True) -> None:
    """Check that the files that the config names are there, or can be downloaded; those of data sets where asked."""
    named = {f"data.{key}": config["data"][key] for key in ("sets", "classes", "nouns") if key in config["data"]}
    named |= {f"models.{name}": path for name, path in config["models"].items()}
    named |= {f"prompts.{name}": path for name, path in config["prompts"].items() if isinstance(path, str)}
    named["sources_table"] = config["sources_table"]
    for key, path in named.items():
        if not (root / path).is_file():
            raise ConfigError(f"config key {key} is '{path}': there is no such file")
    for name, path in config["models"].items():
        _check_model(f"config key models.{name}", root / path)
    for name, value in config["prompts"].items():
        if isinstance(value, str):
            read_prompts(root / value, f"config key prompts.{name}")
    known = downloadable_files(root / config["sources_table"], config["downloads"])
    for section in ("sources", "test_sets") if data_is_there else ():
        for name, facts in config[section].items():
            if facts["kind"] not in PHOTO_KEYS:
                continue
            for key in FILE_KEYS:
                value = facts.get(key, [])
                for text in value if isinstance(value, list) else [value]:
                    found = files_of({key: text}, root)
                    if not found or any(not (root / path).exists() and path not in known for path in found):
                        raise ConfigError(
                            f"config key {section}.{name}.{key} is '{text}': there is no such file, and "
                            f"{config['sources_table']} does not say how to download it"
                        )


@dataclass(frozen=True)
class Study:
    """What a valid config asks for.

    Attributes:
        runs: trained models; one that others start from comes before them.
        heads: how each run is read off, by its name, the main head first.
        comparisons: the comparisons.
        components: for every training source, the sources that its images come from and that are made of no other.
    """

    runs: tuple[Run, ...]
    heads: Mapping[str, tuple[Head, ...]]
    comparisons: tuple[Comparison, ...]
    components: Mapping[str, tuple[str, ...]]


#: Keys that a source of each kind has, besides ``kind``.
SOURCE_KEYS: dict[str, tuple[set[str], set[str]]] = {
    **{kind: (needed, optional | {"needs"}) for kind, (needed, optional) in PHOTO_KEYS.items()},
    "icons": ({"part"}, set()),
    "view": ({"of"}, {"class_balanced", "match_classes_of", "labelled"}),
    "mixture": ({"shares"}, set()),
}


#: Keys that a test set of each kind has, besides ``kind``.
TEST_SET_KEYS: dict[str, tuple[set[str], set[str]]] = {
    "icons": ({"part", "pose"}, set()),
    **{
        kind: (needed, optional | {"expected_images", "allow_short"}) for kind, (needed, optional) in PHOTO_KEYS.items()
    },
}


def _check_keys(key: str, facts: Mapping[str, Any], needed: set[str], optional: set[str]) -> None:
    given = set(facts) - {"kind", "role", "classes"}
    if needed - given:
        raise ConfigError(f"{key}.{min(needed - given)} is missing: kind '{facts['kind']}' needs it")
    if given - needed - optional:
        raise ConfigError(f"{key}.{min(given - needed - optional)} is not known for kind '{facts['kind']}': remove it")


def check_test_sets(test_sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that each test set has the keys of its kind."""
    for name, facts in test_sets.items():
        _check_keys(f"config key test_sets.{name}", facts, *TEST_SET_KEYS[facts["kind"]])
        if facts["kind"] == "image_table" and "label" not in facts:
            raise ConfigError(f"config key test_sets.{name}.label is missing: a test set needs a column with classes")
        if facts["kind"] == "objectnet" and facts["classes"] != "own":
            raise ConfigError(
                f"config key test_sets.{name}.classes is '{facts['classes']}': allowed for objectnet is own"
            )


def check_sources(sources: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Check that each source has the keys of its kind and builds on sources that are made of no other.

    Returns:
        The sources that each source's images come from.
    """
    plain = [name for name, facts in sources.items() if facts["kind"] not in DERIVED_KINDS]
    components: dict[str, tuple[str, ...]] = {}
    for name, facts in sources.items():
        key, kind, given = f"config key sources.{name}", facts["kind"], set(facts) - {"kind"}
        needed, optional = SOURCE_KEYS[kind]
        _check_keys(key, facts, needed, optional)
        if kind == "yfcc15m" and len({"shards", "metadata"} & given) != 1:
            raise ConfigError(f"{key} needs one of shards (images that are there) and metadata (to download them)")
        if "shorter_side" in given and "metadata" not in given:
            raise ConfigError(f"{key}.shorter_side is for photographs that are downloaded: remove it, or give metadata")
        if kind == "view" and len(given & optional) != 1:
            raise ConfigError(
                f"{key} is a view with {len(given & optional)} rules: give one of {', '.join(sorted(optional))}"
            )
        components[name] = {
            "view": (facts.get("of", ""),),
            "mixture": tuple(facts.get("shares", {})),
        }.get(kind, (name,))
        for other in (*components[name], *([facts["match_classes_of"]] if "match_classes_of" in facts else [])):
            if other not in plain:
                raise ConfigError(f"{key} builds on '{other}': allowed are {', '.join(plain)}")
        photographs = {sources[part]["kind"] in PHOTO_KEYS for part in components[name]}
        if len(photographs) > 1:
            raise ConfigError(f"{key} mixes icons with photographs: allowed are sources of one of the two")
        total = sum(facts.get("shares", {"": 1.0}).values())
        if abs(total - 1.0) > 1e-6:
            raise ConfigError(f"{key}.shares add up to {total:g}: allowed is 1")
    return components


def check_data(
    config: Mapping[str, Any],
    counts: Mapping[str, Mapping[str, int]],
    runs: Sequence[Run],
    components: Mapping[str, Sequence[str]],
    covered: Mapping[str, int],
) -> None:
    """Check parts, classes and sizes against the counts of the class table.

    The counts are those before decontamination, so a size that is a little too large is found only when the
    subset is drawn.
    """
    icon_sources = {name: facts for name, facts in config["sources"].items() if facts["kind"] == "icons"}
    icon_tests = {name: facts for name, facts in config["test_sets"].items() if facts["kind"] == "icons"}
    _check_dataset_names(config, bool(icon_sources or icon_tests))
    for section, entries in (("sources", icon_sources), ("test_sets", icon_tests)):
        for name, facts in entries.items():
            key = f"config key {section}.{name}.part"
            if facts["part"] not in counts:
                raise ConfigError(f"{key} is '{facts['part']}': allowed is one of {', '.join(sorted(counts))}")
            empty = [label for label, images in counts[facts["part"]].items() if images == 0]
            needed = section == "sources" or facts["classes"] == "all"
            if empty and needed:
                raise ConfigError(
                    f"config key data.classes is '{config['data']['classes']}': class '{empty[0]}' has no images "
                    f"in part '{facts['part']}', allowed are classes with at least one"
                )
    for name, facts in config["test_sets"].items():
        if facts["classes"] == "own" and covered.get(facts["kind"], 1) == 0:
            raise ConfigError(
                f"config key data.classes is '{config['data']['classes']}', which says true of no class in a column "
                f"{facts['kind']}: test_sets.{name} needs it, true for each class that the test set covers"
            )
    shared = {facts["part"] for facts in icon_sources.values()} & {facts["part"] for facts in icon_tests.values()}
    if shared:
        raise ConfigError(
            f"config key sources uses part '{min(shared)}', which test_sets uses too: allowed is a part once"
        )
    if config["data"].get("pool") == "labelled":
        for run in runs:
            if not set(components[run.source]) <= set(icon_sources):
                continue
            held = _most_images(
                config["sources"][run.source],
                {name: counts[icon_sources[name]["part"]] for name in icon_sources},
                components[run.source],
            )
            if run.train_images > held:
                raise ConfigError(
                    f"config key runs has train_images {run.train_images} for source '{run.source}': "
                    f"allowed is at most {held}"
                )


def _most_images(facts: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]], components: Sequence[str]) -> int:
    """Return how many images a source can have at most, from the images of each class of every plain source.

    A mixture, and a view in the proportions of another source, end where the first of their parts is used up; Webster's
    rule may give a part half an image less than its share (`subsets.draw_mixture`).
    """
    totals = {name: sum(counts[name].values()) for name in counts}
    if facts["kind"] == "mixture":
        return min(int((totals[name] + 0.5) / share) for name, share in facts["shares"].items())
    if "match_classes_of" in facts:
        wanted, held = counts[facts["match_classes_of"]], counts[facts["of"]]
        total = totals[facts["match_classes_of"]]
        return min(
            totals[facts["of"]],
            *(int((held[name] + 1) * total / images) for name, images in wanted.items() if images > 0),
        )
    return sum(totals[name] for name in components)


def _check_dataset_names(config: Mapping[str, Any], icons: bool) -> None:
    """Check that data sets can be told apart, and that a study of icons says how they are split."""
    both = sorted(set(config["sources"]) & set(config["test_sets"]))
    if both:
        raise ConfigError(f"config key test_sets has '{both[0]}', which is a source too: give it another name")
    if not icons:
        return
    for key in ("sets", "nouns", "pool", "held_out_share"):
        if key not in config["data"]:
            raise ConfigError(f"config key data.{key} is missing: data sets of kind icons need it")
    taken = sorted(set(photo_datasets(config)) & set(ICON_PARTS))
    if taken:
        raise ConfigError(
            f"config key sources or test_sets has '{taken[0]}', the name of a part of the icons: rename it"
        )


def check_sizes_matched(config: Mapping[str, Any]) -> None:
    """Check that sizes are matched across sources that are made of no other."""
    for name in config["data"].get("match_sizes", {}).get("across", []):
        if config["sources"].get(name, {"kind": "view"})["kind"] in DERIVED_KINDS:
            plain = [key for key, facts in config["sources"].items() if facts["kind"] not in DERIVED_KINDS]
            raise ConfigError(f"config key data.match_sizes.across has '{name}': allowed is one of {', '.join(plain)}")


def check_shuffled(config: Mapping[str, Any], runs: Sequence[Run], components: Mapping[str, Sequence[str]]) -> None:
    """Check that captions are shuffled in sources only whose records are worked on together."""
    for run in runs:
        for name in components[run.source] if run.caption == "shuffled" else ():
            if config["sources"][name].get("slices", 1) > 1:
                raise ConfigError(
                    f"config key sources.{name}.slices is {config['sources'][name]['slices']}: allowed is 1 where runs "
                    "have the caption 'shuffled', which is drawn among all records of a source"
                )


def check_names(config: Mapping[str, Any]) -> None:
    """Check that grids, heads and comparisons speak of sources, models and prompt sets that the config defines."""
    places = [(f"runs[{i}]", grid) for i, grid in enumerate(config["runs"])]
    places += [(f"runs[{i}].pretrain", grid["pretrain"]) for i, grid in enumerate(config["runs"]) if "pretrain" in grid]
    for i, head in enumerate(config["heads"]):
        places += [(f"heads[{i}]", {"fitted_on": head["fitted_on"]}), (f"heads[{i}].where", head.get("where", {}))]
    places.append(("baseline.standard", config["baseline"]["standard"]))
    for cause, entries in config["causes"].items():
        places += [(f"causes.{cause}[{i}].{side}", entry.get(side, {}))
                   for i, entry in enumerate(entries) for side in ("from", "to", "where")]  # fmt: skip
    known = {
        "source": list(config["sources"]),
        "model": list(config["models"]),
        "prompts": ["", *config["prompts"]],
        "fitted_on": ["", OWN, *config["sources"]],
    }
    for place, values in places:
        for field, allowed in known.items():
            chosen = values.get(field, [])
            for name in chosen if isinstance(chosen, list) else [chosen]:
                if name not in allowed:
                    words = ", ".join(word or "''" for word in allowed)
                    raise ConfigError(f"config key {place}.{field} is '{name}': allowed is one of {words}")


def check_several(config: Mapping[str, Any], runs: Sequence[Run]) -> None:
    """Check that a second measurement speaks of known test sets and has standard models enough."""
    several = config["baseline"].get("several")
    if several is None:
        return
    for name in several["test_sets"]:
        if name not in config["test_sets"]:
            known = ", ".join(config["test_sets"])
            raise ConfigError(f"config key baseline.several.test_sets has '{name}': allowed is one of {known}")
    if len(several["test_sets"]) == len(config["test_sets"]):
        raise ConfigError(
            "config key baseline.several.test_sets has all test sets: allowed are fewer, to leave a shift"
        )
    fitting = [run for run in runs if run.objective == "cross_entropy" and matches(run.as_row(), several["standard"])]
    needed = len(several["test_sets"]) + 2
    if len(fitting) < needed:
        raise ConfigError(
            f"config key baseline.several.standard fits {len(fitting)} planned cross_entropy runs: allowed is {needed} "
            "or more, add runs or widen it"
        )


def check_comparisons(
    runs: Sequence[Run], heads: Mapping[str, Sequence[Head]], comparisons: Sequence[Comparison]
) -> None:
    """Check that there is a baseline to fit and that every comparison has a pair."""
    standard = sum(run.standard for run in runs)
    if standard < 2:
        raise ConfigError(
            f"config key baseline.standard fits {standard} planned runs: allowed is 2 or more, add runs or widen it"
        )
    other = sorted({run.objective for run in runs if run.standard} - {"cross_entropy"})
    if other:
        raise ConfigError(
            f"config key baseline.standard fits runs of objective '{other[0]}': allowed are runs with a classifier, "
            "objective cross_entropy"
        )
    rows = evaluated_rows(runs, heads)
    position: Counter[str] = Counter()
    for comparison in comparisons:
        key = f"config key causes.{comparison.cause}[{position[comparison.cause]}] ('{comparison.name}')"
        position[comparison.cause] += 1
        try:
            pairs = count_pairs(comparison, rows)
        except PlanError as error:
            raise ConfigError(f"{key}: {error}") from error
        if not pairs:
            changed = ", ".join(sorted(comparison.changed))
            raise ConfigError(f"{key} has no pair of planned runs: add runs that differ only in {changed}")


def check_colours(colours: Mapping[str, str], runs: Sequence[Run]) -> None:
    """Check that colours are given for kinds of training that the study has, or for verdicts on effects."""
    evaluated = [run for run in runs if run.evaluated]
    kinds = dict.fromkeys(name_kind(**{name: getattr(run, name) for name in KIND_FIELDS}) for run in evaluated)
    known = [*kinds, *VERDICTS]
    for name in colours:
        if name not in known:
            raise ConfigError(f"config key figures.colours has '{name}': allowed is one of {', '.join(known)}")


def check_shares(training: Mapping[str, Any], objectives: Iterable[str]) -> None:
    """Check that the processes of a run can share its batches evenly, and its machines the processes."""
    processes, nodes = training["gpus_per_run"], training["nodes_per_run"]
    if processes % nodes:
        raise ConfigError(
            f"config key training.gpus_per_run: {processes} GPUs cannot be spread evenly over training.nodes_per_run: "
            f"{nodes} machines; make it a multiple"
        )
    for objective in sorted(objectives):
        batch = training[objective]["batch_size"]
        if batch % processes:
            raise ConfigError(
                f"config key training.{objective}.batch_size: {batch} images cannot be shared evenly by "
                f"training.gpus_per_run: {processes} GPUs; make it a multiple"
            )


def used_sources(config: Mapping[str, Any], study: Study) -> list[str]:
    """Return the training sources that a study needs: those of runs, of fitted heads, and what they are made of."""
    named = {run.source for run in study.runs if not run.published}
    named |= set(config["data"].get("match_sizes", {}).get("across", []))
    for heads in study.heads.values():
        named |= {head.fitted_on for head in heads} - {"", OWN}
    named |= {
        config["sources"][name]["match_classes_of"] for name in named if "match_classes_of" in config["sources"][name]
    }
    return sorted(named | {part for name in named for part in study.components[name]})


def plan_study(config: Mapping[str, Any], schema_path: Path | str, root: Path, data_is_there: bool = True) -> Study:
    """Validate a config and return what it asks for.

    Args:
        config: the merged config.
        schema_path: JSON schema, as YAML.
        root: folder that relative paths in the config start from.
        data_is_there: whether the files of data sets must be there, or be known to the table of downloads; without
            them the cost of a study can be estimated.

    Raises:
        ConfigError: the first problem, as one line that names key, value and what is allowed.
    """
    check_schema(config, schema_path)
    in_distribution_test_set(config["test_sets"])
    components = check_sources(config["sources"])
    check_test_sets(config["test_sets"])
    check_sizes_matched(config)
    check_files(config, root, data_is_there)
    check_names(config)
    try:
        runs = plan_runs(
            config["runs"],
            config["seeds"],
            next(iter(config["models"])),
            config["training"]["samples_seen"],
            config["baseline"]["standard"],
        )
    except PlanError as error:
        raise ConfigError(str(error)) from error
    check_shuffled(config, runs, components)
    table = root / config["data"]["classes"]
    check_data(config, read_class_counts(table), runs, components, count_covered_classes(table))
    try:
        runs += plan_pretrained(config["pretrained"])
    except PlanError as error:
        raise ConfigError(str(error)) from error
    check_shares(config["training"], {run.objective for run in runs if not run.published})
    check_colours(config["figures"]["colours"], runs)
    heads = {run.run: tuple(plan_heads(run, list(config["prompts"]), config["heads"])) for run in runs}
    comparisons = plan_comparisons(config["causes"])
    check_comparisons(runs, heads, comparisons)
    check_several(config, runs)
    return Study(tuple(runs), heads, tuple(comparisons), components)
