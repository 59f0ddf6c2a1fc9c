"""What a program that a job starts does when the job dies: it changes no result, so it runs nothing again."""

from __future__ import annotations

import ctypes
import signal
import sys

#: Option of prctl (Linux): signal this process when its parent dies.
PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask for SIGTERM when the parent dies, however it died, so that nothing goes on unseen (Linux).

    It is for the start of another program (`preexec_fn` of `subprocess`).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
