"""Read the text of a picture from a file of its own, in a shard or beside the picture."""

from __future__ import annotations

from whyrobust.data.archives import Member, read_bytes
from whyrobust.data.record_writer import RecordBuffer

#: What is counted of pairs that are kept.
SEVERAL_LINES = "its text has several lines, which are one caption (the picture is kept)"
NOT_UTF8 = "its text is not UTF-8 (the picture is kept)"

#: What stands for bytes that are not UTF-8.
REPLACED = "\ufffd"


def read_caption(member: Member | None, records: RecordBuffer) -> str:
    """Return the text of a file, empty where there is none; several lines are one caption.

    That, and bytes that are not UTF-8, are counted.
    """
    text = read_text(member)
    if REPLACED in text:
        records.left_out[NOT_UTF8] += 1
    if sum(bool(line.strip()) for line in text.splitlines()) > 1:
        records.left_out[SEVERAL_LINES] += 1
    return text


def read_text(member: Member | None) -> str:
    """Return the text of a file, empty where there is none; bytes that are not UTF-8 are replaced."""
    if member is None or member.missing:
        return ""
    return read_bytes(member.file, member.offset, member.length).decode("utf-8", errors="replace")
