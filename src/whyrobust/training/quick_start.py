"""Starting and ending a job without what costs time and gives nothing: most jobs of a study use torch.

Of the CPU time that a process spends on ``import torch`` and on leaving again, 0.2 s are the garbage collector, which
finds no garbage while modules are read, and 0.4 s the end of the interpreter, which frees one object after the other.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from typing import NoReturn


def import_torch() -> None:
    """Import torch without collecting garbage; later imports of torch find it."""
    gc.disable()
    try:
        importlib.import_module("torch")
    finally:
        gc.enable()
    # What a module consists of stays until the end: the collector need not look at it again.
    gc.freeze()


def leave() -> NoReturn:
    """End the process, as done, with nothing but its logs and streams closed: the system frees its memory faster."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
