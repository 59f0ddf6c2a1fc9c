"""The live display: what it knows of a study, the lines that it makes of it, and what it leaves on the terminal."""

from __future__ import annotations

import io
import itertools
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from whyrobust.job_note import Note, remove_note, write_note
from whyrobust.logs import start_log
from whyrobust.terminal.at_work import Job, StudyAtWork
from whyrobust.terminal.display import show_display
from whyrobust.terminal.view import draw, spell_time, wrap

TRAINING = "train_run clip captions icon_cnn"
LONG = "cross-entropy on web labels found in text, after SimCLR, 5,000 images, icon cnn, 15,000 seen, seed 0"


def plan(tmp_path, runs=4):
    """Return the plan of a small study, each job with a log."""
    jobs = [Job(0, "build_records", "", "build_records", logs=[str(tmp_path / "0.log")])]
    jobs += [
        Job(number, "train_run", LONG.replace("seed 0", f"seed {number}"), TRAINING, 100.0 * number, 1,
            [str(tmp_path / f"{number}.log")])
        for number in range(1, runs + 1)
    ]  # fmt: skip
    return [*jobs, Job(9, "write_report", kind="write_report")]


@pytest.fixture
def study(tmp_path):
    found = StudyAtWork("icons", 2, 0.0)
    found.plan(plan(tmp_path))
    return found


def test_the_time_left_comes_from_what_was_measured_and_says_what_it_leaves_out(study):
    assert study.seconds_left(0.0) == (0.0, 0.0)
    assert "0 of 6 jobs, 0:00 so far" in draw(study, 0.0, 80, 40) and "left" not in draw(study, 0.0, 80, 40)
    study.start(1, 0.0)
    study.finish(1, 10.0)
    assert "1 of 6 jobs, 0:10 so far, at least 0:45 left" in " ".join(draw(study, 10.0, 80, 40).split())
    # 100 took 10 s: 200, 300 and 400 are left, on two cores; records and report are not known.
    assert study.seconds_left(10.0) == (45.0, 3 / 5)
    study.start(4, 10.0)
    assert study.seconds_left(20.0) == (40.0, 3 / 5)  # 30 s of one job, 20 and 30 of those that wait
    study.at_work[4].note = Note(50, 100, "images", 0.5)
    assert study.seconds_left(20.0) == (100.0, 3 / 5)  # at its own rate, which no other core can help with
    study.cores = None  # as on a cluster
    assert study.seconds_left(20.0) == (0.0, 0.0)


def test_jobs_like_one_at_work_are_expected_to_take_as_long_for_their_amount(study):
    study.start(1, 0.0)
    study.at_work[1].note = Note(10, 100, "images", 5.0)
    assert study.expected_seconds(study.waiting[2]) == 40.0
    assert study.expected_seconds(study.waiting[9]) is None


def test_the_time_that_a_job_waits_is_no_part_of_what_it_takes(study, tmp_path):
    study.start(1, 0.0)
    start_log(tmp_path / "1.log")
    write_note(tmp_path / "1.log", Note(waits_for="free cores"))
    assert study.read_notes(60.0) == []
    assert "waits for free cores   1:00 so far" in draw(study, 60.0, 80, 40)
    remove_note(tmp_path / "1.log")
    study.read_notes(61.0)
    assert "0:05 so far" in draw(study, 65.0, 80, 40)
    study.finish(1, 70.0)
    assert study.expected_seconds(study.waiting[2]) == 20.0


def test_what_an_earlier_call_left_in_a_log_and_beside_it_is_not_told(study, tmp_path):
    log = tmp_path / "1.log"
    log.write_text(f"2026-11-26 17:00:00,000 WARNING old\n{'.' * 1000}\n")
    write_note(log, Note(1, 2, per_second=1.0))
    study.start(1, 0.0)
    assert study.read_notes(1.0) == [] and study.at_work[1].note is None
    start_log(log).warning("new")
    assert study.read_notes(2.0) == [(study.at_work[1].job, "new")]
    with log.open("a") as handle:
        for text, found in (("", []), ("2026-11-26 17:00:00,000 WARNING in", []), (" parts\n", ["in parts"])):
            handle.write(text)
            handle.flush()
            assert [warning for _, warning in study.read_notes(3.0)] == found


