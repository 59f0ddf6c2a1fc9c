"""What the sections of the page are made of: panels with a chart, explorers, and data and pictures inside the HTML."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from whyrobust.report.charts.explorer import Choice

_AXIS_PIXELS: Final = 60


@dataclass(frozen=True)
class Panel:
    """One chart of the page.

    Attributes:
        title: heading.
        spec: Vega-Lite spec.
        description: what it shows, in words: its accessible name, and all that readers without scripts get.
        notes: what to know about single points.
        facts: what stands beside the heading.
    """

    title: str
    spec: Mapping[str, Any]
    description: str
    notes: Sequence[str] = ()
    facts: str = ""

    @property
    def height(self) -> int:
        """About how high it is when it is drawn, in pixels, axes included; so much room is kept until then."""
        return int(self.spec["height"]) + _AXIS_PIXELS


@dataclass(frozen=True)
class Explorer:
    """Panels that the reader steers together: what points are coloured and filtered by, and what is hidden at first.

    ``views`` names what the reader may switch between: ``panels`` are the first, ``others`` the second of them.
    ``lines`` are baselines to choose from, with their names; an explorer that has them finds a point by its name.
    ``noun`` names the points. ``pair`` has the fields that give colour and shape at the start, in place of the first
    choice.
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
    pair: tuple[str, str] | None = None


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


def compress_text(text: str) -> str:
    """Return a text as gzip in base64, which the page's script unpacks: nothing in it can end a script element."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


class ChartData:
    """What the page's script reads: the charts of a page, by their keys, and whatever else it is given.

    Names repeat from chart to chart, so all charts share one list of texts; charts of the same rows share those.
    """

    def __init__(self) -> None:
        """Start without a chart."""
        self._specs: dict[str, Mapping[str, Any]] = {}
        self._rows: list[dict[str, Any]] = []
        self._codes: dict[str, int] = {}
        self._folded: list[str] = []

    def add(self, key: str, panel: Panel) -> str:
        """Keep the spec of a panel, each data set as its place in the list of rows (see `pack_rows`); returns the key.

        Raises:
            ValueError: another chart of the page has this key.
        """
        if key in self._specs:
            raise ValueError(f"two charts of the page have the key {key!r}: give each its own in the template")
        places = {name: self._place_of(self.pack_rows(rows)) for name, rows in panel.spec.get("datasets", {}).items()}
        self._specs[key] = dict(panel.spec) | {"datasets": places}
        return key

    def pack_rows(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return rows by column, and a column of texts as codes.

        Returns:
            ``{"rows": number, "columns": {name: values or {"codes": [...]}}}``; None where a row lacks a column. Codes
            are places in the list of texts.
        """
        columns: dict[str, Any] = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            values = [row.get(name) for row in rows]
            if all(isinstance(value, str) for value in values):
                columns[name] = {"codes": [self._codes.setdefault(str(text), len(self._codes)) for text in values]}
            else:
                columns[name] = values
        return {"rows": len(rows), "columns": columns}

    def _place_of(self, packed: dict[str, Any]) -> int:
        """Return the place of packed rows in the list of all of them, a new one where no chart has the same."""
        if packed not in self._rows:
            self._rows.append(packed)
        return self._rows.index(packed)

    def keep(self, html: str) -> int:
        """Keep markup that the script puts into the page later, compressed until then; returns its number."""
        self._folded.append(html)
        return len(self._folded) - 1

    def embed(self, others: Mapping[str, Any]) -> str:
        """Return everything as compressed JSON: ``specs, rows, texts, folded`` and ``others``; NaN is an error."""
        whole = {"specs": self._specs, "rows": self._rows, "texts": list(self._codes), "folded": self._folded, **others}
        return compress_text(json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def picture_uri(data: bytes) -> str:
    """Return the bytes of a PNG, JPEG or WebP picture as a data URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg" if data.startswith(b"\xff\xd8") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def holds_zero(low: float, high: float) -> bool:
    """Tell whether an interval does not leave out zero; one that is not known does not."""
    return not (low > 0 or high < 0)


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
