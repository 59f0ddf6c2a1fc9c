"""`make verify`: build the smoke study twice, in two folders and with two process counts, and compare every file."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.studies import differences, digests, make_folder, run_study


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
    if len(one) < 50:
        print(f"only {len(one)} files were found to compare: the study is not whole")
        return 1
    found = differences(one, other)
    for path in found:
        print(f"differs: {path} ({one.get(path, 'absent')[:12]} and {other.get(path, 'absent')[:12]})")
    checkpoints = sum(path.endswith("model.safetensors") for path in one)
    subsets = sum("/subsets/" in path for path in one)
    print(f"{len(one)} files compared, {checkpoints} checkpoints and {subsets} subsets among them: {len(found)} differ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
