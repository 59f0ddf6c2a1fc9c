"""How time and memory grow with the number of image-text pairs, or of runs: three sizes of each stage that grows.

    python -m benchmarks.measure_growth                 all; what `make growth` calls
    python -m benchmarks.measure_growth --stages text subset

Every measurement runs in a process of its own. By the slope between the two largest sizes it says what 15 million and
400 million pairs would take on this machine; that is arithmetic, not a measurement. Prints a table and writes
``benchmarks/results/<machine>-growth.json``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, machine_name, usable_cores
from benchmarks.memory import peak_mb
from benchmarks.write_table import growth_table
from whyrobust.files import write_text

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

#: Numbers of pairs that a study may have: YFCC-15M, and what the published CLIP models were trained on.
ASKED = (15_000_000, 400_000_000)


def match_text(folder: Path, count: int, cores: int) -> float:
    """Assemble and match captions."""
    from benchmarks.match_captions import match_captions, match_columns
    from benchmarks.texts import write_texts

    path = folder / "records.parquet"
    if not path.exists():
        write_texts(path, count, seed=0)
        return 0.0
    return count / match_captions(path, match_columns, count, cores).value


def draw_subset(folder: Path, count: int, cores: int) -> float:
    """Draw 463,622 rows, or a tenth of them all."""
    import pyarrow.parquet as pq

    from benchmarks.draw_rows import write_rows
    from whyrobust.data.subsets import draw_from_files

    path = folder / "kept.parquet"
    if not path.exists():
        write_rows(path, count)
        return 0.0
    began = time.perf_counter()
    subset = draw_from_files([path], min(463_622, count // 10), 0, processes=cores)
    pq.write_table(subset, folder / "subset.parquet", compression="zstd")
    return time.perf_counter() - began


def index_images(folder: Path, count: int, cores: int) -> float:
    """Index photographs in tar shards, and find a tenth of them in the index."""
    import io
    import tarfile

    import numpy as np
    import pyarrow.parquet as pq

    from whyrobust.data.archives import list_tar, read_bytes, write_locations
    from whyrobust.data.photo_store import PhotoStore, index_of, write_photographs

    if not (folder / "00000.tar").exists():
        for shard in range(0, count, 10_000):
            with tarfile.open(folder / f"{shard // 10_000:05d}.tar", "w") as archive:
                for row in range(shard, min(count, shard + 10_000)):
                    info = tarfile.TarInfo(f"{row:09d}.jpg")
                    info.size = 1024
                    archive.addfile(info, io.BytesIO(bytes(1024)))
        return 0.0
    began = time.perf_counter()
    rows = [(member.path.stem, member) for shard in sorted(folder.glob("*.tar")) for member in list_tar(shard)]
    write_locations(folder / "locations.parquet", rows)
    located = pq.read_table(folder / "locations.parquet")
    write_photographs(folder / "index.arrow", index_of(located, range(len(located))), 0)
    store = PhotoStore.open(folder / "index.arrow")
    chosen = np.random.default_rng(0).permutation([f"{row:09d}" for row in range(count)])[: count // 10].tolist()
    for place in store.locate(store.rows_of(chosen)):
        read_bytes(*place[:3])
    return time.perf_counter() - began


def embed_images(folder: Path, count: int, cores: int) -> float:
    """Embed pictures of 32 pixels with the small CLIP model."""
    import numpy as np

    from benchmarks.pictures import draw_icons
    from whyrobust.data.pixel_store import write_pixels

    path = folder / "images.arrow"
    uids = [f"{row:08d}" for row in range(count)]
    if not path.exists():
        write_pixels(path, uids, draw_icons(500, 32, seed=0)[np.arange(count) % 500])
        return 0.0
    import torch

    from whyrobust.data.image_stores import read_images
    from whyrobust.data.preprocessing import study_preprocessing
    from whyrobust.evaluation.embed import embed_images as embed
    from whyrobust.training.models import build_image_encoder, read_model_config

    torch.set_num_threads(cores)
    encoder = build_image_encoder(read_model_config(ROOT / "resources" / "models" / "icon-cnn.json")).eval()
    how = study_preprocessing(32, "white_page")
    began = time.perf_counter()
    embed(encoder, read_images([str(path)], uids, how, cores), how, 512, "cpu")
    return time.perf_counter() - began


def plan_runs(folder: Path, count: int, cores: int) -> float:
    """Plan a study of so many runs; memory is that of the process that plans."""
    import yaml

    from benchmarks.plan_study import many_runs, plan

    config = folder / "study.yaml"
    if not config.exists():
        (folder / "resources").symlink_to(ROOT / "resources")
        config.write_text(yaml.safe_dump(many_runs(count), sort_keys=False), encoding="utf-8")
        return 0.0
    return plan(folder, "--snakefile", str(ROOT / "Snakefile"), "--configfile", "study.yaml")[0]


#: Stage -> what does it, three sizes, what they count, and the sizes to reckon for.
STAGES: dict[str, tuple[Callable[[Path, int, int], float], tuple[int, int, int], str, tuple[int, ...]]] = {
    "text": (match_text, (1_000_000, 4_000_000, 15_000_000), "captions assembled and matched", ASKED),
    "subset": (draw_subset, (1_000_000, 4_000_000, 15_000_000), "records, of which 463,622 at most are drawn", ASKED),
    "images": (index_images, (20_000, 50_000, 100_000), "photographs indexed, a tenth of them read", ASKED),
    "embedding": (embed_images, (5_000, 20_000, 80_000), "icons of 32 pixels embedded", ASKED),
    "planning": (plan_runs, (100, 500, 2_000), "runs planned", (10_000,)),
}


def measure(stage: str, count: int, cores: int) -> dict[str, float]:
    """Prepare and measure a stage at one size, each in a fresh process."""
    with tempfile.TemporaryDirectory(prefix="whyrobust-growth-") as folder:
        command = [sys.executable, "-m", "benchmarks.measure_growth", "--one", stage, str(count), folder]
        command += ["--cores", str(cores)]
        for _ in ("prepare", "measure"):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def reckon(sizes: list[int], values: list[float], count: int) -> float:
    """Return a value at another size, on the line through the two largest sizes that were measured."""
    slope = (values[-1] - values[-2]) / (sizes[-1] - sizes[-2])
    return max(values[-1], values[-1] + slope * (count - sizes[-1]))


def main() -> None:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--shrink", type=int, default=1, help="divide all sizes, to see that it works")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "COUNT", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        stage, count, folder = arguments.one
        took = STAGES[stage][0](Path(folder), int(count), arguments.cores)
        children = {"text": arguments.cores, "subset": arguments.cores, "planning": 1}.get(stage, 0)
        print(json.dumps({"seconds": took, "peak_mb": peak_mb(children)}))
        return
    rows = []
    for stage in arguments.stages:
        _, full, what, asked = STAGES[stage]
        # That it works is seen at two sizes as well.
        sizes = [max(1, size // arguments.shrink) for size in (full if arguments.shrink == 1 else full[:2])]
        found = [measure(stage, size, arguments.cores) for size in sizes]
        row: dict[str, Any] = {"stage": stage, "what": what, "sizes": sizes}
        for figure in ("seconds", "peak_mb"):
            row[figure] = [answer[figure] for answer in found]
        row["reckoned"] = [
            {"count": count, **{figure: reckon(sizes, row[figure], count) for figure in ("seconds", "peak_mb")}}
            for count in asked
        ]
        rows.append(row)
        print(growth_table([row]), flush=True)
    machine = describe_machine("cpu")
    path = arguments.results / f"{machine_name(machine)}-growth.json"
    write_text(
        path,
        json.dumps({"machine": machine, "date": datetime.now(UTC).date().isoformat(), "growth": rows}, indent=1) + "\n",
    )
    print(f"\nEvery figure: {path}")


if __name__ == "__main__":
    main()
