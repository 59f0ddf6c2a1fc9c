"""A plan says in words what it does again; an older layout is told from files that are gone."""

from __future__ import annotations

import pytest

from whyrobust.study.layout import LAYOUT, LayoutError, describe_older_layout, layout_of, write_layout
from whyrobust.study.rerun_reasons import Planned, explain


def versions(**values):
    return repr({"code": "1", "torch": "2.14.0"} | values)


def again(stage, before=(), now=(), **what):
    return Planned(stage, is_there=True, before=frozenset(before), now=frozenset(now), **what)


def test_what_was_never_made_needs_no_reason():
    assert explain([Planned("train_run"), Planned("fit_heads")], "results/a") == []


@pytest.mark.parametrize(
    ("job", "cause"),
    [
        (again("s", [versions()], [versions(code="2")]), "the code is another"),
        (again("s", [versions()], [versions(torch="2.15.0")]), "torch is 2.15.0, was 2.14.0"),
        (again("s", [versions()], [versions(regex="1")]), "regex is 1, was not used"),
        (again("s", [versions(regex="1")], [versions()]), "regex is no longer used, was 1"),
        (again("s", [versions(inputs="1")], [versions(inputs="2")]), "files that it reads were changed"),
        (again("s", ["0.1", "'x'"], ["0.2", "'x y'"]), "its settings are others"),
        (
            again("s", ["0.1", versions()], ["0.2", versions(code="2")]),
            "its settings are others and the code is another",
        ),
        (again("s", ["<object>"], []), "its settings are others"),
        (again("s", has_newer_inputs=True), "a file that it reads is newer"),
        (again("s", has_other_inputs=True), "it reads other files"),
        (again("s", was_stopped=True), "it was stopped half way"),
        (again("s", ["1"], ["2"], is_forced=True), "the command asks for it"),
    ],
)
def test_a_cause_is_said_in_words(job, cause):
    assert explain([job], "results/a") == [f"1 finished jobs would be done again: s, since {cause}"]


def test_many_jobs_are_one_line():
    code = [versions()], [versions(code="2")]
    jobs = [again(stage, *code) for stage in ("a", "b", "b", "c", "d", "e")]
    jobs += [again("t", ["1"], ["2"]), again("z"), again("z"), Planned("new")]
    assert explain(jobs, "results/a") == [
        "9 finished jobs would be done again: a, 2 of b, c and 2 more, since the code is another; "
        "t, since its settings are others; 2 that depend on what is made anew"
    ]


def test_files_that_are_gone_and_results_without_records_are_said():
    lost = [Planned("train_run", is_lost=True), Planned("fit_heads")]
    failed = [Planned(stage, is_lost=True, has_failed=True) for stage in ("fit_heads", "draw_subset", "draw_subset")]
    tried, damaged = explain([*lost, *failed], "results/a")
    assert tried == "fit_heads, 2 of draw_subset failed the last time (the logs say why), and would be tried again"
    assert damaged.startswith("results/a lacks files of train_run: deleted, or lost by a kill")
    _, copied = explain([again("s", has_newer_inputs=True, has_record=False), again("t")], "results/a")
    assert copied.startswith("nothing tells how 1 of them were made") and ".snakemake/metadata" in copied


def test_a_folder_of_an_older_layout_is_told_from_one_of_todays(tmp_path):
    assert describe_older_layout(tmp_path) == "", "nothing is there yet"
    (tmp_path / "records").mkdir()
    line = describe_older_layout(tmp_path)
    assert f"older layout, 1 where today's is {LAYOUT}" in line and "captions/<variant>/" in line
    write_layout(tmp_path)
    assert describe_older_layout(tmp_path) == "" and layout_of(tmp_path) == LAYOUT
    for text in (f"{LAYOUT + 1}\n", "x", "0", ""):
        (tmp_path / "layout.txt").write_text(text)
        with pytest.raises(LayoutError, match=r"layout\.txt"):
            layout_of(tmp_path)
