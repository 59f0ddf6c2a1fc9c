"""The benchmarks run, at a size that shows nothing else; and their figures are what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from benchmarks.machine import first_gpu
from benchmarks.measure_growth import STAGES, reckon
from benchmarks.measure_parts import PARTS
from benchmarks.measure_study_share import Job, core_seconds, read_jobs, seconds_by_rule, seconds_of_steps
from benchmarks.recipes import Recipe, tiny_icons, train_by, write_icons
from benchmarks.rows import Aim, CannotMeasureError, Measured, Row, Setting, summarise
from benchmarks.run import all_rows, measure_apart, measure_forked, measure_here, write_results
from benchmarks.throughput import Split, find_split, joint_rate, read_split
from benchmarks.write_table import BEGIN, END, fill_page, growth_section, markdown_table
from tests.studies import ROOT, make_folder, snakemake_command


def row(**changes):
    return Row(**({"name": "x", "what": "work", "unit": "s", "ours": lambda _: Measured(1.0)} | changes))


def test_a_copy_of_the_process_measures_the_same_and_a_crash_is_a_problem(tmp_path, monkeypatch):
    setting = Setting(tmp_path, "cuda")
    measured = row(ours=lambda given: Measured(os.getpid(), {"cores": given.cores}))
    answer = measure_forked(measured, "ours", setting)
    assert answer["notes"] == {"cores": 2} and answer["value"] != os.getpid()
    assert "failed" in measure_forked(row(ours=lambda given: 1 / 0), "ours", setting)["problem"]
    monkeypatch.setattr("benchmarks.run.LIMIT_SECONDS", 0.2)
    began = time.monotonic()
    assert "more than" in measure_forked(row(ours=lambda given: time.sleep(60)), "ours", setting)["problem"]
    assert time.monotonic() - began < 30, "it does not wait for what it gave up"


def test_results_of_a_gpu_have_its_name():
    listing = (
        "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-12ab)\n  MIG 1g.10gb Device 0: (UUID: MIG-3)\nGPU 1: other (UUID: x)"
    )
    assert first_gpu(listing) == "NVIDIA H100 80GB HBM3"


def test_results_have_the_name_of_the_gpu_that_a_process_sees():
    listing = "\n".join(
        f"GPU {number}: NVIDIA {name} (UUID: GPU-{name})" for number, name in enumerate(("A", "B", "C"))
    )
    for chosen, name in ((None, "A"), ("1,0", "B"), ("GPU-C", "C"), ("GPU-B,2", "B")):
        assert first_gpu(listing, chosen) == f"NVIDIA {name}"
    divided = f"{listing}\n  MIG 1g.10gb Device 0: (UUID: MIG-3)\nGPU 3: NVIDIA D (UUID: GPU-D)"
    assert first_gpu(divided, "MIG-3") == "NVIDIA C"
    for chosen in ("", "-1", "7"):
        with pytest.raises(ValueError, match=f"CUDA_VISIBLE_DEVICES={chosen} shows none"):
            first_gpu(listing, chosen)


def test_the_ratio_is_of_medians_and_above_one_where_ours_is_better():
    ours, peer = [Measured(v) for v in (2.0, 100.0, 1.0)], [Measured(v) for v in (4.0, 5.0, 8.0)]
    rates = summarise(row(aims={"cpu": [Aim(least=0.5)]}), "cpu", ours, peer)
    assert rates["figures"]["ratio"] == pytest.approx(2 / 5) and not rates["aims"][0]["met"]
    seconds = summarise(row(better="lower", aims={"cpu": [Aim(least=2.5)]}), "cpu", ours, peer)
    assert seconds["figures"]["ratio"] == pytest.approx(5 / 2) and seconds["aims"][0]["met"]
    assert rates["spread"] == {"ours": pytest.approx(99 / 2), "peer": pytest.approx(4 / 5)}
    assert rates["raw"]["ours"][1]["value"] == 100.0


def test_aims_look_at_any_figure_and_a_device_without_aims_is_only_reported():
    aims = {"cpu": [Aim(most=10, figure="ours"), Aim(most=900, figure="peak_mb")]}
    ours = [Measured(9.0, {"peak_mb": 1000})] * 3
    assert [aim["met"] for aim in summarise(row(aims=aims), "cpu", ours, [])["aims"]] == [True, False]
    assert summarise(row(aims=aims), "cuda", ours, [])["aims"] == []


def test_runs_side_by_side_are_counted_while_all_of_them_run():
    slow = [(float(second), 10 * second) for second in range(11)]  # 10 a second, from 0 to 10
    fast = [(4 + second / 10, 3 * second) for second in range(41)]  # 30 a second, from 4 to 8
    assert joint_rate([slow, fast], 0.0) == pytest.approx(40)
    early = [(0.0, 0), (5.0, 1), (6.0, 101), (7.0, 201), (8.0, 301)]  # compiles for five seconds
    assert joint_rate([early], 0.25) == pytest.approx(100)
    with pytest.raises(ValueError, match="longer"):
        joint_rate([slow, [(0.1, 1), (0.2, 2)]], 0.0)


def test_the_share_of_a_study_is_that_of_its_steps(tmp_path):
    line = "torch 2.1, 500 images, {} samples seen, 1 processes, {} images per second, last loss 1.0"
    for name, samples, rate in (("a", 3000, 1000), ("b", 1000, 200)):
        (tmp_path / name).write_text("before\n" + line.format(samples, rate) + "\n", encoding="utf-8")
    jobs = [Job("train_run", 0.0, 6.0, "a"), Job("train_run", 1.0, 8.0, "b"), Job("draw_figures", 9.0, 10.0, "")]
    assert seconds_of_steps(jobs, tmp_path) == pytest.approx(3 + 5)
    assert core_seconds(jobs, 2) == 20 and seconds_by_rule(jobs) == {"train_run": 13.0, "draw_figures": 1.0}
    (tmp_path / "b").write_text("killed", encoding="utf-8")
    with pytest.raises(CannotMeasureError, match="images per second"):
        seconds_of_steps(jobs, tmp_path)
    with pytest.raises(CannotMeasureError, match="make study"):
        read_jobs(tmp_path, "icons")


def test_the_fastest_split_is_kept_for_rows_of_the_same_work_and_one_alone_is_not_tried(tmp_path):
    find_split(Setting(tmp_path / "row"), lambda split: 10 * split.runs + split.threads, "labels")
    find_split(Setting(tmp_path / "other row"), lambda split: 1 / 0, "labels")
    assert read_split(Setting(tmp_path / "other row"), "labels") == Split(2, 1, 1)
    find_split(Setting(tmp_path / "row", tiny=True), lambda split: 1 / 0, "captions")
    assert read_split(Setting(tmp_path / "row"), "captions") == Split(1, 1, 1)


def test_what_cannot_be_measured_says_why_and_has_its_line_in_the_table(tmp_path):
    def no_study(setting):
        raise CannotMeasureError("no finished study: call make study")

    answer = measure_here(row(ours=no_study), "ours", Setting(tmp_path))
    assert answer == {"problem": "no finished study: call make study"}
    assert "make study" in markdown_table([{"what": "work", "unit": "s", "peer": "", "limit": ""} | answer])


def test_new_figures_take_the_place_of_old_ones_of_their_row_alone(tmp_path):
    path = tmp_path / "machine.json"
    write_results(path, {}, [{"name": "a", "v": 1}, {"name": "b", "v": 1}], ["a", "b"])
    assert write_results(path, {}, [{"name": "b", "v": 2}], ["a", "b"])["rows"] == [
        {"name": "a", "v": 1},
        {"name": "b", "v": 2},
    ]


def test_the_page_keeps_what_stands_around_the_table():
    filled = fill_page(f"before\n{BEGIN}\nold\n{END}\nafter\n", ["new"])
    assert filled == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="lacks"):
        fill_page("no marks", [])


def fetch_archive(folder):
    """Fetch the archive of icons as a study does; in a fresh clone this file may be tested before any study has."""
    archive = ROOT / "downloads" / "iconify.tgz"
    command = snakemake_command("--cores", "1", "--quiet", "all", "--", str(archive))
    done = subprocess.run(command, cwd=make_folder(folder), capture_output=True, text=True, check=False)
    assert archive.exists(), done.stdout + done.stderr


@pytest.fixture(scope="module")
def archive(root, tmp_path_factory):
    """Fetch the archive of icons, as a study does, if no study has."""
    if not (root / "downloads" / "iconify.tgz").exists():
        fetch_archive(tmp_path_factory.mktemp("fetching"))


def run_tiny(root, folder, *arguments):
    """Run a benchmark at a tiny size to its end and return its lines, and the file that it wrote."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    written = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return done.stdout.splitlines(), written


