"""Write a config of the same study with other seeds: `python -m tools.other_seeds config.yaml 5 > icons-seeds-5.yaml`.

Every seed of a run is raised by a number, and the study gets a name of its own. What data is held out and how
intervals are drawn stays the same: the repetition is of training, with other subsets, weights and orders.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

#: Keys of the config whose seeds are of runs, or choose runs by them.
OF_RUNS = ("runs", "heads", "baseline", "causes")


def raise_seeds(config: dict[str, Any], number: int) -> dict[str, Any]:
    """Return a config whose runs have other seeds.

    Args:
        config: as it is written.
        number: added to every seed.
    """
    changed = {key: _raised(value, number) if key in OF_RUNS else value for key, value in config.items()}
    return changed | {"seeds": _plus(config.get("seeds", [0]), number), "study": f"{config['study']}_seeds_{number}"}


def _raised(value: Any, number: int) -> Any:  # noqa: ANN401 - any part of a config
    if isinstance(value, list):
        return [_raised(each, number) for each in value]
    if isinstance(value, dict):
        return {key: _plus(each, number) if key == "seed" else _raised(each, number) for key, each in value.items()}
    return value


def _plus(seeds: int | list[int], number: int) -> int | list[int]:
    return [seed + number for seed in seeds] if isinstance(seeds, list) else seeds + number


def main() -> None:
    """Write the config to standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("number", type=int, help="added to every seed of a run")
    given = parser.parse_args()
    config = yaml.safe_load(given.config.read_text(encoding="utf-8"))
    yaml.safe_dump(raise_seeds(config, given.number), sys.stdout, sort_keys=False, allow_unicode=True, width=120)


if __name__ == "__main__":
    main()