def test_a_job_that_failed_waits_again_and_is_counted_once(study):
    study.start(1, 0.0)
    study.fail(1)
    study.fail(1)
    assert list(study.failed) == [1] and 1 in study.waiting
    study.start(1, 1.0)
    study.finish(1, 2.0)
    study.finish(1, 2.0)
    study.plan([Job(1, "train_run")])  # as Snakemake may report a plan twice
    assert (study.done["train_run"], study.planned["train_run"], 1 in study.waiting, study.failed) == (1, 4, False, {})


@pytest.mark.parametrize(("width", "height"), [*itertools.product((40, 80, 120), (10, 24, 50))])
def test_lines_fit_into_the_terminal_and_no_stage_is_parted_from_its_number(study, width, height):
    for number in (1, 2):
        study.start(number, 0.0)
        study.at_work[number].note = Note(30, 100, "images", 1234.5, 2.3456)
    study.plan(Job(100 + number, f"stage_number_{number}") for number in range(30))
    study.finish(0, 0.0)
    lines = draw(study, 61.0, width, height).split("\n")
    assert max(map(len, lines)) < width and len(lines) < height
    text = " ".join(" ".join(lines).split())
    assert text.startswith("icons ╌") and "1 of 36 jobs, 1:01 so far" in text
    if height > 20:
        assert "loss 2.346 1,234 images/s 0:00 left" in text and "seed 1" in text
        assert "Done: build_records 1" in text and "train_run 0 of 4" in text
        stages = [line for line in lines if "stage_number_" in line]
        assert stages and not [line for line in stages if line.strip()[0].isdigit()]


@pytest.mark.parametrize("width", range(20, 60))
def test_a_number_stays_beside_what_it_counts(width):
    text = "undecided; -0.8 (-2.3 to +0.6); detectable 2.6; 10 pairs, 5 seeds, 5,000 images, 95 % interval"
    lines = wrap(text, width)
    assert max(map(len, lines)) <= width and " ".join(line.strip() for line in lines) == text
    for told in ("10 pairs", "5 seeds", "5,000 images", "95 %"):
        assert any(told in line for line in lines), lines


def test_times():
    assert [spell_time(seconds) for seconds in (0.4, 59.6, 61, 3599.9, 7325)] == [
        "0:00", "1:00", "1:01", "1:00:00", "2:02:05",
    ]  # fmt: skip


class Terminal(io.StringIO):
    """Takes what is written to a terminal."""

    encoding = "utf-8"

    def isatty(self):
        """Say yes."""
        return True


@pytest.fixture
def show(monkeypatch, tmp_path):
    """Return a function that puts a display into a logger like Snakemake's, with a terminal of 60 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("whyrobust.terminal.display.SECONDS_BETWEEN_UPDATES", 1000.0)
    loggers, resumes = [], signal.getsignal(signal.SIGCONT)

    def show_one(**handler):
        logger = logging.Logger("as Snakemake's")
        usual = logging.StreamHandler(Terminal())
        usual.name = "DefaultStreamHandler"
        usual.addFilter(lambda record: "hidden" not in str(record.msg))
        vars(usual).update(handler)
        logger.addHandler(usual)
        assert show_display(logger, "icons", 2, lambda: plan(tmp_path, 2))
        loggers.append(logger)

        def report(event, **told):
            logger.info(None, extra={"event": event, **told})

        return usual.stream, logger, report

    yield show_one
    for logger in loggers:
        end(logger)
    signal.signal(signal.SIGCONT, resumes)


@pytest.fixture
def terminal(show):
    """Return a stream like a terminal, a logger like Snakemake's with a display, and how events come."""
    return show()


def end(logger):
    """End the display, as Snakemake does."""
    for handler in logger.handlers:
        handler.close()


