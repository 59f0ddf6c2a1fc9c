"""A job imports torch without collecting garbage, and ends with all that it said written."""

from __future__ import annotations

import os
import subprocess
import sys

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
