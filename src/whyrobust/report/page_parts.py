"""What the sections of the page are made of: panels with a chart, explorers, and data and pictures inside the HTML."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from whyrobust.report.charts.explorer import Choice


@dataclass(frozen=True)
class Panel:
    """One chart of the page.

    Attributes:
        title: heading.
        spec: Vega-Lite spec as JSON that is safe inside a script element.
        svg: drawing for readers without scripts and for print, or nothing where a table says the same.
        description: what it shows, in words.
        notes: what to know about single points.
    """

    title: str
    spec: str
    svg: str
    description: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Explorer:
    """Panels that the reader steers together: what points are coloured and filtered by, and what is hidden at first.

    ``views`` names what the reader may switch between: ``panels`` are the first, ``others`` the second of them.
    ``lines`` are baselines to choose from, with their names; an explorer that has them finds a point by its name.
    ``noun`` names the points.
    """

    name: str
    panels: Sequence[Panel]
    choices: Sequence[Choice]
    hidden: Mapping[str, Sequence[str]]
    background: bool
    lines: Mapping[str, str] = field(default_factory=dict)
    noun: str = "models and heads"
    views: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[Panel] = ()


@dataclass(frozen=True)
class Failure:
    """A part of the page that could not be made, and why; the others are shown all the same."""

    message: str


def attempt(name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever a part of the page is made of
    """Return an optional part of the page, or a `Failure` where it raises an error, which is logged with its traceback.

    A study takes hours or days: a broken side table must not withhold its answer.
    """
    try:
        return make()
    except Exception as error:
        logging.getLogger("whyrobust").exception("%s could not be made", name)
        return Failure(f"{name} could not be made ({type(error).__name__}: {error}).")


def embed_json(value: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Return JSON that is safe inside a script element, whatever names it contains; NaN is an error, as in JSON."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def pack_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows by column, and a column of few texts as codes: a third of the size, since names do not repeat.

    Returns:
        ``{"rows": number, "columns": {name: values or {"texts": [...], "codes": [...]}}}``; None where a row lacks a
        column.
    """
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        texts = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if isinstance(v, str)))}
        if all(isinstance(value, str) for value in values) and 2 * len(texts) < len(values):
            columns[name] = {"texts": list(texts), "codes": [texts[str(value)] for value in values]}
        else:
            columns[name] = values
    return {"rows": len(rows), "columns": columns}


def embed_spec(spec: Mapping[str, Any]) -> str:
    """Return a Vega-Lite spec as `embed_json` does, its data sets packed; the page's script unpacks them."""
    packed = {name: pack_rows(rows) for name, rows in spec.get("datasets", {}).items()}
    return embed_json(dict(spec) | {"datasets": packed})


def picture_uri(data: bytes) -> str:
    """Return the bytes of a PNG, JPEG or WebP picture as a data URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg" if data.startswith(b"\xff\xd8") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
