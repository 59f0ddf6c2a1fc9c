"""A job without what torch imports for tensors without data trains the same, and can have it after all."""

from __future__ import annotations

import subprocess
import sys

#: Whether torch's shape functions are imported, before and after they are asked for, and what they are needed for.
IMPORTS = """
import gc, sys
from whyrobust.training.quick_start import META_KERNELS, import_meta_kernels, import_torch
import_torch()
import torch
print(META_KERNELS in sys.modules, hasattr(torch, "_meta_registrations"), gc.isenabled())
print(torch.randperm(4, generator=torch.Generator().manual_seed(0)).tolist())
convolved = torch.nn.Conv2d(3, 8, 3)(torch.ones(2, 3, 8, 8))
print(list(torch.nn.BatchNorm2d(8)(convolved).shape))
import_meta_kernels()
from torch._subclasses.fake_tensor import FakeTensorMode
with FakeTensorMode():
    print(list(torch.nn.Conv2d(3, 8, 3)(torch.ones(2, 3, 8, 8)).shape), type(torch.ones(1)).__name__)
with torch.device("meta"):
    print(list(torch.linalg.inv(torch.ones(2, 3, 3)).shape), torch.ones(1).device)
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


def test_torch_is_whole_but_for_shapes_of_tensors_without_data_until_they_are_asked_for():
    import torch

    order = torch.randperm(4, generator=torch.Generator().manual_seed(0)).tolist()
    assert run(IMPORTS) == [
        "False False True",
        str(order),
        "[2, 8, 6, 6]",
        "[2, 8, 6, 6] FakeTensor",
        "[2, 3, 3] meta",
    ]


def test_a_job_that_leaves_has_written_what_it_said(tmp_path):
    assert run(ENDS, str(tmp_path / "log")) == ["half a line"]
    assert (tmp_path / "log").read_text(encoding="utf-8") == "done\n"
