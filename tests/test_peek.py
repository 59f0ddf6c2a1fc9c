"""`make peek`: what counts as finished, what is linked, and that nothing is trained for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tools.peek import (
    NEVER_RUN,
    OF_ALL_RUNS,
    call_snakemake,
    files_needed,
    finished_files,
    finished_runs,
    link,
    linked_files,
    peek,
)
from whyrobust.study.layout import LAYOUT, LAYOUT_FILE, layout_of
from whyrobust.study.study import Study
from whyrobust.study.unfinished import finished_config

ROOT = Path(__file__).parent.parent
HEAD = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"


@pytest.fixture(scope="module")
def whole():
    return Study.load(yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8")), ROOT)


def files_of(study):
    """Return the files that a study has once all runs are embedded, with the rules that make them."""
    results = f"results/{study.name}"
    needed = [path for run in study.runs for path in files_needed(study, run)]
    files = {path: "train_run" if "/runs/" in path else "draw_subset" for path in needed}
    files |= {f"{results}/embeddings/{group}": "embed_test_sets" for group in study.groups}
    return files | {f"{results}/accuracy.csv": "score_heads", f"{results}/data/classes.csv": "describe_data"}


def test_what_is_made_again_or_not_there_is_not_finished(tmp_path):
    for name in ("done", "again"):
        (tmp_path / name).touch()
    rows = [("done", "ok", "no update"), ("again", "ok", "update pending"), ("gone", "missing", "no update")]
    table = [HEAD, *(f"{name}\t-\ttrain_run\t-\t{status}\t{plan}" for name, status, plan in rows)]
    summary = "\n".join(["A line that some plugin writes", *table])
    assert finished_files(summary, tmp_path) == {"done": "train_run"}


def test_a_run_is_finished_with_what_its_heads_are_fitted_on(whole):
    files = files_of(whole)
    assert finished_runs(whole, files) == set(whole.runs)
    subset = "results/smoke/subsets/web/300_images_seed_1.parquet"
    fitted = {run for run in whole.runs if subset in files_needed(whole, run)}
    assert fitted and all("web" in run and run.endswith("seed_1") for run in fitted)
    assert finished_runs(whole, set(files) - {subset}) == set(whole.runs) - fitted
    first = next(iter(whole.runs))
    assert first not in finished_runs(whole, {path for path in files if first not in path})


def test_results_of_all_runs_and_of_groups_that_lack_one_are_made_anew(whole):
    files = files_of(whole)
    given = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    group = next(name for name, runs in whole.groups.items() if len(runs) > 1)
    part = Study.load(finished_config(given, whole, set(whole.runs) - {whole.groups[group][0]}), ROOT)
    left_out = set(files) - set(linked_files(files, whole, part))
    assert left_out == {f"results/{whole.name}/embeddings/{group}", f"results/{whole.name}/accuracy.csv"}


def test_stages_are_told_apart():
    assert {"train_run", "import_pretrained", "draw_subset", "decontaminate", "download_source"} <= NEVER_RUN
    assert "decode_photographs" in NEVER_RUN
    assert not NEVER_RUN & (OF_ALL_RUNS | {"embed_test_sets", "fit_heads", "describe_data"})
    assert {"score_heads", "measure_robustness", "write_report"} <= OF_ALL_RUNS
    assert not OF_ALL_RUNS & {"embed_test_sets", "match_text", "measure_reference"}


def test_links_leave_what_is_there_and_are_as_old_as_their_files(tmp_path):
    root, folder = tmp_path / "study", tmp_path / "study" / "peek"
    (root / "a").mkdir(parents=True)
    for name in ("a/old", "b"):
        (root / name).write_text(name)
    os.utime(root / "a" / "old", (1_000_000, 1_000_000))
    (folder / "a").mkdir(parents=True)
    (folder / "b").write_text("its own")
    link(["a/old", "b"], root, folder)
    link(["a/old"], root, folder)
    assert (folder / "a" / "old").is_symlink() and (folder / "a" / "old").lstat().st_mtime == 1_000_000
    assert (folder / "b").read_text() == "its own"


@pytest.fixture
def running(whole, tmp_path, monkeypatch):
    """Return a folder with a study whose runs are finished but one, and the calls of Snakemake that `peek` makes."""
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    files, calls = files_of(whole), []
    missing = next(run for run, row in whole.runs.items() if row.objective == "siglip")
    for path in files:
        place = tmp_path / path
        if missing not in path:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()

    def call(root, *arguments):
        calls.append((root, arguments))
        plans = {path: "update pending" if missing in path else "no update" for path in files}
        rows = [f"{path}\t-\t{rule}\t-\tok\t{plans[path]}" for path, rule in files.items()]
        return "\n".join([HEAD, *rows]) if "--summary" in arguments else ""

    monkeypatch.setattr("tools.peek.call_snakemake", call)
    monkeypatch.setattr("os.nice", lambda _: 0)
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text(encoding="utf-8"))
    config["downloads"] = str(ROOT / "downloads")
    (tmp_path / "smoke.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return tmp_path, calls, missing


def test_the_page_is_written_in_a_folder_of_its_own_and_nothing_is_trained(running):
    root, calls, missing = running
    (root / "results" / "smoke" / LAYOUT_FILE).write_text(f"{LAYOUT}\n")
    before = set((root / "results").rglob("*"))
    page = peek(root / "smoke.yaml", root, cores=1)
    assert page == root / "peek" / "smoke" / "results" / "smoke" / "report.html"
    assert set((root / "results").rglob("*")) == before
    (asked, summary), (folder, making) = calls
    assert asked == root and "--nolock" in summary and folder == root / "peek" / "smoke"
    allowed = making[making.index("--allowed-rules") + 1 : making.index("--")]
    assert "write_report" in allowed and not NEVER_RUN & set(allowed)
    # The page names the figures, and does not wait for them.
    assert making[-2:] == ("results/smoke/figures", "results/smoke/report.html")
    config = yaml.safe_load((folder / "unfinished.yaml").read_text(encoding="utf-8"))
    assert len(config["unfinished"]["runs"]) == 1 and "SigLIP" in config["unfinished"]["runs"][0]
    # Else Snakemake would take what is linked for results of the first layout, which had no number.
    assert layout_of(folder / "results" / "smoke") == LAYOUT
    assert (folder / "resources").is_symlink() and not (folder / "results" / "smoke" / "runs" / missing).exists()


def test_weights_that_would_be_made_again_are_left_out_with_a_word(running, capsys):
    root, _, missing = running
    weights = root / "results" / "smoke" / "runs" / missing / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    peek(root / "smoke.yaml", root, cores=1)
    assert "Left out: 1 run with weights, which Snakemake would train again" in capsys.readouterr().out
    assert not (root / "peek" / "smoke" / "results" / "smoke" / "runs" / missing).exists()


def test_of_a_half_done_default_study_nothing_is_planned_but_its_page(tmp_path, monkeypatch):
    """By Snakemake itself, on files that are all empty; the page of what is finished needs no training."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")) | {"downloads": str(tmp_path / "d")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    study, now = Study.load(config, tmp_path), time.time_ns()
    head, *rows = call_snakemake(tmp_path, "--summary", "--nolock").splitlines()
    for row in rows:
        made = dict(zip(head.split("\t"), row.split("\t"), strict=True))
        place = tmp_path / made["output_file"]
        place.parent.mkdir(parents=True, exist_ok=True)
        if made["rule"] not in OF_ALL_RUNS and "siglip" not in place.as_posix():
            place.touch() if place.suffix else place.mkdir()
            os.utime(place, ns=(now, now))
    missing = [run for run in study.runs if "siglip" in run]
    plans = []

    def call(folder, *arguments):
        asked = arguments if "--summary" in arguments else ("-n", "--quiet", "rules", *arguments)
        plans.append(call_snakemake(folder, *asked))
        return plans[-1]

    monkeypatch.setattr("tools.peek.call_snakemake", call)
    monkeypatch.setattr("os.nice", lambda _: 0)
    peek(None, tmp_path, cores=1)
    planned = set(re.findall(r"^(\w+) +\d+$", plans[-1], re.MULTILINE)) - {"total"}
    assert missing and planned and planned <= OF_ALL_RUNS, planned
    shown = yaml.safe_load((tmp_path / "peek" / "icons" / "unfinished.yaml").read_text(encoding="utf-8"))
    assert len(shown["unfinished"]["runs"]) == len(missing) and shown["unfinished"]["planned"] == len(study.runs)


def test_a_finished_study_has_its_page(running):
    root, calls, _ = running
    finished = root / "results" / "smoke" / "report.html"
    finished.write_text("the page")
    with pytest.MonkeyPatch.context() as patch:
        row = "results/smoke/report.html\t-\twrite_report\t-\tok\tno update"
        patch.setattr("tools.peek.call_snakemake", lambda *_: f"{HEAD}\n{row}")
        assert peek(root / "smoke.yaml", root, cores=1) == finished
    assert finished.read_text() == "the page" and not calls and not (root / "peek").exists()


def test_a_locked_study_is_asked_and_stays_as_it_is(running, monkeypatch):
    """By Snakemake itself, which makes the table that is read here."""
    root, _, _ = running
    monkeypatch.undo()
    lock = root / ".snakemake" / "locks" / "0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/smoke/runs/one/model.safetensors\n")
    command = [sys.executable, "-m", "tools.peek", "--configfile", str(root / "smoke.yaml")]
    done = subprocess.run(
        command,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"},
    )
    assert done.returncode == 1
    assert "There is nothing to show yet: 0 of" in done.stderr, done.stderr
    assert list(lock.parent.iterdir()) == [lock] and not (root / "peek").exists()
