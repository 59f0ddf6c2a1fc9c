"""Why jobs of a study stopped, from their logs: a line each, to be read below all else that a terminal shows."""

from __future__ import annotations

import re
from pathlib import Path

#: How a log ends whose job stopped, as `whyrobust.logs.start_log` has it.
_STOPPED = re.compile(r" ERROR stopped after [\d.]+ s: (.+)$", re.MULTILINE)


def why_stopped(logs: Path, since: float) -> list[str]:
    """Return the message of each job that stopped, in the order of their logs.

    Args:
        logs: folder of a study's logs; a job starts its log afresh.
        since: time (seconds since the epoch) before which a log is not of this call.
    """
    return list(dict.fromkeys(message for path in _logs_since(logs, since) for message in _messages(path)))


def last_message(log: Path) -> str:
    """Return why the job with this log stopped, in its own words; "" where it does not say."""
    return next(reversed(_messages(log)), "")


def describe_stopped(logs: Path, since: float) -> list[str]:
    """Return the log and the message of each job that stopped; arguments as those of `why_stopped`."""
    said = [(path, last_message(path)) for path in _logs_since(logs, since)]
    return [f"{path}:\n    {message}" for path, message in said if message]


def _logs_since(logs: Path, since: float) -> list[Path]:
    return sorted(path for path in logs.rglob("*.log") if path.stat().st_mtime >= since)


def _messages(log: Path) -> list[str]:
    """Return what the job with this log said each time that it stopped, nothing where there is no log."""
    try:
        return _STOPPED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return []
