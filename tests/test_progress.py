"""What jobs say while they work: their notes, their bars, and where their words go when a display has the terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from whyrobust.job_note import Note, note_of, read_note, write_note
from whyrobust.logs import WATCHED, start_log
from whyrobust.progress import ProgressBar


def test_a_bar_writes_how_far_it_is_beside_the_log_and_leaves_nothing_behind(tmp_path):
    log = tmp_path / "logs" / "job.log"
    start_log(log)
    with ProgressBar(10, "a run", "images", mininterval=0) as bar:
        bar._noted = float("-inf")
        bar.loss = 1.25
        bar.update(4)
        bar.refresh()
        note = read_note(log)
        assert note is not None and (note.done, note.total, note.unit, note.loss) == (4, 10, "images", 1.25)
        assert note.per_second is not None and note.per_second > 0
    assert [path.name for path in log.parent.iterdir()] == ["job.log"]
    write_note(log, Note())
    (log.parent / ".job.at_work.json.part").write_text("{")
    start_log(log)  # what a killed job left
    assert read_note(log) is None
    assert [path.name for path in log.parent.iterdir()] == ["job.log"]


def test_a_note_that_is_half_written_or_of_another_version_is_none(tmp_path):
    log = tmp_path / "job.log"
    for text in ('{"done": 1', json.dumps({"done": 1, "other": 2}), "[]"):
        note_of(log).write_text(text)
        assert read_note(log) is None
    assert Note(1, 5, per_second=2).seconds_left == 2
    assert Note(1, 5).seconds_left is None and Note(1, None, per_second=2).seconds_left is None


def test_all_that_a_watched_job_says_goes_to_its_log(tmp_path):
    code = (
        "import os, warnings\nfrom whyrobust.logs import start_log\nfrom whyrobust.progress import ProgressBar\n"
        "logger = start_log('job.log')\nlogger.warning('one')\nos.write(2, b'two\\n')\nprint('three', flush=True)\n"
        "with ProgressBar(2, 'bar', 'images') as bar: bar.update(2)\nraise ValueError('four')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {WATCHED: "1"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    log = (tmp_path / "job.log").read_text()
    assert [log.count(word) for word in (" WARNING one\n", "two\n", "three\n", "bar", "s: four\n")] == [1, 1, 1, 0, 1]
