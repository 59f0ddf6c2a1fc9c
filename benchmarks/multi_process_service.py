"""NVIDIA's multi-process service (MPS): with it, processes that share a GPU compute at the same time.

Without it they take turns. Stands alone because it knows nothing of rows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.rows import CannotMeasureError

CONTROL = "nvidia-cuda-mps-control"
LONGEST_CALL = 20.0


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Have the processes that begin in a block share the GPU by a service of their own; it ends with the block.

    Raises:
        CannotMeasureError: there is no such service on this machine.
    """
    if shutil.which(CONTROL) is None:
        raise CannotMeasureError(f"{CONTROL} is not found, which comes with NVIDIA's driver: put its folder into PATH")
    # A short path: that of a socket has a hundred characters at most.
    with tempfile.TemporaryDirectory(prefix="mps-", dir="/tmp") as folder:
        names = {f"CUDA_MPS_{what}_DIRECTORY": folder for what in ("PIPE", "LOG")}
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(names)
        subprocess.run([CONTROL, "-d"], check=True, timeout=LONGEST_CALL)
        try:
            yield
        finally:
            with suppress(subprocess.TimeoutExpired):
                subprocess.run([CONTROL], input="quit\n", text=True, check=False, timeout=LONGEST_CALL)
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
