"""`make verify`: build the smoke study twice, in two folders and with two process counts, and compare every file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.studies import differences, digests, make_folder, run_study


def read_asked(study: Path) -> list[str]:
    """Return the addresses that a study asked for: none where the archive was there before."""
    path = study / "asked.txt"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def main() -> int:
    """Return 0 where the two are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=Path, help="folder of a finished smoke study; built anew where left out")
    parser.add_argument("--cores", type=int, default=max(2, os.cpu_count() or 2))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="whyrobust verify ") as folder:
        studies = [given.first or make_folder(Path(folder, "first")), make_folder(Path(folder, "second"))]
        cores = [given.cores, 1]
        for study, count in list(zip(studies, cores, strict=True))[1 if given.first else 0 :]:
            print(f"building the smoke study in {study} with {count} cores", flush=True)
            run_study(study, count)
        one, other = (digests(study) for study in studies)
        asked = [line for study in studies for line in read_asked(study)]
    if len(one) < 50:
        print(f"only {len(one)} files were found to compare: the study is not whole")
        return 1
    found = differences(one, other)
    for line in asked:
        print(f"asked for an address: {line}")
    for path in found:
        print(f"differs: {path} ({one.get(path, 'absent')[:12]} and {other.get(path, 'absent')[:12]})")
    checkpoints = sum(path.endswith("model.safetensors") for path in one)
    subsets = sum("/subsets/" in path for path in one)
    print(
        f"{len(one)} files compared, {checkpoints} checkpoints and {subsets} subsets among them: {len(found)} differ; "
        f"{len(asked)} addresses asked for"
    )
    return 1 if found or asked else 0


if __name__ == "__main__":
    sys.exit(main())
