"""The handler of Snakemake's log that keeps one live display on the terminal while a study runs.

It takes the place of Snakemake's own handler where that writes to a terminal, and of no other: where output is no
terminal, or a logger was chosen by ``--logger``, all stays as it is. It is put in place by the workflow itself, so that
it needs no option, and is there in another folder, as a module, with any profile and without one.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent

from whyrobust.logs import WATCHED
from whyrobust.study.stopped_jobs import last_message
from whyrobust.terminal.at_work import Job, JobAtWork, StudyAtWork
from whyrobust.terminal.view import EMPTY, FULL, INDENT, draw, spell_time, wrap

#: Seconds between two updates: drawing takes time of a core that jobs use.
SECONDS_BETWEEN_UPDATES = 1.0

#: Snakemake's messages that the display says in another way, or later; they are in its log all the same.
SAID_OTHERWISE = (
    "WorkflowError:\nAt least one job",
    "RuleException:",
    "Exiting because a job",
    "Complete log(s)",
    "Shutting down",
)

#: How Snakemake's message starts when the user stops it, and jobs with it (Ctrl-C).
STOPPED_BY_USER = "Terminating processes on user request"

#: Starts of Snakemake's informational messages that say why nothing happens, or that all ends.
NEWS = ("Nothing to be done", STOPPED_BY_USER, "Will exit after finishing")

#: Bars where the terminal's encoding has no signs for them.
PLAIN_BARS = str.maketrans({FULL: "=", EMPTY: "."})


def own_handler(logger: logging.Logger) -> logging.StreamHandler[TextIO] | None:
    """Return Snakemake's own handler, if it writes to a terminal that a display can use."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and isinstance(handler, logging.StreamHandler):
            usable = handler.stream.isatty() and "TERM" in os.environ and Console(file=handler.stream).is_interactive
            return handler if usable else None
    return None


def show_display(logger: logging.Logger, name: str, cores: int | None, plan: Callable[[], Iterable[Job]]) -> bool:
    """Put the display in the place of Snakemake's own handler; return whether there was a terminal for it.

    Args:
        logger: Snakemake's.
        name: of the study.
        cores: that its jobs may use together; None where that is not known.
        plan: returns the jobs of the plan, once that is made.
    """
    replaced = own_handler(logger)
    if replaced is None:
        return False
    display = Display(replaced, name, cores, plan)
    logger.removeHandler(replaced)
    logger.addHandler(display)
    atexit.register(display.close)
    with suppress(ValueError, AttributeError):  # not the main thread, or a system that stops no processes
        signal.signal(signal.SIGCONT, display.mark_resumed)
    return True


