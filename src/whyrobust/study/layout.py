"""The layout of a results folder by number, so that an older one is not taken for a damaged one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryFile

from whyrobust.files import write_text

#: What each layout changed, by its number; folders of the first one have no number.
CHANGES = {
    2: "captions are in a folder per variant, captions/<variant>/, no longer in captions/<source>.parquet",
    3: "embeddings of small models are in a folder for several kinds of runs, embeddings/<objective>-<model>-<number>/",
}

#: Today's.
LAYOUT = max(CHANGES)

LAYOUT_FILE = "layout.txt"


class LayoutError(ValueError):
    """A results folder of a layout that this version of the workflow does not know."""


def layout_of(folder: Path) -> int:
    """Return the number of the layout of a results folder; today's where nothing is there yet.

    Raises:
        LayoutError: the file that names it holds something else.
    """
    path = folder / LAYOUT_FILE
    if not path.exists():
        return 1 if (folder / "records").exists() else LAYOUT
    text = path.read_text(encoding="utf-8").strip()
    if not text.isdecimal() or not 1 <= int(text) <= LAYOUT:
        raise LayoutError(
            f"{path} says '{text[:40]}' where a layout from 1 to {LAYOUT} is known: the folder was made by a later "
            "version of the workflow, or the file was edited; use that version, or a study of another name"
        )
    return int(text)


def describe_older_layout(folder: Path) -> str:
    """Return in a line what is elsewhere in a results folder of an older layout; nothing for one of today's.

    Raises:
        LayoutError: see `layout_of`.
    """
    found = layout_of(folder)
    changes = [change for number, change in CHANGES.items() if number > found]
    if not changes:
        return ""
    return (
        f"{folder} is of an older layout, {found} where today's is {LAYOUT}: {'; '.join(changes)}. Nothing is damaged: "
        "what is called differently is made again, and the old files may be removed"
    )


def describe_unwritable(folder: Path) -> str:
    """Return in a line why nothing can be written into a results folder, which is made where it is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return (
            f"Nothing can be written into {folder} ({error.strerror}): allow it, or run in a folder of your own; "
            "nothing was started"
        )


def write_layout(folder: Path) -> None:
    """Write the number of today's layout into a results folder, where it is not there yet."""
    path = folder / LAYOUT_FILE
    if not path.exists() or layout_of(folder) != LAYOUT:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, f"{LAYOUT}\n")
