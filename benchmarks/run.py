"""Run the benchmarks: this project and what a user would otherwise pick, in turn, on this machine.

    python -m benchmarks.run                      all rows; what `make bench` calls
    python -m benchmarks.run --rows clip_icons    one of them; make bench ROW=clip_icons
    python -m benchmarks.run --device cuda        the same rows on a GPU

Every measurement runs in a process of its own, ours and the peer's in turn (A B A B), and the ratio of medians is the
figure. Prints one table and writes every figure to ``benchmarks/results/<machine>.json``. Slow is not an error, and a
row that could not be measured says why while the others go on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.machine import busy_share, describe_machine, machine_name, usable_cores
from benchmarks.rows import CannotMeasureError, Measured, Row, Setting, summarise
from benchmarks.write_table import markdown_table
from whyrobust.files import write_text

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

#: Modules with rows, in the order of the table; each has a tuple ``ROWS``.
MODULES = (
    "train_clip_icons",
    "train_labels_icons",
    "train_photographs",
    "time_to_accuracy",
    "train_clip_photographs",
    "measure_limit_share",
    "match_captions",
    "draw_rows",
    "score_zero_shot",
    "score_runs",
    "draw_icons",
    "plan_study",
    "measure_study_share",
)

#: What the rows of a GPU import; nothing of it touches a GPU.
IMPORTED_ONCE = ("open_clip", "torchvision", "whyrobust.training.loop")

#: A measurement that takes longer is given up.
LIMIT_SECONDS = 600

#: Above this share of the cores at work for others, figures are not worth keeping; the table says so.
BUSY_SHARE = 0.2


def all_rows() -> dict[str, Row]:
    """Return every row by its name."""
    return {row.name: row for module in MODULES for row in importlib.import_module(f"benchmarks.{module}").ROWS}


def measure_here(row: Row, side: str, setting: Setting) -> dict[str, Any]:
    """Prepare a row, or measure one side of it, in this process; return what the driver reads back."""
    try:
        if side == "prepare":
            if row.prepare:
                row.prepare(setting)
            return {}
        function = row.ours if side == "ours" else row.measure_peer
        assert function is not None
        measured = function(setting)
    except CannotMeasureError as error:
        return {"problem": str(error)}
    except ImportError as error:
        return {"problem": f"{error}: call make bench, which installs the peers"}
    return {"value": measured.value, "notes": dict(measured.notes)}


def measure_apart(row: Row, side: str, setting: Setting) -> dict[str, Any]:
    """Do the same in a fresh process."""
    answer = setting.folder.with_suffix(".json")
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.run", "--one", row.name, side, str(setting.folder), str(answer)]
    command += ["--device", setting.device, "--cores", str(setting.cores)] + (["--tiny"] if setting.tiny else [])
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"problem": f"took more than {LIMIT_SECONDS} s"}
    if done.returncode or not answer.is_file():
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        return {"problem": f"{side} failed: {last[0]}", "output": done.stdout[-2000:] + done.stderr[-4000:]}
    result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return result


def measure_forked(row: Row, side: str, setting: Setting) -> dict[str, Any]:
    """Do the same in a copy of this process, which has imported torch and has not touched a GPU.

    Where there is a GPU its time is dear, and a fresh process takes longer to start than most rows to measure.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(sender, row, side, setting))
    process.start()
    sender.close()
    try:
        if not receiver.poll(LIMIT_SECONDS):
            process.kill()
            process.join()
            return {"problem": f"took more than {LIMIT_SECONDS} s"}
        answer: dict[str, Any] = receiver.recv()
    except EOFError:
        answer = {"problem": f"{side} failed: its messages are above"}
    process.join()
    return answer


def _tell(sender: Connection, row: Row, side: str, setting: Setting) -> None:
    sender.send(measure_here(row, side, setting))


