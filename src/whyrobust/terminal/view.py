"""What is known of a study that runs, as lines of text for a terminal of any width."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from whyrobust.terminal.at_work import JobAtWork, StudyAtWork

#: Cells of the bar of a job and of the whole study.
JOB_BAR, STUDY_BAR = 16, 24

#: What the full and the empty cells of a bar are.
FULL, EMPTY = "━", "╌"

#: Share of the jobs left whose time must be known before one is told for all.
LEAST_KNOWN_SHARE = 0.5

#: Lines that a list of stages may take.
MOST_LINES_OF_STAGES = 2

#: The narrowest terminal that the lines are made for.
NARROWEST = 20

#: The space between a number and what it counts, where no line is broken; and what stands for it meanwhile.
_AFTER_NUMBER, _UNBROKEN = re.compile(r"(?<=\d) (?=[^\W\d]|%)"), "\0"

#: Indent of all lines that go on.
INDENT = "  "


def spell_time(seconds: float) -> str:
    """Return minutes and seconds, or hours, minutes and seconds, as a clock shows them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def spell_rate(per_second: float, unit: str) -> str:
    """Return a rate with three digits or more, and bytes in megabytes."""
    if unit == "B":
        return f"{per_second / 1e6:,.1f} MB/s"
    return f"{per_second:,.0f} {unit}/s" if per_second >= 100 else f"{per_second:.3g} {unit}/s"


def draw_bar(share: float, cells: int) -> str:
    """Return a bar of so many cells, filled to a share."""
    full = min(cells, int(share * cells))
    return FULL * full + EMPTY * (cells - full)


def wrap(text: str, width: int, first: str = "", rest: str = INDENT) -> list[str]:
    """Return a text in lines that are no wider than ``width``, broken between words; a longer path stays whole.

    A number stays beside what it counts.
    """
    lines = textwrap.wrap(
        _AFTER_NUMBER.sub(_UNBROKEN, text),
        max(width, NARROWEST),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_UNBROKEN, " ") for line in lines] or [""]


def headline(study: StudyAtWork, now: float, width: int) -> list[str]:
    """Return how far the study is, and its time so far and left."""
    total, done = study.planned.total(), study.done.total()
    left, known = study.seconds_left(now)
    told = [f"{done} of {total} jobs", f"{spell_time(now - study.began)} so far"]
    if known > LEAST_KNOWN_SHARE:
        told.append(f"{'about' if known == 1 else 'at least'} {spell_time(left)} left")
    bar = draw_bar(done / total if total else 0.0, STUDY_BAR)
    return wrap(f"{study.name} {bar} {', '.join(told)}", width)


def stage_lines(study: StudyAtWork, width: int) -> list[str]:
    """Return the stages that are done, at work and waiting, a paragraph each; of many the latest and the next."""
    at_work = {running.job.stage for running in study.at_work.values()}
    done = [stage for stage, planned in study.planned.items() if study.done[stage] == planned]
    begun = [stage for stage in study.planned if stage not in done and (stage in at_work or study.done[stage])]
    waiting = [stage for stage in study.planned if stage not in done and stage not in begun]
    lines = []
    if done:
        lines += list_stages("Done", [f"{stage} {study.planned[stage]}" for stage in reversed(done)], width)
    if begun:
        lines += list_stages(
            "Begun", [f"{stage} {study.done[stage]} of {study.planned[stage]}" for stage in begun], width
        )
    if waiting:
        lines += list_stages("Waiting", [f"{stage} {study.planned[stage]}" for stage in waiting], width)
    return lines


def list_stages(head: str, stages: Sequence[str], width: int) -> list[str]:
    """Return a list of stages in two lines at most, each with its numbers on one line."""
    for shown in range(len(stages), 0, -1):
        hidden = len(stages) - shown
        listed = [*stages[:shown], *([f"and {hidden} more"] if hidden else [])]
        text = ", ".join(part.replace(" ", _UNBROKEN) for part in listed)
        lines = wrap(f"{head}: {text}", width)
        if len(lines) <= MOST_LINES_OF_STAGES:
            break
    return lines


def job_lines(study: StudyAtWork, running: JobAtWork, now: float, width: int) -> list[str]:
    """Return what a job is about and how far it is: in one line where that is short."""
    job, note = running.job, running.note
    about = f"{job.stage}: {job.label}" if job.label else job.stage
    told = []
    if note is not None and note.waits_for:
        told = [f"waits for {note.waits_for}", f"{spell_time(now - running.began)} so far"]
    else:
        left = running.seconds_left(now, study.expected_seconds(job))
        if note is not None and note.total:
            share = note.done / note.total
            told.append(f"{draw_bar(share, JOB_BAR)} {share:4.0%}")
        if note is not None and note.loss is not None:
            told.append(f"loss {note.loss:.3f}")
        if note is not None and note.per_second:
            told.append(spell_rate(note.per_second, note.unit))
        told.append(f"{spell_time(now - running.works_since)} so far" if left is None else f"{spell_time(left)} left")
    state = "   ".join(told)
    if len(INDENT) + len(about) + 3 + len(state) <= width:
        return [f"{INDENT}{about}   {state}"]
    return [*wrap(about, width, INDENT, INDENT * 2), *wrap(state, width, INDENT * 2, INDENT * 2)]


def draw(study: StudyAtWork, now: float, width: int, height: int) -> str:
    """Return all lines of the display, as many as the terminal has room for.

    Args:
        study: that runs.
        now: in seconds of the clock that the study's times are of.
        width: of the terminal, in characters.
        height: of the terminal, in lines.
    """
    # A line as wide as the terminal would be followed by an empty one on some.
    width -= 1
    lines = headline(study, now, width)
    stages = stage_lines(study, width)
    jobs = [job_lines(study, running, now, width) for running in study.at_work.values()]
    room = height - 1 - len(lines) - 1
    shown: list[str] = []
    hidden = 0
    for number, job in enumerate(jobs):
        if len(shown) + len(job) > room:
            hidden = len(jobs) - number
            break
        shown += job
    # Stages come above the jobs where there is room for both.
    if len(shown) + len(stages) <= room:
        lines += stages
    lines += shown
    if hidden:
        lines.append(f"{INDENT}and {hidden} more at work")
    return "\n".join(lines)
