"""A job imports torch without collecting garbage, and ends with all that it said written."""

from __future__ import annotations

import subprocess
import sys

IMPORTS = """
import gc
from whyrobust.training.quick_start import import_torch
import_torch()
import torch
print(gc.isenabled(), gc.get_freeze_count() > 100_000)
"""

ENDS = """
import atexit, logging, sys
from whyrobust.training.quick_start import leave
handler = logging.FileHandler(sys.argv[1])
logging.getLogger("whyrobust").addHandler(handler)
atexit.register(print, "the interpreter was ended")
logging.getLogger("whyrobust").warning("done")
sys.stdout.write("half a line")
leave()
"""


def run(code, *arguments):
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_torch_is_imported_without_collecting_and_what_comes_after_is_collected():
    assert run(IMPORTS) == ["True True"]


def test_a_job_that_leaves_has_written_what_it_said(tmp_path):
    assert run(ENDS, str(tmp_path / "log")) == ["half a line"]
    assert (tmp_path / "log").read_text(encoding="utf-8") == "done\n"
