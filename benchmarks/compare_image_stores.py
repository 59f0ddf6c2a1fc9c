"""How fast a random subset of photographs is read from each kind of store, and what making the store costs.

    python benchmarks/compare_image_stores.py --images 20000 --subset 5000

Writes the same pictures as tar shards, as an Arrow IPC file with the bytes in it and as single files, and reads the
same random subset from each in turn: tar shards through an index of offsets (what the workflow does), Arrow, files, and
tar shards read from front to back as a plain WebDataset reader would. docs/performance.md quotes the ratios.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from whyrobust.data.archives import list_tar, read_bytes, write_locations
from whyrobust.data.photo_store import PhotoStore, index_of, write_photographs


def make_pictures(count: int) -> list[bytes]:
    """Return JPEGs of about 30 kB; a few are made and their tails differ, since encoding many would take long."""
    generator = np.random.default_rng(0)
    pictures = []
    for number in range(16):
        small = Image.fromarray(generator.integers(0, 256, (40, 56, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((448, 320), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=88 + number % 5)
        pictures.append(buffer.getvalue())
    return [pictures[number % 16] + number.to_bytes(8, "little") for number in range(count)]


def seconds(action: Callable[[], int]) -> float:
    """Return how long an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    """Read the command line, measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--subset", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    pictures = make_pictures(arguments.images)
    names = [f"{number:08d}" for number in range(len(pictures))]
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        build: dict[str, float] = {}

        def write_shards() -> int:
            for start in range(0, len(pictures), 5_000):
                with tarfile.open(folder / f"{start:08d}.tar", "w") as archive:
                    for name, content in zip(
                        names[start : start + 5_000], pictures[start : start + 5_000], strict=True
                    ):
                        info = tarfile.TarInfo(f"{name}.jpg")
                        info.size = len(content)
                        archive.addfile(info, io.BytesIO(content))
            return len(pictures)

        def index_shards() -> int:
            rows = [(m.path.stem, m) for shard in sorted(folder.glob("*.tar")) for m in list_tar(shard)]
            write_locations(folder / "locations.parquet", rows)
            located = pq.read_table(folder / "locations.parquet")
            write_photographs(folder / "index.arrow", index_of(located, range(len(located))), 0)
            return len(rows)

        def write_arrow() -> int:
            table = pa.table({"uid": names, "bytes": pa.array(pictures, pa.large_binary())})
            with pa.ipc.new_file(str(folder / "store.arrow"), table.schema) as writer:
                writer.write_table(table, max_chunksize=1024)
            return len(table)

        def write_files() -> int:
            for name, content in zip(names, pictures, strict=True):
                place = folder / "files" / name[-2:]
                place.mkdir(parents=True, exist_ok=True)
                (place / f"{name}.jpg").write_bytes(content)
            return len(names)

        write_shards()
        for what, action in (("index of tar shards", index_shards), ("Arrow", write_arrow), ("files", write_files)):
            build[what] = seconds(action)
        os.sync()
        chosen = np.random.default_rng(1).permutation(names)[: arguments.subset].tolist()

        def from_index() -> int:
            store = PhotoStore.open(folder / "index.arrow")
            return sum(len(read_bytes(*place[:3])) for place in store.locate(store.rows_of(chosen)))

        def from_arrow() -> int:
            table = pa.ipc.open_file(pa.memory_map(str(folder / "store.arrow"))).read_all()
            rows = {name: row for row, name in enumerate(table["uid"].to_pylist())}
            column = table["bytes"]
            return sum(len(column[rows[name]].as_py()) for name in chosen)

        def from_files() -> int:
            return sum(len((folder / "files" / name[-2:] / f"{name}.jpg").read_bytes()) for name in chosen)

        def front_to_back() -> int:
            wanted, total = set(chosen), 0
            for shard in sorted(folder.glob("*.tar")):
                with tarfile.open(shard, "r|") as archive:
                    for member in archive:
                        if Path(member.name).stem in wanted:
                            stream = archive.extractfile(member)
                            total += len(stream.read()) if stream else 0
            return total

        readers = {
            "tar shards by index": from_index,
            "Arrow": from_arrow,
            "files": from_files,
            "tar shards front to back": front_to_back,
        }
        if len({reader() for reader in readers.values()}) != 1:
            raise SystemExit("the readers disagree on what the subset holds")
        times: dict[str, list[float]] = {name: [] for name in readers}
        for _ in range(arguments.repeats):
            for name, reader in readers.items():
                times[name].append(seconds(reader))
        size = sum(map(len, pictures)) / 1e6
        print(
            f"{len(pictures):,} pictures, {size:,.0f} MB; {len(chosen):,} of them read at random, from the page cache"
        )
        base = statistics.median(times["tar shards by index"])
        for name, measured in times.items():
            median = statistics.median(measured)
            print(f"  {name:26} {len(chosen) / median:>9,.0f} a second, {median / base:5.2f} times the index's time")
        for name, took in build.items():
            print(f"  making the {name}: {took:.2f} s")


if __name__ == "__main__":
    main()
