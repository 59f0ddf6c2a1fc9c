"""A job imports torch without collecting garbage, and ends with all that it said written."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

IMPORTS = """
import gc
from whyrobust.training.quick_start import import_torch
collections = []
gc.callbacks.append(lambda phase, _: collections.append(phase))
import_torch()
during = len(collections)
import torch
print(during, gc.isenabled(), gc.get_freeze_count() > 100_000)
"""

ENDS = """
import atexit, logging, logging.handlers, sys
from whyrobust.training.quick_start import leave
handler = logging.handlers.MemoryHandler(100, target=logging.FileHandler(sys.argv[1]))
logging.getLogger("whyrobust").addHandler(handler)
atexit.register(print, "the interpreter was ended")
logging.getLogger("whyrobust").warning("done")
sys.stdout.write("half a line")
sys.stderr.write("half a warning")
leave()
"""


def run(code, *arguments):
    """Run a program whose streams are buffered, and return what it wrote to them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def test_torch_is_imported_without_collecting_and_what_comes_after_is_collected():
    assert run(IMPORTS) == ("0 True True\n", "")


def test_a_job_that_leaves_has_written_what_it_said(tmp_path):
    assert run(ENDS, str(tmp_path / "log")) == ("half a line", "half a warning")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "done\n"


FREED = """
import resource
from whyrobust.training.quick_start import keep_freed_memory
if {kept}:
    keep_freed_memory()
import numpy as np
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**23)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such option")
def test_freed_memory_is_had_again_without_asking_the_system():
    without, kept = (int(run(FREED.format(kept=kept))[0]) for kept in (False, True))
    assert kept < without / 10
