"""Files that a config names at once: by patterns, braces, lists in one text, folders of shards or of Parquet files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: Settings that may name a folder in place of the files in it, and how those end.
FILES_IN_FOLDERS = {"shards": (".tar",), "table": (".parquet",), "addresses": (".parquet",)}

#: Files that braces may name: more are a slip of the pen.
MAXIMUM_NAMES = 1_000_000

_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


class PatternError(ValueError):
    """A pattern that names too many files, or is none."""


def expand_braces(text: str) -> list[str]:
    """Return the texts that braces stand for: ``{000..123}`` and ``{a,b}``, as shells and WebDataset read them.

    Raises:
        PatternError: there are more than `MAXIMUM_NAMES`.
    """
    found = _BRACES.search(text)
    if found is None:
        return [text]
    if found[3] is not None:
        middle: Sequence[str] = found[3].split(",")
    else:
        first, last = int(found[1]), int(found[2])
        width = max(len(found[1]), len(found[2])) if "0" in (found[1][0], found[2][0]) else 1
        step = 1 if last >= first else -1
        _check_number(text, abs(last - first) + 1)
        middle = [f"{number:0{width}}" for number in range(first, last + step, step)]
    ends = expand_braces(text[found.end() :])
    _check_number(text, len(middle) * len(ends))
    return [text[: found.start()] + each + end for each in middle for end in ends]


def _check_number(text: str, count: int) -> None:
    if count > MAXIMUM_NAMES:
        raise PatternError(
            f"'{text}' names {count:,} files, and at most {MAXIMUM_NAMES:,} are looked for: give fewer, or a pattern"
        )


def matching_files(patterns: Sequence[str], root: Path, endings: tuple[str, ...] = ()) -> list[str]:
    """Return the files and folders of a list, in which patterns are replaced by what they match, sorted.

    Args:
        patterns: paths; with ``*``, ``?``, ``[...]``, braces, a home folder ``~``, or several joined by ``::``.
        root: folder that relative paths start from.
        endings: of files that a folder stands for; without them a folder stands for itself.

    Raises:
        PatternError: braces name too many files, or ``**`` is not a whole folder name.
    """
    found: list[str] = []
    for text in patterns:
        if (root / text).exists():
            found += _in_folder(text, root, endings)
            continue
        for piece in (each for part in text.split("::") for each in expand_braces(part)):
            path = Path(piece).expanduser()
            for each in _matches(path, root) if any(mark in piece for mark in "*?[") else [path]:
                found += _in_folder(each.as_posix(), root, endings)
    return found


def _matches(pattern: Path, root: Path) -> list[Path]:
    if (root / pattern).exists():
        return [pattern]
    if any("**" in part and part != "**" for part in pattern.parts):
        raise PatternError(f"'{pattern}' has ** beside other letters: write it alone, as in shards/**/*.tar, or *")
    start = Path(pattern.anchor) if pattern.is_absolute() else root
    found = start.glob(pattern.relative_to(pattern.anchor).as_posix())
    # As in a shell: macOS puts a hidden file beside each.
    matched = sorted(path for path in found if not path.name.startswith(".") or pattern.name.startswith("."))
    return matched if pattern.is_absolute() else [path.relative_to(root) for path in matched]


def _in_folder(text: str, root: Path, endings: tuple[str, ...]) -> list[str]:
    """Return a path, or the files of a folder that end as asked for."""
    folder = root / text
    if not endings or not folder.is_dir():
        return [text]
    names = sorted(path.name for path in folder.iterdir() if path.name.endswith(endings) and path.name[0] != ".")
    return [(Path(text) / name).as_posix() for name in names]


def wrong_shard_number(shards: Sequence[str], root: Path) -> str:
    """Return what is wrong where a folder's ``nshards.txt`` says that there are other shards than those given.

    A list of some of a folder's shards is a choice; a folder that lacks some was fetched in part.
    """
    by_folder: dict[Path, set[str]] = {}
    for shard in shards:
        by_folder.setdefault((root / shard).parent, set()).add(Path(shard).name)
    for folder, names in by_folder.items():
        count = folder / "nshards.txt"
        there = {path.name for path in _matches(folder / "*.tar", folder)} if count.is_file() else set()
        said = count.read_text(encoding="utf-8", errors="replace").strip() if there else ""
        if names >= there and said != str(len(there)) and there:
            return f"{count} says {said[:20]!a} shards, and there are {len(there)}: fetch those that are missing"
    return ""
