"""config/paper-small.yaml on the replicas of config/paper-check.yaml: the same runs and comparisons, sizes scaled down.

    python -m tests.small_replica > replicas/paper-small-check.yaml

`make paper-check STUDY=paper-small` does this and runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]

#: What each number of images and of samples of config/paper-small.yaml becomes; another one is an error.
IMAGES = {65536: 160, 131072: 240, 463622: 320, 2000000: 480}
SAMPLES = {3477165: 160, 6954330: 320, 13908660: 480, 37066560: 480, 50975220: 960, 64000000: 1120}


def scaled(value: Any, numbers: dict[int, int]) -> Any:
    """Return a number, or each of a list, as it is on the replicas."""
    return [numbers[one] for one in value] if isinstance(value, list) else numbers[value]


def scale_down(node: Any) -> Any:
    """Return a part of a config with its sizes, samples and models as they are on the replicas."""
    if isinstance(node, list):
        return [scale_down(one) for one in node]
    if not isinstance(node, dict):
        return node
    small = {key: scale_down(value) for key, value in node.items()}
    if "train_images" in node:
        small["train_images"] = scaled(node["train_images"], IMAGES)
    if "samples_seen" in node:
        small["samples_seen"] = scaled(node["samples_seen"], SAMPLES)
    if "model" in node:
        small["model"] = "rn_tiny"
    return small


def make_config() -> dict[str, Any]:
    """Return the config of the small form on the replicas, with one seed."""
    small, check = (
        yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("paper-small", "paper-check")
    )
    asked = {name: scale_down(small[name]) for name in ("heads", "runs", "baseline", "causes", "reported")}
    training = small["training"]
    first = training["progressive_resizing"] | {"image_size": check["data"]["image_size"] // 2, "context_length": 16}
    changed = {"samples_seen": scaled(training["samples_seen"], SAMPLES), "progressive_resizing": first}
    return check | asked | {
        "study": "paper-small-check",
        "training": check["training"] | changed,
        "seeds": [0],
        "pretrained": [],
        "models": {"rn_tiny": check["models"]["rn_tiny"]},
    }  # fmt: skip


if __name__ == "__main__":
    print(yaml.safe_dump(make_config(), sort_keys=False))
