"""The handler of Snakemake's log that keeps one live display on the terminal while a study runs.

It takes the place of Snakemake's own handler where that writes to a terminal, and of no other: where output is no
terminal, or a logger was chosen by ``--logger``, all stays as it is. It is put in place by the workflow itself, so that
it needs no option, and is there in another folder, as a module, with any profile and without one.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text
from snakemake_interface_logger_plugins.common import LogEvent

from whyrobust.logs import WATCHED
from whyrobust.study.stopped_jobs import last_message
from whyrobust.terminal.at_work import Job, StudyAtWork
from whyrobust.terminal.view import INDENT, draw, spell_time, wrap

#: Seconds between two updates: drawing takes milliseconds of one core.
SECONDS_BETWEEN_UPDATES = 1.0

#: Snakemake's messages that the display says in another way, or later; they are in its log all the same.
SAID_OTHERWISE = (
    "WorkflowError:\nAt least one job",
    "RuleException:",
    "Exiting because a job",
    "Complete log(s)",
    "Shutting down",
)


def own_handler(logger: logging.Logger) -> logging.StreamHandler[TextIO] | None:
    """Return Snakemake's own handler, if it writes to a terminal that a display can use."""
    for handler in logger.handlers:
        if handler.name == "DefaultStreamHandler" and isinstance(handler, logging.StreamHandler):
            usable = handler.stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
            return handler if usable else None
    return None


def show_display(logger: logging.Logger, name: str, cores: int, plan: Callable[[], Iterable[Job]]) -> bool:
    """Put the display in the place of Snakemake's own handler; return whether there was a terminal for it.

    Args:
        logger: Snakemake's.
        name: of the study.
        cores: that its jobs may use together.
        plan: returns the jobs of the plan, once that is made.
    """
    replaced = own_handler(logger)
    if replaced is None:
        return False
    display = Display(replaced, name, cores, plan)
    logger.removeHandler(replaced)
    logger.addHandler(display)
    atexit.register(display.close)
    return True


class Display(logging.Handler):
    """Shows a study that runs, and messages above it."""

    def __init__(
        self, replaced: logging.StreamHandler[TextIO], name: str, cores: int, plan: Callable[[], Iterable[Job]]
    ) -> None:
        super().__init__()
        self.name = replaced.name
        self._replaced, self._plan = replaced, plan
        self._console = Console(file=replaced.stream, highlight=False, markup=False, emoji=False)
        self._study = StudyAtWork(name, cores, time.monotonic())
        self._live: Live | None = None
        self._ended = threading.Event()
        #: Of the study and the terminal; held for moments only, and by a thread that may hold it already.
        self._turn = threading.RLock()
        self._updates = threading.Thread(target=self._keep_up_to_date, daemon=True)
        self._told: set[str] = set()

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

    def _begin(self) -> None:
        if self._live is None and self._study.planned:
            os.environ[WATCHED] = "1"
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
            self._updates.start()

    def _keep_up_to_date(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_UPDATES):
            with self._turn:
                for job, warning in self._study.read_notes():
                    self._show_warning(job, warning)
                self._draw()

    def _draw(self) -> None:
        if self._live is not None:
            size = self._console.size
            self._live.update(draw(self._study, time.monotonic(), size.width, size.height), refresh=True)

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
        if self._live is not None and not (self._study.waiting or self._study.at_work):
            self._end()
        style = {logging.WARNING: "yellow", logging.ERROR: "red", logging.CRITICAL: "red"}.get(record.levelno, "")
        self._print(text, style)

    def _print(self, text: str, style: str = "") -> None:
        """Print a message above the display, its lines broken between words."""
        for line in text.splitlines():
            indent = line[: len(line) - len(line.lstrip())]
            for part in wrap(line.strip(), self._console.width - 1, indent, indent + INDENT) if line.strip() else [""]:
                self._console.print(Text(part, style), no_wrap=True, overflow="ignore", crop=False)

    def _end(self) -> None:
        """Take the display away and say what was done; what failed comes last."""
        live, self._live = self._live, None
        self._ended.set()
        os.environ.pop(WATCHED, None)
        if live is None:
            return
        live.stop()
        study = self._study
        took = spell_time(time.monotonic() - study.began)
        self._print(f"{study.name}: {study.done.total()} of {study.planned.total()} jobs done in {took}.")
        for job in study.failed.values():
            self._print(f"\n{failure(job)}", "red")

    def close(self) -> None:
        """Leave the terminal as it was found."""
        with self._turn:
            self._end()
        super().close()


def failure(job: Job) -> str:
    """Return which job failed, where its log is, and last what it said."""
    head = f"Failed: {job.stage}{f', {job.label}' if job.label else ''}"
    logs = [f"\n{INDENT}Log: {log}" for log in job.logs]
    said = [message for log in job.logs if (message := last_message(Path(log)))]
    why = said[-1] if said else "it ended without a message: it was killed, or memory ran out"
    return f"{head}{''.join(logs)}\n{INDENT}{why}"


def _passes(rule: object, record: logging.LogRecord) -> bool:
    """Tell whether a record passes a filter of a handler."""
    test = getattr(rule, "filter", rule)
    return bool(test(record))  # type: ignore[operator]


def _is_news(record: logging.LogRecord) -> bool:
    """Tell whether an informational message is the workflow's own, or says why nothing happens for a while."""
    text = str(record.msg)
    return record.pathname.endswith(".smk") or "deployment" in record.pathname or text.startswith("Nothing to be done")
