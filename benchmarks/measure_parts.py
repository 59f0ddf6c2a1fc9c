"""What parts of a row take, for the paragraphs of docs/performance.md: processor time of one process, in turn.

    python -m benchmarks.measure_parts            all parts; two minutes on two cores
    python -m benchmarks.measure_parts captions   those of one row

Parts that are compared take turns, fifteen times after one that does not count, and the median is printed. Whole calls
and plans are fewer, in wall time.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.rows import Setting

ROUNDS, CALLS = 15, 5

#: Rules of the same number of jobs: without anything, and with what a stage of a study has.
BARE = """
rule all:
    input: expand("out/{n}.txt", n=range(%d))
rule one:
    output: "out/{n}.txt"
    shell: "touch {output}"
"""
SHAPED = """
rule all:
    input: expand("out/{n}.txt", n=range(%d))
rule base:
    output: "in/{k}.txt"
    shell: "touch {output}"
rule one:
    input: "in/a.txt", "in/b.txt", few=lambda wildcards: f"in/{int(wildcards.n) %% 7}.txt", more="in/c.txt"
    output: table="out/{n}.txt", other="out/{n}.csv"
    log: "logs/{n}.log"
    benchmark: "benchmarks/{n}.tsv"
    conda: "environment.yaml"
    resources: mem_mb=2000, runtime=10, gpu=0
    params: number=lambda wildcards: int(wildcards.n), facts={"a": 1}, versions={"torch": "2"}, text="x", seed=0
    script: "script.py"
"""

Part = tuple[str, float, str]


def processor_seconds(functions: dict[str, Callable[[], object]], setting: Setting) -> dict[str, float]:
    """Return the median processor time of each function, which take turns."""
    took: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(setting.size(ROUNDS, 1)):
        for name, function in functions.items():
            began = time.process_time()
            function()
            took[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in took.items()}


def captions(setting: Setting) -> Iterator[Part]:
    """Yield the steps from records to labels."""
    import pyarrow as pa

    from benchmarks.match_captions import FIELDS, batches_of, open_matcher
    from benchmarks.texts import write_texts
    from whyrobust.data.captions import join_fields

    path, count = setting.folder / "records.parquet", setting.size(500_000, 2_000)
    write_texts(path, count, seed=0)
    pa.set_cpu_count(1)
    batches = list(batches_of(path, range(count)))
    joined = [join_fields([batch[name] for name in FIELDS]) for batch in batches]
    matcher = open_matcher()
    took = processor_seconds(
        {
            "reading": lambda: list(batches_of(path, range(count))),
            "joining": lambda: [join_fields([batch[name] for name in FIELDS]) for batch in batches],
            "labelling": lambda: [matcher.label_records([texts]) for texts in joined],
        },
        setting,
    )
    yield from ((name, seconds / count * 1e6, "µs a caption") for name, seconds in took.items())


def subset(setting: Setting) -> Iterator[Part]:
    """Yield two ways to the keys of records."""
    count = setting.size(300_000, 500)
    uids = [b"%d" % number for number in range(10**10, 10**10 + count)]
    seeded = hashlib.sha256(b"0\x00")

    def copied() -> None:
        for uid in uids:
            hashed = seeded.copy()
            hashed.update(uid)
            hashed.digest()

    took = processor_seconds(
        {"a hash anew": lambda: [hashlib.sha256(b"0\x00" + uid).digest() for uid in uids], "a copied hash": copied},
        setting,
    )
    yield from ((name, seconds / count * 1e6, "µs a record") for name, seconds in took.items())


def scoring(setting: Setting) -> Iterator[Part]:
    """Yield a first and later calls in one process, and steps that were taken out or made faster."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    from benchmarks.score_zero_shot import ours, prepare
    from whyrobust.data.preprocessing import WHITE_PAGE_MEAN, WHITE_PAGE_STD
    from whyrobust.training.augmentation import normalise_pixels

    prepare(setting)
    calls = range(setting.size(CALLS, 1))
    yield "one prompt set, first call", ours(setting, 1).value, "s"
    yield (
        "one prompt set, later calls",
        statistics.median(ours(setting, 1).value for _ in calls),
        "s",
    )
    yield (
        "five prompt sets, later calls",
        statistics.median(ours(setting, 5).value for _ in calls),
        "s",
    )
    torch.set_num_threads(1)
    pixels = torch.randint(0, 256, (512, 32, 32, 3), dtype=torch.uint8)
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (WHITE_PAGE_MEAN, WHITE_PAGE_STD))

    def by_channel() -> torch.Tensor:
        return pixels.permute(0, 3, 1, 2).float().div_(255.0).sub_(mean).div_(spread)

    took = processor_seconds(
        {
            "making a tokenizer": SimpleTokenizer,
            "512 icons normalised by channel": by_channel,
            "512 icons normalised by rows": lambda: normalise_pixels(pixels, WHITE_PAGE_MEAN, WHITE_PAGE_STD),
        },
        setting,
    )
    yield from ((name, seconds * 1e3, "ms") for name, seconds in took.items())


