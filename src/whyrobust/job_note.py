"""The note beside a job's log that says how far it is, for a display to read.

It is no output: it is written whole, at most once a second, and removed when the job has no more to say. What a job
that was killed leaves behind is removed when it starts again (`whyrobust.logs.start_log`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """How far a job is.

    Attributes:
        done: units that are done.
        total: units in all; None where that is not known.
        unit: what is counted, such as ``images``.
        per_second: units a second of late; None before that is measured.
        loss: of the last step; None for jobs that do not train.
        waits_for: what the job waits for instead of working; "" where it works.
    """

    done: float = 0
    total: float | None = None
    unit: str = ""
    per_second: float | None = None
    loss: float | None = None
    waits_for: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all units are done at the present rate; None where that is not known."""
        if self.total is None or not self.per_second:
            return None
        return max(0.0, self.total - self.done) / self.per_second


def note_of(log: Path) -> Path:
    """Return the file of the note of the job with this log."""
    return log.with_suffix(".at_work.json")


def _unfinished(path: Path) -> Path:
    """Return the name of a note while it is written."""
    return path.with_name(f".{path.name}.part")


def write_note(log: Path, note: Note) -> None:
    """Write a note beside a log, whole or not at all; where there is no room, there is none."""
    path = note_of(log)
    temporary = _unfinished(path)
    # Not `files.atomic_path`, which waits for the disk.
    try:
        temporary.write_text(json.dumps(asdict(note)), encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_note(log: Path) -> None:
    """Remove the note of the job with this log."""
    with suppress(OSError):
        _unfinished(note_of(log)).unlink(missing_ok=True)
        note_of(log).unlink(missing_ok=True)


def read_note(log: Path) -> Note | None:
    """Return the note of the job with this log; None where there is none."""
    try:
        return Note(**json.loads(note_of(log).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