def run_row(row: Row, setting: Setting, rounds: int | None = None) -> dict[str, Any]:
    """Measure both sides of a row in turn; return its part of the JSON file.

    A tiny row is not measured but tried: in this process, since starting others takes most of the time.

    Args:
        row: what to measure.
        setting: where; its folder is empty.
        rounds: instead of the row's own number.
    """
    facts = {"name": row.name, "what": row.what, "unit": row.unit, "peer": row.peer, "limit": row.limit,
             "better": row.better, "date": datetime.now(UTC).date().isoformat()}  # fmt: skip
    sides = ["ours"] + (["peer"] if row.measure_peer else [])
    found: dict[str, list[Measured]] = {"ours": [], "peer": []}
    began = time.perf_counter()
    turns = ["prepare", *(sides * (rounds or row.rounds))]
    measure = measure_here if setting.tiny else measure_forked if setting.device == "cuda" else measure_apart
    for side in turns:
        answer = measure(row, side, setting)
        if "problem" in answer:
            return facts | answer
        if side != "prepare":
            found[side].append(Measured(answer["value"], answer["notes"]))
    facts["took_seconds"] = round(time.perf_counter() - began, 1)
    return facts | summarise(row, setting.device, found["ours"], found["peer"])


def write_results(path: Path, machine: dict[str, Any], rows: list[dict[str, Any]], order: list[str]) -> dict[str, Any]:
    """Write the rows into a machine's file, in place of older ones of the same name; return its content."""
    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    by_name = {row["name"]: row for row in [*old, *rows]}
    results = {"machine": machine, "rows": [by_name[name] for name in order if name in by_name]}
    write_text(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def main() -> None:
    """Read the command line, run the rows, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="names of rows; all without it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, help="measurements of each side, instead of each row's own number")
    parser.add_argument("--cores", type=int, default=usable_cores())
    parser.add_argument("--tiny", action="store_true", help="only show that the rows work; the figures mean nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    parser.add_argument("--one", nargs=4, metavar=("ROW", "SIDE", "FOLDER", "ANSWER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rows = all_rows()
    if arguments.one:
        name, side, folder, answer = arguments.one
        setting = Setting(Path(folder), arguments.device, arguments.cores, arguments.tiny)
        Path(answer).write_text(json.dumps(measure_here(rows[name], side, setting)), encoding="utf-8")
        return
    unknown = set(arguments.rows or ()) - rows.keys()
    if unknown:
        parser.error(f"no row is called {', '.join(sorted(unknown))}: choose from {', '.join(rows)}")
    elsewhere = [name for name in arguments.rows or () if arguments.device not in rows[name].devices]
    if elsewhere and not arguments.tiny:
        parser.error(f"{', '.join(elsewhere)} cannot be measured on {arguments.device}: set --device")
    busy = busy_share()
    if busy > BUSY_SHARE:
        print(f"note: other programs keep {busy:.0%} of the cores busy; do not quote these figures", file=sys.stderr)
    if arguments.device == "cuda":
        # Asked by NVIDIA's management library: CUDA, once initialised, works in no copy of this process.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
        for name in IMPORTED_ONCE:
            importlib.import_module(name)
    machine = describe_machine(arguments.device) | {"busy_share_before": round(busy, 2)}
    path = arguments.results / f"{machine_name(machine)}.json"
    own = [name for name, row in rows.items() if arguments.device in row.devices]
    chosen = [rows[name] for name in arguments.rows or own]
    with tempfile.TemporaryDirectory(prefix="whyrobust-bench-") as folder:
        for row in chosen:
            scratch = Path(folder, row.name)
            scratch.mkdir()
            setting = Setting(scratch, arguments.device, arguments.cores, arguments.tiny)
            result = run_row(row, setting, arguments.rounds)
            shutil.rmtree(scratch)
            if "output" in result:
                print(result.pop("output"), file=sys.stderr)
            print(markdown_table([result], header=row is chosen[0]), flush=True)
            # After each row: half an hour of figures is not lost where the next row is interrupted.
            write_results(path, machine, [result], list(rows))
    print(f"\nEvery figure: {path}")


if __name__ == "__main__":
    main()
