"""Checks a study's config before any work is done.

Stands alone because it runs while the DAG is built: it may import nothing heavy, and every problem must come out
as one line that names the key, the value found and what is allowed.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from whyrobust.plan import Contrast, PlanError, Run, count_pairs, plan_contrasts, plan_runs
from whyrobust.words import VERDICTS, name_kind

#: Parts of the icons study; studio_test is split from studio, the others are named by the table of sets.
ICON_PARTS = ("studio", "web", "studio_test", "v2", "rendition", "sketch", "objects")


class ConfigError(ValueError):
    """A config that cannot be carried out; the message is one line."""


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
                 "string": "text", "boolean": "true or false"}  # fmt: skip
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


def check_schema(config: Mapping[str, Any], schema_path: Path | str) -> None:
    """Check a config against the schema.

    Raises:
        ConfigError: the first problem, as one line.
    """
    schema = yaml.safe_load(Path(schema_path).read_text(encoding="utf-8"))
    errors = jsonschema.Draft202012Validator(schema).iter_errors(dict(config))
    first = min(errors, key=lambda error: (len(error.absolute_path), str(list(error.absolute_path))), default=None)
    if first is not None:
        raise ConfigError(_explain(first, schema.get("$defs", {})))


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
    """Return the number of images of each class by part from the columns ``<part>_images`` of the class table."""
    with Path(path).open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for column, value in row.items():
            if column.endswith("_images"):
                counts.setdefault(column.removesuffix("_images"), {})[row["class"]] = int(value)
    return counts


def check_files(config: Mapping[str, Any], root: Path) -> None:
    """Check that the files that the config names are there."""
    named = {
        "data.sets": config["data"]["sets"],
        "data.classes": config["data"]["classes"],
        "data.nouns": config["data"]["nouns"],
        **{f"models.{name}": path for name, path in config["models"].items()},
    }
    for key, path in named.items():
        if not (root / path).is_file():
            raise ConfigError(f"config key {key} is '{path}': there is no such file")


def check_data(config: Mapping[str, Any], counts: Mapping[str, Mapping[str, int]], runs: Sequence[Run]) -> None:
    """Check parts, classes and sizes against the counts of the class table.

    The counts are those before decontamination, so a size that is a little too large is found only when the
    subset is drawn.
    """
    for section in ("sources", "test_sets"):
        for name, facts in config[section].items():
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
    shared = {facts["part"] for facts in config["sources"].values()} & {
        facts["part"] for facts in config["test_sets"].values()
    }
    if shared:
        raise ConfigError(
            f"config key sources uses part '{min(shared)}', which test_sets uses too: allowed is a part once"
        )
    if config["data"]["pool"] == "labelled":
        for run in runs:
            held = sum(counts[config["sources"][run.source]["part"]].values())
            if run.train_images > held:
                raise ConfigError(
                    f"config key runs has train_images {run.train_images} for source '{run.source}': "
                    f"allowed is at most {held}"
                )


def check_names(config: Mapping[str, Any]) -> None:
    """Check that grids and comparisons speak of sources and models that the config defines."""
    places = [(f"runs[{i}]", grid) for i, grid in enumerate(config["runs"])]
    places.append(("baseline.standard", config["baseline"]["standard"]))
    for cause, entries in config["causes"].items():
        places += [(f"causes.{cause}[{i}].{side}", entry.get(side, {}))
                   for i, entry in enumerate(entries) for side in ("from", "to", "where")]  # fmt: skip
    for place, values in places:
        for field, section in (("source", "sources"), ("model", "models")):
            chosen = values.get(field, [])
            for name in chosen if isinstance(chosen, list) else [chosen]:
                if name not in config[section]:
                    raise ConfigError(
                        f"config key {place}.{field} is '{name}': allowed is one of {', '.join(config[section])}"
                    )


def check_comparisons(runs: Sequence[Run], contrasts: Sequence[Contrast]) -> None:
    """Check that there is a baseline to fit and that every comparison has a pair."""
    standard = sum(run.standard for run in runs)
    if standard < 2:
        raise ConfigError(
            f"config key baseline.standard fits {standard} planned runs: allowed is 2 or more, add runs or widen it"
        )
    position: Counter[str] = Counter()
    for contrast in contrasts:
        key = f"causes.{contrast.cause}[{position[contrast.cause]}]"
        position[contrast.cause] += 1
        if not count_pairs(contrast, runs):
            raise ConfigError(
                f"config key {key} ('{contrast.contrast}') has no pair of planned runs: add runs that differ only in "
                f"{', '.join(sorted(contrast.changed))}"
            )


def check_colours(colours: Mapping[str, str], runs: Sequence[Run]) -> None:
    """Check that colours are given for kinds of training that the study has, or for verdicts on effects."""
    kinds = dict.fromkeys(name_kind(run.objective, run.supervision, run.caption, run.source) for run in runs)
    known = [*kinds, *VERDICTS]
    for name in colours:
        if name not in known:
            raise ConfigError(f"config key figures.colours has '{name}': allowed is one of {', '.join(known)}")


def plan_study(config: Mapping[str, Any], schema_path: Path | str, root: Path) -> tuple[list[Run], list[Contrast]]:
    """Validate a config and return its runs and comparisons.

    Args:
        config: the merged config.
        schema_path: JSON schema, as YAML.
        root: folder that relative paths in the config start from.

    Raises:
        ConfigError: the first problem, as one line that names key, value and what is allowed.
    """
    check_schema(config, schema_path)
    in_distribution_test_set(config["test_sets"])
    check_files(config, root)
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
    check_data(config, read_class_counts(root / config["data"]["classes"]), runs)
    check_colours(config["figures"]["colours"], runs)
    contrasts = plan_contrasts(config["causes"])
    check_comparisons(runs, contrasts)
    return runs, contrasts
