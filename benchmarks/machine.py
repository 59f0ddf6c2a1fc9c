"""What a machine is called in the benchmark results, and how busy it is.

Stands alone because figures of different machines must never be mixed: a results file belongs to one machine by name.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import psutil

from whyrobust.training.gpu_locks import ORDER, ORDER_OF_NVIDIA_SMI, VISIBLE, listed_gpus, visible_gpus


def processor_name() -> str:
    """Return the model of the processor as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", information.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slug(text: str) -> str:
    """Return a text as a file name: lower case, words joined by hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def first_gpu(listing: str, chosen: str | None = None) -> str:
    """Return the name of the first GPU that a process sees.

    Args:
        listing: what ``nvidia-smi -L`` says.
        chosen: value of CUDA_VISIBLE_DEVICES; None where it is not set.

    Raises:
        ValueError: it sees none of those that are listed.
    """
    seen, name = visible_gpus(listed_gpus(listing), chosen), ""
    for line in listing.splitlines():
        # A slice (MIG) is listed below its GPU, whose name it has here.
        if gpu := re.match(r"GPU \d+: (.*) \(UUID", line):
            name = gpu[1]
        if seen and f"(UUID: {seen[0]}" in line:
            return name
    raise ValueError(f"{VISIBLE}={chosen} shows none of the GPUs that nvidia-smi -L lists: unset it, or name one")


def describe_machine(device: str) -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, memory, accelerator and the versions that compute."""
    import torch

    facts: dict[str, Any] = {
        "processor": processor_name(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    if device == "cuda":
        # Not asked of torch, which would initialise CUDA: this process is forked. CUDA is to number GPUs as here.
        os.environ.setdefault(ORDER, ORDER_OF_NVIDIA_SMI)
        listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
        facts["accelerator"] = first_gpu(listing, os.environ.get(VISIBLE))
    return facts


def machine_name(facts: dict[str, Any]) -> str:
    """Return the name of the results file of a machine."""
    return slug(facts.get("accelerator") or f"{facts['processor']} {facts['cores']} cores")


def busy_share() -> float:
    """Return the share of all cores that is at work for somebody else, measured over a second."""
    return float(psutil.cpu_percent(interval=1.0)) / 100
