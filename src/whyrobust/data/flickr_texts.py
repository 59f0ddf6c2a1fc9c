"""The texts of many photographs of Flickr, from its API or from YFCC100M's metadata.

The API is asked for days, so every answer is kept as it comes, in a file beside the result: a job that was killed goes
on where it was.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import unquote_plus

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from whyrobust.data.flickr_api import FLICKR, YFCC100M, FlickrError, PhotoText, UnansweredError
from whyrobust.data.readers.yfcc import PhotoIds, list_photo_metadata
from whyrobust.files import atomic_path, read_parquet

logger = logging.getLogger("whyrobust")

#: Columns of a table of texts, see `PhotoText`.
TEXT_SCHEMA = pa.schema(
    [
        ("photo", pa.int64()),
        ("origin", pa.string()),
        ("left_out", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("media", pa.string()),
        ("licence", pa.string()),
    ]
)
ROWS_PER_GROUP = 10_000

#: Photographs in a row without an answer after which Flickr counts as down.
MOST_UNANSWERED_IN_A_ROW = 20

#: Answers between two lines of the log: a quarter of an hour at Flickr's limit.
ANSWERS_PER_LINE = 900

#: Why a photograph without an answer has no texts; the last reason follows.
UNANSWERED = "Flickr did not answer"


def write_texts(path: Path | str, texts: Iterable[PhotoText]) -> int:
    """Write texts as a table of `TEXT_SCHEMA`, a part at a time, and return how many there are."""
    count, rows = 0, iter(texts)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, TEXT_SCHEMA, compression="zstd") as writer:
        while part := [text.as_row() for text in islice(rows, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(part, TEXT_SCHEMA))
            count += len(part)
    return count


def photos_with_texts(paths: Iterable[Path | str]) -> set[int]:
    """Return the photographs that have texts in tables which `write_texts` wrote."""
    tables = [read_parquet(path, ["photo", "left_out"]).to_pylist() for path in paths]
    return {row["photo"] for table in tables for row in table if not row["left_out"]}


# --- Flickr's API ----------------------------------------------------------------------------------------------------


class Answers:
    """Flickr's answers in a file, a line of JSON each: a line that was cut off by a kill is asked for again.

    Args:
        path: of the file, which is made if it is not there.

    Attributes:
        photos: the photographs that are answered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self.photos, size = set[int](), 0
        for text, line in self._lines():
            self.photos.add(text.photo)
            size += len(line)
        if size != path.stat().st_size:
            with atomic_path(path) as temporary, temporary.open("wb") as handle:
                handle.writelines(line for _, line in self._lines())

    def _lines(self) -> Iterator[tuple[PhotoText, bytes]]:
        """Yield each whole line with what it says."""
        with self._path.open("rb") as handle:
            for line in handle:
                try:
                    row = json.loads(line)
                    text = PhotoText(**row | {"tags": tuple(row["tags"])})
                except (ValueError, TypeError, KeyError):
                    continue
                if line.endswith(b"\n") and isinstance(text.photo, int):
                    yield text, line

    def __iter__(self) -> Iterator[PhotoText]:
        """Yield the answers in the order in which they came."""
        return (text for text, _ in self._lines())

    def add(self, text: PhotoText) -> None:
        """Write an answer to the file, before the next photograph is asked for."""
        line = json.dumps(text.as_row()).encode() + b"\n"
        with self._path.open("ab") as handle:
            handle.write(line)
        self.photos.add(text.photo)


def fetch_texts(photos: Iterable[int], answers_path: Path, ask: Callable[[int], PhotoText]) -> Iterator[PhotoText]:
    """Ask for the texts of photographs, and yield one for each; those with an answer are not asked for again.

    A photograph without an answer is asked for once more after all others; if there is none then, `left_out` has the
    reason, and the next job asks again.

    Args:
        photos: their ids.
        answers_path: file that keeps the answers.
        ask: returns Flickr's answer about a photograph, see `FlickrClient.ask`.

    Raises:
        FlickrError: Flickr refuses all requests, or does not answer for many photographs in a row.
    """
    wanted = set(photos)
    answers_path.parent.mkdir(parents=True, exist_ok=True)
    # What an interrupted job left running would ask for the same photographs.
    with FileLock(answers_path.with_name(f".{answers_path.name}.lock")):
        answers = Answers(answers_path)
        logger.info("%d of %d photographs are answered already", len(wanted & answers.photos), len(wanted))
        unanswered = _ask_for(sorted(wanted - answers.photos), answers, ask)
        unanswered = _ask_for(list(unanswered), answers, ask)
    yield from (text for text in answers if text.photo in wanted)
    yield from (PhotoText(photo, FLICKR, f"{UNANSWERED}: {reason}") for photo, reason in unanswered.items())


def _ask_for(photos: list[int], answers: Answers, ask: Callable[[int], PhotoText]) -> dict[int, str]:
    """Ask for photographs and keep the answers; return why others have none, by photograph.

    Raises:
        FlickrError: see `fetch_texts`.
    """
    unanswered: dict[int, str] = {}
    in_a_row = 0
    for number, photo in enumerate(photos, start=1):
        try:
            answers.add(ask(photo))
            in_a_row = 0
        except UnansweredError as error:
            unanswered[photo] = str(error)
            in_a_row += 1
        if in_a_row == MOST_UNANSWERED_IN_A_ROW:
            raise FlickrError(
                f"Flickr gave no answer for {in_a_row} photographs in a row ({unanswered[photo]}): run the same "
                f"command again later; the {len(answers.photos):,} answers so far are kept"
            )
        if number % ANSWERS_PER_LINE == 0:
            logger.info("%d of %d photographs asked for, %d without an answer", number, len(photos), len(unanswered))
    return unanswered


# --- YFCC100M --------------------------------------------------------------------------------------------------------


def look_up_texts(photos: Iterable[int], metadata: Path | str) -> Iterator[PhotoText]:
    """Yield the texts of those photographs that YFCC100M has, in the order of its metadata.

    Args:
        photos: their ids.
        metadata: see `list_photo_metadata`.

    Raises:
        DatasetError: the metadata are damaged.
    """
    for row in list_photo_metadata(PhotoIds(photos), metadata):
        yield PhotoText(
            photo=int(row["photoid"]),
            origin=YFCC100M,
            title=unquote_plus(row["title"]),
            description=unquote_plus(row["description"]),
            tags=tuple(unquote_plus(tag) for tag in row["usertags"].split(",") if tag),
            media="photo",
            licence=row["licensename"],
        )