def test_a_study_that_fails_leaves_its_warnings_above_and_what_the_stage_said_last(terminal, tmp_path):
    stream, logger, report = terminal
    logger.warning("A warning of the plan.")
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    for number in (1, 2):
        (tmp_path / f"{number}.log").write_text("2026-11-26 16:00:01,000 ERROR stopped after 1.0 s: long ago\n")
        report(LogEvent.JOB_INFO, jobid=number)
    (tmp_path / "1.log").write_text(
        "2026-11-26 17:00:00,000 WARNING many pairs of samples in a batch have the same caption and are pushed apart\n"
        "2026-11-26 17:00:01,000 ERROR stopped after 1.0 s: the loss is nan at step 3 of 9\nTraceback\n"
    )
    logger.info("Finished jobid: 1")
    logger.warning("hidden by the usual filter")
    report(LogEvent.JOB_ERROR, jobid=1)
    report(LogEvent.JOB_ERROR, jobid=1)
    report(LogEvent.JOB_ERROR, jobid=2)  # before it opened its log
    logger.error("Exiting because a job execution failed. Look below for error messages")
    logger.error("RuleException:\nCalledProcessError in a file")
    logger.error("WorkflowError:\nAt least one job did not complete successfully.")
    end(logger)
    text = stream.getvalue()
    assert text.count("A warning of the plan.") == 1 and text.index("A warning") < text.index("train_run (")
    assert " ".join(text.split()).count("many pairs of samples in a batch") == 1
    assert (
        "hidden" not in text
        and "Finished jobid" not in text
        and not [word for word in ("Exiting", "Error:", "Exception", "long ago") if word in text]
    )
    silent, *ending = text[text.index("Failed:") :].split("Failed:")[1:]
    assert "it said nothing: it was killed" in " ".join(silent.split())
    (ending,) = ([line.rstrip() for line in told.splitlines()] for told in ending)
    assert str(tmp_path / "1.log") in "".join(ending)
    assert "the loss is nan at step 3 of 9" in ending[-1]
    assert "icons: 0 of 4 jobs done in 0:00." in text


def test_a_study_that_the_user_stops_has_not_failed(terminal, tmp_path):
    stream, logger, report = terminal
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    for number in (0, 1):
        report(LogEvent.JOB_INFO, jobid=number)
    report(LogEvent.JOB_ERROR, jobid=0)  # jobs get the signal when Snakemake does
    logger.info("Terminating processes on user request, this might take some time.")
    (tmp_path / "1.log").write_text("2026-11-26 17:00:01,000 ERROR stopped after 1.0 s: asked to stop after step 2\n")
    report(LogEvent.JOB_ERROR, jobid=1)
    end(logger)
    text = stream.getvalue()
    assert "Terminating processes" in text and "Failed" not in text
    assert " ".join(text.split()).endswith("It was stopped; the same command goes on from what is finished.")


def test_an_error_before_the_first_job_comes_last(terminal):
    stream, logger, report = terminal
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    logger.error("WorkflowError:\nA file has no address.")
    end(logger)
    assert stream.getvalue().count("jobs done") == 1 and "A file has no address." in stream.getvalue().splitlines()[-1]


def test_a_study_that_ends_shows_its_table_below_and_each_line_within_the_terminal(terminal, tmp_path):
    stream, logger, report = terminal
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    for number in (0, 1, 2, 9):
        report(LogEvent.JOB_INFO, jobid=number)
        (tmp_path / f"{number}.log").write_text("2026-11-26 17:00:00,000 WARNING many pairs\n")
        report(LogEvent.JOB_FINISHED, job_id=number)
    news = logging.makeLogRecord(
        {"msg": "  a line that is longer than the terminal is wide, so that it goes on in the next one\nReport: page",
         "levelno": logging.INFO, "pathname": "/rules/start_and_end.smk"}
    )  # fmt: skip
    logger.handle(news)
    lines = stream.getvalue().splitlines()
    assert sum("many pairs" in line for line in lines) == 1
    end = next(number for number, line in enumerate(lines) if "icons: 4 of 4 jobs done in 0:00." in line)
    shown = [line.rstrip() for line in lines[end + 1 :]]
    assert shown == [
        "  a line that is longer than the terminal is wide, so that",
        "    it goes on in the next one",
        "Report: page",
    ]


