"""Writes docs/config.md, the list of all config keys, from the schema: `python -m whyrobust.study.config_docs`.

Stands alone because it is no stage of a study: it keeps the documentation and the check of a config in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from whyrobust.files import write_text
from whyrobust.study.checks import allowed_words

SCHEMA = Path("workflow/schemas/config.schema.yaml")
PAGE = Path("docs/config.md")
HEAD = """# Config keys

Made from `{schema}` by `{command}`. Unknown keys are errors; every key is needed unless it says "may be left out".
`config.yaml` has each with a comment.

| key | what | allowed |
|---|---|---|
"""


def _keys(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], key: str = "", optional: bool = False
) -> Iterator[tuple[str, str, str]]:
    """Yield key, what it is and what it allows for a schema node and all below it."""
    reference = schema.get("$ref", "").removeprefix("#/$defs/")
    schema = definitions[reference] if reference else schema
    if key:
        words = allowed_words(schema, definitions) + (", may be left out" if optional else "")
        yield key, schema.get("description", ""), words
    if reference == "condition":  # its fields are those of runs[]
        return
    needed = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        yield from _keys(child, definitions, f"{key}.{name}" if key else name, name not in needed)
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _keys(schema["additionalProperties"], definitions, f"{key}.<name>")
    items = schema.get("items")
    if isinstance(items, Mapping) and ("$ref" in items or "properties" in items):
        yield from _keys(items, definitions, f"{key}[]")


def describe_keys(schema: Mapping[str, Any]) -> str:
    """Return the page for a schema, as Markdown."""
    rows = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (f"`{key}`", what, words)) + " |"
        for key, what, words in _keys(schema, schema.get("$defs", {}))
    ]
    head = HEAD.format(schema=SCHEMA.as_posix(), command="python -m whyrobust.study.config_docs")
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    write_text(PAGE, describe_keys(yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))))