@pytest.fixture(scope="module")
def tiny_rows(root, tmp_path_factory, archive):
    """Try all rows, in one process: importing torch and the peers takes longer than all of them."""
    folder = tmp_path_factory.mktemp("rows")
    options = ("--tiny", "--rounds", "1", "--results", str(folder))
    _, (results,) = run_tiny(root, folder, "benchmarks.run", *options)
    return {row["name"]: row for row in results["rows"]}


@pytest.mark.parametrize("name", [name for name, row in all_rows().items() if "cpu" in row.devices])
def test_every_row_runs_at_a_tiny_size(tiny_rows, name):
    result = tiny_rows[name]
    assert "problem" not in result, result["problem"]
    assert result["figures"]["ours"] > 0
    if result["peer"]:
        assert result["figures"]["ratio"] > 0


def test_time_until_an_accuracy_is_measured_in_sixteen_bits_too(root, tmp_path):
    names = ["time_clip_icons_best", "time_labels_icons_best"]
    options = ("--tiny", "--rounds", "1", "--results", str(tmp_path), "--rows", *names)
    _, (results,) = run_tiny(root, tmp_path, "benchmarks.run", *options)
    assert [row["name"] for row in results["rows"]] == names
    for row in results["rows"]:
        assert "problem" not in row, row["problem"]
        assert row["figures"]["ratio"] > 0 and row["figures"]["images shown"] == 256


