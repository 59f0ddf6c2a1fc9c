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
    found: dict[str, None] = {}
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            found |= dict.fromkeys(_STOPPED.findall(path.read_text(encoding="utf-8", errors="replace")))
    return list(found)


def last_message(log: Path) -> str:
    """Return why the job with this log stopped, in its own words; "" where it does not say."""
    try:
        found = _STOPPED.findall(log.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    return str(found[-1]) if found else ""


def describe_stopped(logs: Path, since: float) -> list[str]:
    """Return the log and the message of each job that stopped; arguments as those of `why_stopped`."""
    paths = sorted(path for path in logs.rglob("*.log") if path.stat().st_mtime >= since)
    said = [(path, last_message(path)) for path in paths]
    return [f"{path}:\n    {message}" for path, message in said if message]
