"""Progress bars of jobs, which also write how far a job is into the note beside its log (`whyrobust.job_note`)."""

from __future__ import annotations

import sys
import time
from io import StringIO
from typing import Any, TextIO

from tqdm import tqdm

from whyrobust.job_note import Note, remove_note, write_note
from whyrobust.logs import current_log, is_watched

#: Seconds between two notes, and between two updates of a bar on a terminal and elsewhere.
SECONDS_BETWEEN_NOTES = 1.0
QUIET_INTERVAL_SECONDS = 20.0


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """A progress bar of tqdm that writes notes too; it shows itself often on a terminal, seldom elsewhere.

    Where the workflow's own display watches the job, the note is all there is.
    """

    def __init__(self, total: float | None, what: str, unit: str, quiet: bool = False, **other: Any) -> None:  # noqa: ANN401 - tqdm's
        """Start a bar.

        Args:
            total: units in all; None where that is not known.
            what: is done.
            unit: what is counted.
            quiet: show the bar on a terminal only.
            other: arguments of tqdm.
        """
        hidden = is_watched() or (quiet and not sys.stderr.isatty())
        file: TextIO = StringIO() if hidden else sys.stderr
        self._shown_every = 0.0 if file.isatty() else QUIET_INTERVAL_SECONDS
        self._log = current_log()
        self._shown = self._noted = float("-inf")
        #: Loss of the last step that was reported.
        self.loss: float | None = None
        interval = 0.5 if file.isatty() else SECONDS_BETWEEN_NOTES
        settings: dict[str, Any] = {"mininterval": interval, "file": file} | other
        super().__init__(total=total, desc=what, unit=f" {unit}", **settings)

    def display(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - tqdm's
        """Write the note and show the bar, each where it is due; tqdm calls this at most every ``mininterval``."""
        now = time.monotonic()
        if self._log and now - self._noted >= SECONDS_BETWEEN_NOTES:
            self._noted = now
            rate = self.format_dict["rate"]
            if rate is None and self.format_dict["elapsed"]:
                rate = (self.n - self.initial) / self.format_dict["elapsed"]
            write_note(self._log, Note(self.n, self.total, self.unit.strip(), rate, self.loss))
        if now - self._shown >= self._shown_every:
            self._shown = now
            super().display(*arguments, **named)

    def close(self) -> None:
        """End the bar, shown as it is at the end, and remove the note."""
        if not self.disable:
            self._shown = float("-inf")
            super().close()
            if self._log:
                remove_note(self._log)
