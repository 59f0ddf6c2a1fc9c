"""Peak memory of the stages of photographs, by the number of image-text pairs.

    python benchmarks/measure_photo_memory.py --pairs 25000 50000 100000

Writes WebDataset shards of tiny pictures with texts as long as Flickr's, then runs the script of each stage in a
process of its own, as its rule does, and prints the most memory that it held (of the process itself, without its
workers) and, in brackets, what it held before it began. docs/performance.md quotes the table.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import runpy
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from whyrobust.study.data_kinds import DATA_KINDS

SCRIPTS = Path(__file__).parent.parent / "workflow" / "scripts"
PAIRS_A_SHARD, TEST_IMAGES = 10_000, 2_000
STAGES = ("build_photo_records", "index_images", "compare_images", "decontaminate", "train_run")


#: Endings of files that are written by their names.
ENDINGS = {"counts": ".csv", "failures": ".csv", "removed": ".csv", "pairs": ".csv", "sizes": ".csv"}


def write_shards(folder: Path, pairs: int, seed: int) -> list[str]:
    """Write tar shards of ``pairs`` pictures of 24x24 pixels with texts and labels; return their paths."""
    generator = np.random.default_rng(seed)
    words = ["".join(chr(97 + letter) for letter in generator.integers(0, 26, 7)) for _ in range(5000)]
    folder.mkdir()
    shards = []
    for start in range(0, pairs, PAIRS_A_SHARD):
        shard = folder / f"{start // PAIRS_A_SHARD:05d}.tar"
        with tarfile.open(shard, "w") as archive:
            for number in range(start, min(start + PAIRS_A_SHARD, pairs)):
                picture = io.BytesIO()
                Image.fromarray(generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(picture, "JPEG")
                text = [words[at] for at in generator.integers(0, 5000, 50)]
                facts = {"title": " ".join(text[:6]), "description": " ".join(text[6:42]), "tags": ",".join(text[42:]),
                         "label": "cat"}  # fmt: skip
                for ending, content in (("jpg", picture.getvalue()), ("json", json.dumps(facts).encode())):
                    info = tarfile.TarInfo(f"{number:09d}.{ending}")
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        shards.append(shard.as_posix())
    return shards


def stage_calls(folder: Path, shards: dict[str, list[str]]) -> list[tuple[str, dict[str, Any]]]:
    """Return each script that is run with what its rule would give it."""

    def at(kind: str, name: str) -> str:
        return str(folder / f"{kind}_{name}{ENDINGS.get(kind, '')}")

    classes = str(folder / "classes.csv")
    calls: list[tuple[str, dict[str, Any]]] = []
    fields = {name: name for name in ("title", "description", "tags")}
    for name in ("test", "source"):
        settings: dict[str, Any] = {"shards": shards[name], "fields": fields}
        if name == "test":
            settings |= {"label": "label", "role": "shift", "classes": "own"}
        calls.append(("build_photo_records", {
            "wildcards": {},
            "input": {"files": [], "fetched": [], "classes": classes},
            "output": {kind: at(kind, name) for kind in ("records", "locations", "pack", "counts", "presence")},
            "params": {"settings": settings, "covered": None, "slice": {"dataset": name},
                       "reader": DATA_KINDS["webdataset"].reader}}))  # fmt: skip
        calls.append(("index_images", {
            "wildcards": {},
            "input": {kind: at(kind, name) for kind in ("locations", "pack")},
            "output": {kind: at(kind, name) for kind in ("images", "fingerprints", "failures")},
            "params": {"border_pixels": 0}}))  # fmt: skip
    both = ("source", "test")
    outputs = {kind: at(kind, "all") for kind in ("removed", "counts", "pairs", "sizes")}
    compared = {kind: at("compared", f"{kind}.parquet") for kind in ("removed", "counts", "pairs")}
    files = ("images", "fingerprints", "records")
    calls.append(("compare_images", {
        "wildcards": {},
        "input": {kind: at(kind, "source") for kind in files},
        "output": compared,
        "params": {"slice": {"dataset": "source"}, "near_duplicate": 0.995, "repeat": None}
        | {f"test_{kind}": {"test": at(kind, "test")} for kind in files}}))  # fmt: skip
    calls.append(("decontaminate", {
        "wildcards": {},
        "input": {},
        "output": outputs,
        "params": {kind: {name: at(kind, name) for name in both}
                   for kind in (*files, "kept")}
        | {f"compared_{kind}": {"source": [path]} for kind, path in compared.items()}
        | {"sources": ["source"], "test_sets": ["test"], "repeat": None},
    }))  # fmt: skip
    calls.append(("train_run", {
        "wildcards": {},
        "input": {"subset": at("kept", "source"), "images": [at("images", "source")], "decoded": [],
                  "captions": [at("captions", "source")], "matched_labels": [], "pretrained": [], "classes": classes,
                  "model": str(SCRIPTS.parent.parent / "resources" / "models" / "rn-tiny.json")},
        "output": {kind: at(kind, "run.csv") for kind in ("weights", "progress", "open_clip")},
        "params": {"run": {"run": "x", "supervision": "captions", "caption": "title", "objective": "clip", "seed": 0},
                   "hyperparameters": {"samples_seen": 64, "batch_size": 32, "learning_rate": 1e-3, "weight_decay": 0.1,
                                       "warmup_share": 0.1, "optimizer": "adamw", "flip": True},
                   "device": "cpu", "image_size": 64, "normalisation": "clip", "shuffle_block_images": 1024,
                   "shuffle_window_blocks": 16, "precision": "fp32", "compile": False, "images_at_once": None,
                   "code": {}, "checkpoint": at("checkpoint", "run.pt")},
        "resources": {"gpu": 0, "processes": 1, "nodes": 1, "loader_threads": 1, "checkpoint_minutes": 0,
                      "checkpoint_steps": 0, "runs_per_gpu": 1},
    }))  # fmt: skip
    return calls


def write_captions(records: str, captions: str) -> None:
    """Write the column of titles that the training stage learns from."""
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(records, columns=["uid", "title"]), captions, compression="zstd")


def run_stage(script: str, given: dict[str, Any], log: str) -> None:
    """Run a script in this process and print the most memory it held, in MB, and before the work began."""
    names = ("wildcards", "input", "output", "params", "resources")
    spaces = {name: SimpleNamespace(**given.get(name, {})) for name in names}
    import pandas  # noqa: F401 - what every stage imports is no part of its work
    import pyarrow.parquet  # noqa: F401

    if script == "train_run":
        import open_clip  # noqa: F401
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    snakemake = SimpleNamespace(**spaces, log=[log], threads=2)
    runpy.run_path(str(SCRIPTS / f"{script}.py"), init_globals={"snakemake": snakemake}, run_name="__main__")
    print(json.dumps([before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))


def measure(pairs: int) -> dict[str, tuple[int, int]]:
    """Return the memory of each stage in MB, before its work and at most."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "classes.csv").write_text("class\ncat\n", encoding="utf-8")
        shards = {"source": write_shards(folder / "source", pairs, 0), "test": write_shards(folder / "test", 2000, 1)}
        for script, given in stage_calls(folder, shards):
            if script == "train_run":
                write_captions(str(folder / "records_source"), str(folder / "captions_source"))
            call = json.dumps([script, given, str(folder / "log")])
            done = subprocess.run(
                [sys.executable, __file__, "--stage", call], capture_output=True, text=True, check=True
            )
            found[script] = tuple(json.loads(done.stdout.splitlines()[-1]))
    return found


def main() -> None:
    """Measure each size and print a row of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[25_000, 50_000, 100_000])
    parser.add_argument("--stage", help="for the processes that this one starts")
    arguments = parser.parse_args()
    if arguments.stage:
        run_stage(*json.loads(arguments.stage))
        return
    print("| pairs | " + " | ".join(STAGES) + " |")
    for pairs in arguments.pairs:
        found = measure(pairs)
        print(f"| {pairs:,} | " + " | ".join(f"{found[s][1]} ({found[s][0]})" for s in STAGES) + " |", flush=True)


if __name__ == "__main__":
    main()
