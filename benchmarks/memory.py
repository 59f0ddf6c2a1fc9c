"""The most memory that a measurement held.

Stands alone because `resource.getrusage` alone misleads: a process inherits the figure of the one that started it.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path


def peak_mb(processes: int = 0) -> float:
    """Return the most memory of this process since it began, in MB, and of its children as many times their largest."""
    status = Path("/proc/self/status")
    found = (
        re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"), re.MULTILINE) if status.is_file() else None
    )
    own = int(found.group(1)) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + processes * children) * 1024 / 1e6
