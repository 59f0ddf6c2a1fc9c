"""Logging of workflow scripts: messages and tracebacks go to the job's log and to the terminal.

Stands alone because every script starts with it and nothing else in the package knows about logs.
"""

from __future__ import annotations

import logging
import platform
import sys
import time
from pathlib import Path
from types import TracebackType

#: Seconds between two updates of a progress bar where nobody watches a terminal.
QUIET_INTERVAL_SECONDS = 20.0


def start_log(path: Path | str) -> logging.Logger:
    """Log to ``path`` and to standard error, and let an uncaught error leave its traceback in both."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    logger = logging.getLogger("whyrobust")
    logger.setLevel(logging.INFO)
    logger.handlers.clear()
    to_file = logging.FileHandler(path, mode="w", encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING)
    logger.addHandler(to_file)
    logger.addHandler(to_terminal)
    began = time.perf_counter()
    logger.info("python %s on %s", platform.python_version(), platform.platform())

    def leave_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        logger.error("stopped after %.1f s: %s", time.perf_counter() - began, error, exc_info=(kind, error, trace))

    sys.excepthook = leave_traceback
    return logger


def progress_interval() -> float:
    """Return how many seconds lie between updates of a progress bar: often on a terminal, seldom elsewhere."""
    return 0.5 if sys.stderr.isatty() else QUIET_INTERVAL_SECONDS