def drawing(setting: Setting) -> Iterator[Part]:
    """Yield a drawing as a whole, and what the drawing library takes of it."""
    import resvg_py

    from benchmarks.draw_icons import SIDE, prepare, read_documents
    from whyrobust.data.svg import draw_svg

    prepare(setting)
    documents = read_documents(setting)[::8]

    def library(document: str) -> object:
        return resvg_py.svg_to_bytes(svg_string=document, width=SIDE, height=SIDE, skip_system_fonts=True)

    took = processor_seconds(
        {
            "drawing": lambda: [draw_svg(document, SIDE) for document in documents],
            "of it the library": lambda: [library(document) for document in documents],
        },
        setting,
    )
    yield from ((name, seconds / len(documents) * 1e3, "ms a drawing") for name, seconds in took.items())


def planning(setting: Setting) -> Iterator[Part]:
    """Yield the start of Snakemake, and a plan of jobs of either kind, in wall time of a process of its own."""
    folder, jobs = setting.folder, setting.size(3000, 10)
    (folder / "environment.yaml").write_text("channels: []\n", encoding="utf-8")
    (folder / "script.py").write_text("print()\n", encoding="utf-8")
    took: dict[str, list[float]] = {"one job": [], "bare": [], "shaped": []}
    for _ in range(setting.size(CALLS, 1)):
        for name, text, count in (("one job", BARE, 1), ("bare", BARE, jobs), ("shaped", SHAPED, jobs)):
            (folder / "Snakefile").write_text(text % count, encoding="utf-8")
            began = time.perf_counter()
            command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet", "all"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            took[name].append(time.perf_counter() - began)
    start, bare, shaped = (statistics.median(times) for times in took.values())
    yield "a plan of one job", start, "s"
    yield "a job of a bare rule", (bare - start) / jobs * 1e3, "ms"
    yield "a job with inputs, parameters, log, environment and script", (shaped - start) / jobs * 1e3, "ms"


PARTS: dict[str, Callable[[Setting], Iterator[Part]]] = {
    "captions": captions,
    "subset": subset,
    "scoring": scoring,
    "drawing": drawing,
    "planning": planning,
}


def main() -> None:
    """Read the command line, measure, print one line per part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of {', '.join(PARTS)}; all without it")
    parser.add_argument("--tiny", action="store_true", help="only show that it works; the figures mean nothing")
    arguments = parser.parse_args()
    chosen = arguments.rows or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"no row is called {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    for row in chosen:
        with tempfile.TemporaryDirectory(prefix="whyrobust-parts-") as folder:
            for name, value, unit in PARTS[row](Setting(Path(folder), tiny=arguments.tiny)):
                print(f"{row}: {name}: {value:.3g} {unit}", flush=True)


if __name__ == "__main__":
    main()