class AskedError(Exception):
    """Ends a training before it begins."""


@pytest.mark.parametrize(
    ("program", "bf16", "asked"),
    [
        ("ours", True, ("bf16", False)),
        ("ours", False, ("fp32", True)),
        ("open_clip_train", True, "amp_bf16"),
        ("open_clip_train", False, "fp32"),
    ],
)
def test_each_program_is_asked_for_the_products_of_the_row(program, bf16, asked, tmp_path, monkeypatch):
    def stop(compute=None, precision=None, **_):
        raise AskedError(precision or (compute.precision, compute.repeatable))

    for name in ("train_with_ours", "train_with_open_clip"):
        monkeypatch.setattr(f"benchmarks.recipes.{name}", stop)
    write_icons(tmp_path, tiny_icons())
    recipe = Recipe("clip", program, "adamw", 0.001, 32, 0.1, 256)
    with pytest.raises(AskedError) as caught:
        train_by(recipe, tmp_path, Split(1, 1, 0), 0, "cpu", bf16)
    assert caught.value.args == (asked,)


@pytest.mark.parametrize(("name", "asked"), [("labels_icons", "fp32"), ("labels_icons_bf16", "bf16")])
def test_both_sides_of_a_row_on_labels_have_its_products(name, asked, tmp_path, monkeypatch):
    measured = all_rows()[name]
    (tmp_path / "row").mkdir()
    setting = Setting(tmp_path / "row", tiny=True)
    measured.prepare(setting)

    def stop(*_, compute=None, precision=None, **__):
        raise AskedError(precision or compute.precision)

    for program in ("train_with_ours", "train_on"):
        monkeypatch.setattr(f"benchmarks.train_labels_icons.{program}", stop)
    for side in (measured.ours, measured.measure_peer):
        with pytest.raises(AskedError) as caught:
            side(setting)
        assert caught.value.args == (asked,)


@pytest.mark.parametrize("task", ["clip", "labels"])
def test_rows_at_their_best_ask_for_sixteen_bits_on_both_sides(task):
    for name, bits in ((f"time_{task}_icons", None), (f"time_{task}_icons_best", True)):
        row = all_rows()[name]
        assert [side.keywords.get("bf16") for side in (row.ours, row.measure_peer)] == [bits, bits]


def test_a_row_of_another_device_is_refused(root, tmp_path):
    command = [sys.executable, "-m", "benchmarks.run", "--results", str(tmp_path)]
    command += ["--rows", "draw_rows", "time_clip_icons_best"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "time_clip_icons_best cannot be measured on cpu" in done.stderr


def test_a_side_is_measured_in_a_process_of_its_own(tmp_path):
    folder = tmp_path / "row"
    folder.mkdir()
    setting = Setting(folder, tiny=True)
    assert measure_apart(all_rows()["draw_rows"], "prepare", setting) == {}
    assert measure_apart(all_rows()["draw_rows"], "ours", setting)["value"] > 0
    # Each side leaves a file of its own: what was asked for was measured, and nothing else.
    assert {path.name for path in folder.iterdir()} == {"kept.parquet", "subset.parquet"}
    # What both sides read is gone: the answer of the process before is not taken again.
    shutil.rmtree(folder)
    assert "ours failed" in measure_apart(all_rows()["draw_rows"], "ours", setting)["problem"]


def test_the_parts_of_rows_are_measured_at_a_tiny_size(root, tmp_path, archive):
    lines, _ = run_tiny(root, tmp_path, "benchmarks.measure_parts", "--tiny")
    rows = [re.fullmatch(r"(\w+): [^:]+: -?[\d.e-]+ \D+", line)[1] for line in lines]
    assert set(rows) == set(PARTS) and all(rows.count(row) >= 2 for row in PARTS), lines


def test_growth_is_reckoned_by_the_slope_between_the_largest_sizes():
    assert reckon([1, 10, 20], [5.0, 10.0, 30.0], 40) == pytest.approx(70)
    assert reckon([1, 10, 20], [5.0, 31.0, 30.0], 40) == 30.0  # noise is no gain


def test_growth_is_measured_at_tiny_sizes(root, tmp_path):
    _, (results,) = run_tiny(root, tmp_path, "benchmarks.measure_growth", "--shrink", "100", "--results", str(tmp_path))
    assert [row["stage"] for row in results["growth"]] == list(STAGES)
    assert all(min(row["peak_mb"]) > 20 for row in results["growth"])
    assert results["machine"]["processor"] in growth_section(results)
