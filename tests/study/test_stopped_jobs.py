"""Why jobs stopped is read from logs as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from whyrobust.study.stopped_jobs import why_stopped


def test_a_job_that_stopped_is_told_by_its_message_and_older_logs_are_not(tmp_path):
    before = time.time() - 10
    for name, work in (
        ("join/a", "raise ValueError('no picture of é')"),
        ("join/b", "pass"),
        ("old", "raise ValueError(1)"),
    ):
        code = f"from whyrobust.logs import start_log; start_log({str(tmp_path / name)!r} + '.log'); {work}"
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    os.utime(tmp_path / "old.log", (before, before))
    assert why_stopped(tmp_path, before + 1) == ["no picture of é"]
    assert why_stopped(tmp_path, before) == ["no picture of é", "1"]
