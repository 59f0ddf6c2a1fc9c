"""Starting, computing and ending without what costs time and gives nothing: most jobs of a study use torch.

Of the CPU time that a process spends on ``import torch`` and on leaving again, 0.2 s are the garbage collector, which
finds no garbage while modules are read, and 0.4 s the end of the interpreter, which frees one object after the other.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import sys
from typing import NoReturn

#: Numbers of glibc's options: how much free memory it keeps, and above which size a piece comes from the system alone.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

#: Large pieces are kept up to this size.
KEPT_BYTES = 2**30


def import_torch() -> None:
    """Import torch without collecting garbage; later imports of torch find it."""
    gc.disable()
    try:
        importlib.import_module("torch")
    finally:
        gc.enable()
    # What a module consists of stays until the end: the collector need not look at it again.
    gc.freeze()


def keep_freed_memory() -> None:
    """Let the C library keep the memory that a forward pass frees for the next; where it is not glibc, do nothing.

    It gives large pieces back to the system as they are freed, which hands them out again page by page.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        library.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def leave() -> NoReturn:
    """End the process, as done, with nothing but its logs and streams closed: the system frees its memory faster."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
