"""Starting and ending a job without what costs time and gives nothing: the default study has 163 jobs that use torch.

Of the 1.9 s of CPU time that a process spends on ``import torch`` and on leaving again, 0.3 s are shape functions for
tensors without data, 0.2 s the garbage collector, which finds no garbage while modules are read, and 0.4 s the end of
the interpreter, which frees one object after the other.
"""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
from types import ModuleType
from typing import NoReturn

#: Shape functions in Python for tensors without data, as torch.compile traces them. Nothing else needs them.
META_KERNELS = "torch._meta_registrations"

#: What `META_KERNELS` imports and all of torch needs: without it there are no random generators.
NEEDED_BESIDE = "torch._prims"


def import_torch() -> None:
    """Import torch, but for its `META_KERNELS`, which `import_meta_kernels` adds; later imports of torch find it."""
    if "torch" in sys.modules:
        return
    gc.disable()
    # torch imports it last and for its side effects only, so an empty module serves.
    sys.modules[META_KERNELS] = ModuleType(META_KERNELS)
    try:
        torch = importlib.import_module("torch")
        importlib.import_module(NEEDED_BESIDE)
    finally:
        del sys.modules[META_KERNELS]
        gc.enable()
    del torch._meta_registrations
    # What a module consists of stays until the end: the collector need not look at it again.
    gc.freeze()


def import_meta_kernels() -> None:
    """Complete torch, where `import_torch` imported it, before a model is compiled or put on the device ``meta``."""
    importlib.import_module(META_KERNELS)


def leave() -> NoReturn:
    """End the process, as done, with nothing but its logs and streams closed: the system frees its memory faster."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
