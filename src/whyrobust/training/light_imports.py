"""Parts of torch and open_clip without what they import besides: each of a study's hundred jobs starts seconds earlier.

`torch.optim` imports torch's compiler at the first use of an optimiser, only to exclude itself from compilation: 1.2 s
of CPU time. open_clip imports timm and torchvision, which imports the compiler too: 2.5 s. A test looks at what a run
has imported, so that another version of these packages is noticed.
"""

from __future__ import annotations

import importlib.util
import inspect
from functools import cache
from pathlib import Path
from types import ModuleType

import torch

#: Methods of all optimisers that torch wraps in an exclusion from compilation.
EXCLUDED_METHODS = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@cache
def keep_compiler_out() -> None:
    """Let optimisers work without torch's compiler: torch keeps each excluded function where it is set here.

    A compiled model is compiled as before; no optimiser is.
    """
    for name in EXCLUDED_METHODS:
        method = inspect.unwrap(getattr(torch.optim.Optimizer, name))
        method.__dict__.setdefault("__dynamo_disable", method)


class AdamW(torch.optim.AdamW):
    """torch's AdamW; `keep_compiler_out` is to be called before."""

    # torch's own wrapper is the same but for a call that ends a compiled graph.
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))


@cache
def open_clip_file(name: str) -> ModuleType:
    """Load a file of open_clip that imports no other, ``loss`` or ``tokenizer``, without the package."""
    package = importlib.util.find_spec("open_clip")
    assert package is not None and package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"whyrobust_open_clip_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