def test_snakemakes_own_lines_stay_where_no_terminal_can_show_a_display(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes any stream a terminal for rich
    logger = logging.Logger("as Snakemake's")
    assert not show_display(logger, "icons", 2, list)  # a logger of the user's choice
    usual = logging.StreamHandler(io.StringIO())
    usual.name = "DefaultStreamHandler"
    logger.addHandler(usual)
    assert not show_display(logger, "icons", 2, list) and logger.handlers == [usual]
    usual.setStream(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not show_display(logger, "icons", 2, list) and logger.handlers == [usual]
    monkeypatch.setenv("TERM", "unknown")
    assert not show_display(logger, "icons", 2, list) and logger.handlers == [usual]


UP = "\x1b[1A"


def test_what_the_shell_writes_below_the_display_is_left_alone(terminal, monkeypatch):
    stream, logger, report = terminal
    background = []
    monkeypatch.setattr("whyrobust.terminal.display._is_in_background", lambda stream: bool(background))
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    (display,) = logger.handlers

    def drawn():
        stream.seek(0)
        stream.truncate()
        display._draw()
        return stream.getvalue()

    first = drawn()
    assert "icons ╌" in first and UP not in first
    assert first.rindex("\x1b[?25h") > first.rindex("\x1b[?25l")  # the cursor is there if the study is stopped now
    assert UP in drawn()
    signal.raise_signal(signal.SIGCONT)  # as after Ctrl-Z and fg
    again = drawn()
    assert "icons ╌" in again and UP not in again
    background.append(True)
    assert " ".join(drawn().split()) == "icons goes on in the background; fg brings its display back."
    logger.warning("A warning.")
    assert stream.getvalue().endswith("A warning.\x1b[0m\n") and UP not in stream.getvalue()
    assert drawn() == ""
    background.clear()
    assert "icons ╌" in drawn() and UP in drawn()


def test_a_process_in_the_background_of_its_terminal_is_told_from_one_in_the_foreground():
    code = (
        "import os, pty, sys\nfrom whyrobust.terminal.display import _is_in_background\n"
        "child, _ = pty.fork()\n"
        "if not child:\n"
        "    front, job = _is_in_background(sys.stderr), os.fork()\n"
        "    if not job:\n        os.setpgid(0, 0)\n        os._exit(_is_in_background(sys.stderr))\n"
        "    os._exit(2 * front + os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


def test_signs_and_colours_are_those_that_the_terminal_has(show, monkeypatch):
    for settings, coloured in (({}, True), ({"nocolor": True}, False)):
        stream, logger, report = show(**settings)
        monkeypatch.setattr(Terminal, "encoding", "iso-8859-1")
        report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
        logger.handlers[0]._draw()
        logger.warning("A class is called 猫, one café.")
        text = stream.getvalue()
        assert "icons ...." in text and "A class is called ?, one café." in text and "╌" not in text
        assert ("\x1b[33m" in text) is coloured


def test_the_display_is_kept_up_to_date_until_the_terminal_is_gone(terminal, tmp_path, monkeypatch):
    monkeypatch.setattr("whyrobust.terminal.display.SECONDS_BETWEEN_UPDATES", 0.01)
    stream, logger, report = terminal
    report(LogEvent.RUN_INFO, per_rule_job_counts={}, total_job_count=4)
    report(LogEvent.JOB_INFO, jobid=1)
    (tmp_path / "1.log").write_text("2026-11-26 17:00:00,000 WARNING many pairs\n")
    (display,) = logger.handlers
    deadline = time.monotonic() + 10
    while "many pairs" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert time.monotonic() < deadline

    def hang_up(self, text):
        raise OSError(5, "Input/output error")

    unhandled = []
    monkeypatch.setattr(threading, "excepthook", unhandled.append)
    with monkeypatch.context() as context:
        context.setattr(Terminal, "write", hang_up, raising=False)
        display._updates.join(10)
        assert not display._updates.is_alive() and not unhandled
