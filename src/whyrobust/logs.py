"""Logging of workflow scripts: messages and tracebacks go to the job's log and to the terminal.

Every script starts with `start_log`. Where the workflow's display has the terminal (`WATCHED`), all that a job writes
goes to its log, where the display reads it.
"""

from __future__ import annotations

import errno
import logging
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from whyrobust.cores import hold_cores, how_to_go_on
from whyrobust.files import NO_ROOM
from whyrobust.job_note import Note, remove_note, write_note

#: Set for jobs whose terminal is the workflow's own display (`whyrobust.terminal`): they write to their logs alone.
WATCHED = "WHYROBUST_DISPLAY"

#: What switches off the reports of libraries that a stage may import, and the general sign for it.
NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "disabled",
    "NO_ALBUMENTATIONS_UPDATE": "1",
}

#: Errors of a file system that refuses to be written to.
NOT_ALLOWED = (errno.EROFS, errno.EACCES, errno.EPERM)


def advice(error: BaseException, folder: Path) -> str:
    """Return what to do about an error of the file system, or nothing.

    Args:
        error: what was raised; libraries that are not Python's say in words what the number of an error was.
        folder: where the study writes, unless the error names its file.
    """
    if isinstance(error, OSError) and isinstance(error.filename, str | os.PathLike):
        folder = Path(error.filename).parent
    number = error.errno if isinstance(error, OSError) else None
    words = str(error).lower()
    if number in NO_ROOM or any(text in words for text in ("no space left", "file too large", "quota exceeded")):
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free / 1e9
        return (
            f"there is no room to write ({free:.2f} GB are free in {folder}): make room, then run the same command "
            "again; what is finished stays, and the study goes on from there"
        )
    if number in NOT_ALLOWED:
        return f"{folder} may not be written to: allow it, or run in a folder of your own"
    return ""


def start_log(path: Path | str, cores: int = 0, go_on: bool = False) -> logging.Logger:
    """Log to ``path`` and to standard error, and let an uncaught error leave its traceback in both.

    Args:
        path: of the log.
        cores: that the job waits for and holds, see `whyrobust.cores`; none for jobs that wait for a network.
        go_on: write at its end, for a process that another one of the job started; otherwise it is started afresh.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    # Turn off telemetry of libraries; child processes inherit it.
    os.environ.update(NO_TELEMETRY)
    logger = logging.getLogger("whyrobust")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    if not go_on:
        remove_note(Path(path))
        Path(path).write_bytes(b"")
    # Appended to, since several processes and libraries may write to it.
    to_file = logging.FileHandler(path, mode="a", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(to_file)
    if is_watched():
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            with suppress(OSError, ValueError), Path(path).open("ab") as log:  # unless the stream is no file
                os.dup2(log.fileno(), stream.fileno())
    else:
        to_terminal = logging.StreamHandler()
        to_terminal.setLevel(logging.WARNING)
        logger.addHandler(to_terminal)
    began = time.perf_counter()
    logger.info("python %s on %s", platform.python_version(), platform.platform())

    def leave_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logger.error("stopped after %.1f s: %s", time.perf_counter() - began, error, exc_info=(kind, error, trace))
        hint = advice(error, Path(path).parent)
        if hint:
            logger.error("%s", hint)

    sys.excepthook = leave_traceback

    def tell_wait(stopped: Sequence[int]) -> None:
        waiting = f"waiting for {cores} free core{'s' if cores > 1 else ''}"
        if stopped:
            logger.warning("%s: %s", waiting, how_to_go_on(stopped))
        else:
            logger.info("%s", waiting)
        holders = f", kept by stopped process {stopped[0]}" if stopped else ""
        write_note(Path(path), Note(waits_for=f"free cores{holders}"))

    if cores:
        hold_cores(cores, tell_wait)
        remove_note(Path(path))
    return logger


def is_watched() -> bool:
    """Tell whether the workflow's display has the terminal."""
    return WATCHED in os.environ


def current_log() -> Path | None:
    """Return the log that `start_log` opened in this process; None where it did not."""
    for handler in logging.getLogger("whyrobust").handlers:
        if isinstance(handler, logging.FileHandler):
            return Path(handler.baseFilename)
    return None