class Display(logging.Handler):
    """Shows a study that runs, and messages above it."""

    def __init__(
        self, replaced: logging.StreamHandler[TextIO], name: str, cores: int | None, plan: Callable[[], Iterable[Job]]
    ) -> None:
        super().__init__()
        self.name = replaced.name
        self._replaced, self._plan = replaced, plan
        no_color = getattr(replaced, "nocolor", False) or None  # None: as the environment says
        self._console = Console(file=replaced.stream, highlight=False, markup=False, emoji=False, no_color=no_color)
        self._study = StudyAtWork(name, cores, time.monotonic())
        self._live: Live | None = None
        self._begun = self._in_background = self._stopped_by_user = self._resumed = False
        self._ended = threading.Event()
        #: Of the study and the terminal; held for moments only, and by a thread that may hold it already.
        self._turn = threading.RLock()
        self._updates = threading.Thread(target=self._keep_up_to_date, daemon=True)
        self._told: set[str] = set()

    def mark_resumed(self, *_: object) -> None:
        """Take note that the study was stopped (Ctrl-Z) and goes on: the shell has written below the display."""
        self._resumed = True

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message or an event of Snakemake."""
        try:
            with self._turn:
                event = getattr(record, "event", None)
                if event in (None, LogEvent.ERROR):
                    self._show_message(record)
                else:
                    self._take_event(event, record)
        except Exception:
            self.handleError(record)

    def _take_event(self, event: str, record: logging.LogRecord) -> None:
        now = time.monotonic()
        told = vars(record)
        if event == LogEvent.RUN_INFO:
            self._study.plan(self._plan())
            self._begin()
        elif event == LogEvent.JOB_INFO:
            self._study.start(told["jobid"], now)
        elif event == LogEvent.JOB_FINISHED:
            self._show_warnings(told["job_id"])
            self._study.finish(told["job_id"], now)
        elif event == LogEvent.JOB_ERROR:
            self._show_warnings(told["jobid"])
            self._study.fail(told["jobid"])
            if self._stopped_by_user:
                self._study.failed.pop(told["jobid"], None)

    def _begin(self) -> None:
        if not self._begun and self._study.planned:
            self._begun = True
            os.environ[WATCHED] = "1"
            self._updates.start()

    def _keep_up_to_date(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_UPDATES):
            with self._turn:
                try:
                    for job, warning in self._study.read_notes(time.monotonic()):
                        self._show_warning(job, warning)
                    self._draw()
                except OSError:  # the terminal is gone
                    return

    def _draw(self) -> None:
        """Draw the study anew, where the terminal is ours."""
        if self._ended.is_set():
            return
        self._give_way()
        if self._in_background:
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
            # Which rich hides, and a study that is stopped or killed would leave hidden.
            self._console.show_cursor(True)
        size = self._console.size
        lines = draw(self._study, time.monotonic(), size.width, size.height)
        self._live.update(Text(self._writable(lines), no_wrap=True), refresh=True)

    def _give_way(self) -> None:
        """Leave what was drawn where it is, if the shell has written below it; what is drawn next starts there."""
        was_in_background, self._in_background = self._in_background, _is_in_background(self._replaced.stream)
        if (self._resumed or self._in_background) and self._live is not None:
            self._console.pop_render_hook()
            self._console.clear_live()
            self._live = None
        self._resumed = False
        if self._in_background and not was_in_background and self._begun and not self._ended.is_set():
            self._print(f"{self._study.name} goes on in the background; fg brings its display back.")

    def _show_warnings(self, number: int) -> None:
        """Show what came to the log of a job that is about to leave the display."""
        running = self._study.at_work.get(number)
        for warning in self._study.new_warnings(running) if running else ():
            self._show_warning(running.job, warning)  # type: ignore[union-attr]

    def _show_warning(self, job: Job, warning: str) -> None:
        """Show the warning of a job once, whatever the number of jobs that give it."""
        if warning not in self._told:
            self._told.add(warning)
            self._print(f"{job.stage}{f' ({job.label})' if job.label else ''}: {warning}", "yellow")

    def _show_message(self, record: logging.LogRecord) -> None:
        text = str(record.getMessage() if record.args else record.msg or "")
        said = text.startswith(SAID_OTHERWISE) or not all(_passes(rule, record) for rule in self._replaced.filters)
        if record.levelno < logging.WARNING and not _is_news(record):
            said = True
        if said or not text:
            return
        self._stopped_by_user = self._stopped_by_user or text.startswith(STOPPED_BY_USER)
        study = self._study
        is_over = not (study.waiting or study.at_work)
        # An error before the first job: none will come.
        is_refused = record.levelno >= logging.ERROR and not (study.at_work or study.done or study.failed)
        if self._begun and (is_over or is_refused):
            self._end()
        style = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}.get(record.levelno, "")
        self._print(text, style)

    def _print(self, text: str, style: str = "") -> None:
        """Print a message above the display, its lines broken between words."""
        self._give_way()
        for line in self._writable(text).splitlines():
            indent = line[: len(line) - len(line.lstrip())]
            for part in wrap(line.strip(), self._console.width - 1, indent, indent + INDENT) if line.strip() else [""]:
                self._console.print(Text(part, style), no_wrap=True, overflow="ignore", crop=False)

    def _writable(self, text: str) -> str:
        """Return a text with signs in the place of those that the terminal's encoding lacks."""
        encoding = getattr(self._replaced.stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.translate(PLAIN_BARS).encode(encoding, "replace").decode(encoding)
        return text

    def _end(self) -> None:
        """Take the display away and say what was done; what failed comes last."""
        if self._ended.is_set():
            return
        self._ended.set()
        os.environ.pop(WATCHED, None)
        if not self._begun:
            return
        self._give_way()
        live, self._live = self._live, None
        if live is not None:
            live.stop()
        study = self._study
        took = spell_time(time.monotonic() - study.began)
        self._print(f"{study.name}: {study.done.total()} of {study.planned.total()} jobs done in {took}.")
        if self._stopped_by_user:
            self._print("It was stopped; the same command goes on from what is finished.")
        told = [(running.job, last_words(running)) for running in study.failed.values()]
        for job, words in sorted(told, key=lambda each: bool(each[1])):
            if words or not self._stopped_by_user:
                self._print(f"\n{describe_failure(job, words)}", "red")

    def close(self) -> None:
        """Leave the terminal as it was found."""
        with self._turn:
            self._end()
        super().close()


def last_words(running: JobAtWork) -> str:
    """Return what a job that failed said last; "" where it said nothing."""
    said = [message for log in running.own_logs() if (message := last_message(log))]
    return said[-1] if said else ""


def describe_failure(job: Job, words: str) -> str:
    """Return which job failed, where its log is, and last what it said.

    Args:
        job: that failed.
        words: its last ones; "" where it said nothing.
    """
    head = f"Failed: {job.stage}{f', {job.label}' if job.label else ''}"
    logs = [f"\n{INDENT}Log: {log}" for log in job.logs]
    silent = "it said nothing: it was killed, memory ran out, or it could not start (--verbose shows what jobs write)"
    return f"{head}{''.join(logs)}\n{INDENT}{words or silent}"


def _is_in_background(stream: TextIO) -> bool:
    """Tell whether the terminal is the shell's, or another program's, now: this one runs with ``&`` or after bg."""
    try:
        return os.tcgetpgrp(stream.fileno()) != os.getpgrp()
    except (OSError, ValueError, AttributeError):  # a terminal that has no such groups
        return False


def _passes(rule: object, record: logging.LogRecord) -> bool:
    """Tell whether a record passes a filter of a handler."""
    test = getattr(rule, "filter", rule)
    return bool(test(record))  # type: ignore[operator]


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether an informational message is the workflow's own, or says why nothing happens for a while."""
    return record.pathname.endswith(".smk") or "deployment" in record.pathname or str(record.msg).startswith(NEWS)
