"""Finished work that studies share: what a job made is found again by what it was made from.

That is the stage, the versions of its code and packages, its settings and the content of its inputs; the name of the
study and where its files are take no part. Snakemake's own cache between workflows was tried first: docs/dev/caching.md
says why it is not used. A job that costs something asks with `FinishedWork.of_job` as it starts, and either takes what
is there or keeps what it makes. Whatever goes wrong here, a study goes on as if nothing had been kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from whyrobust.files import atomic_folder, atomic_path, write_json
from whyrobust.study.content_digests import content_digest, digest_of_all, files_below

logger = logging.getLogger("whyrobust")

#: Names the folder, or is `OFF`; goes before the config.
VARIABLE = "WHYROBUST_FINISHED_WORK"
OFF = "none"

#: Part of every key: another number where keys or entries are made otherwise.
FORMAT = 1

MANIFEST = "manifest.json"

#: Ending, beside a job's log, of the note that its results were taken from here.
TAKEN = ".taken.json"

#: Work of more bytes than this is not kept, and none that leaves less room than this on the disk.
LARGEST_BYTES, LEAST_FREE_BYTES = 4 * 2**30, 5 * 2**30

#: Pictures of more bytes than this are not read for a key: on a slow disk that takes as long as what it may save.
MOST_BYTES_READ = 4 * 2**30

#: Days after which what a writer that was killed left behind is removed.
ABANDONED_DAYS = 1.0

COPIED_AT_ONCE = 2**20


class DamagedError(Exception):
    """An entry does not hold what its writer put there."""


def chosen_folder(environment: Mapping[str, str], setting: str | None, root: Path) -> Path | None:
    """Return where finished work is kept, None where it is not.

    Args:
        environment: variables; `VARIABLE` goes first.
        setting: of the config.
        root: folder that a relative path starts from.
    """
    named = environment.get(VARIABLE) or setting
    if named == OFF:
        return None
    if named:
        return root / Path(named).expanduser()
    with suppress(RuntimeError):  # there is no home folder
        caches = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(caches, "whyrobust", "finished")
    return None


@dataclass(frozen=True)
class FinishedWork:
    """The place of what a job makes.

    Attributes:
        folder: of all finished work; None where nothing is kept.
        stage: of the job.
        key: of what the job is made from.
        outputs: files and folders that it makes.
        note: file that says that they were taken from here.
        find_key: finds the key again.
        began: when its making did, as `time.monotonic` counts.
    """

    folder: Path | None
    stage: str
    key: str
    outputs: Sequence[str]
    note: Path
    find_key: Callable[[], str]
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of_job(
        cls,
        stage: str,
        job: Any,  # noqa: ANN401 - Snakemake's
        leave_out: Sequence[str] = (),
        list_named: Callable[[], Sequence[str]] = list,
    ) -> FinishedWork:
        """Return the place of what a job makes.

        Args:
            stage: name of its stage.
            job: what Snakemake gives the script.
            leave_out: parameters that change nothing in the results.
            list_named: lists the files that it reads since its inputs name them, as an index does pictures.
        """
        params = {name: value for name, value in job.params.items() if name not in leave_out}
        note = Path(job.log[0]).with_suffix(TAKEN)
        return cls.of_files(stage, note, params, named_paths(job.input), named_paths(job.output), list_named)

    @classmethod
    def of_files(
        cls,
        stage: str,
        note: Path,
        params: Mapping[str, Any],
        inputs: Sequence[tuple[str, str]],
        outputs: Sequence[tuple[str, str]],
        list_named: Callable[[], Sequence[str]] = list,
    ) -> FinishedWork:
        """Return the place of what is made from some inputs: of a whole job, or of a part that other jobs may have too.

        Args:
            stage: name of its stage.
            note: file that will say that the outputs were taken from here; it ends in `TAKEN`.
            params: that change the results.
            inputs: name and path of each.
            outputs: name and path of each.
            list_named: as for `of_job`.
        """
        note.unlink(missing_ok=True)
        folder = chosen_folder(os.environ, OFF, Path.cwd())
        if folder is None:
            return cls(None, stage, "", (), note, str)

        def find_key() -> str:
            return key_of(stage, params, inputs, outputs, folder, list_named())

        try:
            return cls(folder, stage, find_key(), [path for _, path in outputs], note, find_key)
        except (OSError, TypeError) as problem:
            logger.info("finished work is not looked for: %s", problem)
            return cls(None, stage, "", (), note, str)

    def begin(self) -> FinishedWork:
        """Return this as it begins now: what a job makes in parts took each its own time."""
        return replace(self, began=time.monotonic())

    def take(self) -> bool:
        """Copy the outputs from here, if they are here; return whether they were."""
        if self.folder is None:
            return False
        entry = self.folder / self.stage / self.key
        if not (entry / MANIFEST).exists():
            return False
        try:
            manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            for path, kept in zip(self.outputs, manifest["outputs"], strict=True):
                _copy(entry / kept["file"], Path(path), kept["sha256"])
            told = {name: manifest[name] for name in ("made", "seconds", "bytes")}
            write_json(self.note, {"stage": self.stage, "key": self.key, **told})
        except (DamagedError, FileNotFoundError, ValueError, KeyError, TypeError) as problem:
            logger.warning("finished work is damaged and is made anew: %s (%s)", entry, problem)
            _discard(entry)
            return False
        except OSError as problem:
            logger.info("finished work cannot be read: %s", problem)
            return False
        with suppress(OSError):  # of another user
            os.utime(entry / MANIFEST)
        logger.info("taken from finished work, made %(made)s in %(seconds)s s", told)
        return True

    def keep(self) -> None:
        """Keep a copy of the outputs for other studies."""
        if self.folder is None:
            return
        entry = self.folder / self.stage / self.key
        seconds = round(time.monotonic() - self.began, 1)
        try:
            size = sum(path.stat().st_size for output in self.outputs for path in _files_of(Path(output)))
            entry.parent.mkdir(parents=True, exist_ok=True)
            if size > LARGEST_BYTES or shutil.disk_usage(entry.parent).free - size < LEAST_FREE_BYTES:
                logger.info("results of %d bytes are not kept for other studies: too large, or little room", size)
                return
            if (entry / MANIFEST).exists():  # another writer was faster
                return
            if self.find_key() != self.key:
                logger.warning("results are not kept for other studies: an input has changed since this job began")
                return
            with atomic_folder(entry) as made:
                kept = []
                for number, output in enumerate(self.outputs):
                    kept.append({"file": str(number), "sha256": _copy(Path(output), made / str(number))})
                now = datetime.now(UTC).isoformat(timespec="seconds")
                told = {"made": now, "seconds": seconds, "bytes": size, "outputs": kept}
                write_json(made / MANIFEST, {"stage": self.stage, "key": self.key, **told})
        except OSError as problem:
            logger.info("results are not kept for other studies: %s", problem)


def named_paths(files: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - Snakemake's named list
    """Return the inputs or outputs of a job as pairs of name and path; several may have one name."""
    return [
        (name, path) for name, paths in files.items() for path in ([paths] if isinstance(paths, str) else list(paths))
    ]


def key_of(
    stage: str,
    params: Mapping[str, Any],
    inputs: Sequence[tuple[str, str]],
    outputs: Sequence[tuple[str, str]],
    folder: Path,
    named: Sequence[str] = (),
) -> str:
    """Return a checksum of what a job is made from.

    Args:
        stage: its name.
        params: its parameters. Paths of inputs in them count by the content, those of outputs by their place; of
            ``code``, the versions of inputs are left out, which count by their content.
        inputs: name and path of each.
        outputs: name and path of each.
        folder: of finished work, where checksums of large inputs are remembered.
        named: files that inputs name and the job reads; they count by their content, in this order.

    Raises:
        OSError: an input cannot be read, or these files are larger than `MOST_BYTES_READ` together.
        TypeError: a parameter is no plain value.
    """
    contents = [(name, content_digest(Path(path), folder / "digests")) for name, path in inputs]
    stands_for = {path: f"\0input {digest}" for (_, path), (_, digest) in zip(inputs, contents, strict=True)}
    stands_for |= {path: f"\0output {number}" for number, (_, path) in enumerate(outputs)}
    if named:
        size = sum(Path(path).stat().st_size for path in named)
        if size > MOST_BYTES_READ:
            raise OSError(f"{size / 1e9:,.1f} GB of pictures would be read for it")
        contents.append(("\0named", digest_of_all(map(Path, named), folder / "digests")))
    if isinstance(params.get("code"), Mapping):
        params = {**params, "code": {name: version for name, version in params["code"].items() if name != "inputs"}}
    made_from = [FORMAT, stage, _plain(params, stands_for), contents, [name for name, _ in outputs]]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def _plain(value: Any, stands_for: Mapping[str, str]) -> Any:  # noqa: ANN401 - a parameter of a rule
    """Return a parameter as JSON can hold it, in its order, and with the paths in it replaced."""
    if isinstance(value, str | Path):
        return _stand_in(str(value), stands_for)
    if isinstance(value, Mapping):
        return ["{", *([_plain(name, stands_for), _plain(each, stands_for)] for name, each in value.items())]
    if isinstance(value, Sequence):
        return ["[", *(_plain(each, stands_for) for each in value)]
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(f"a parameter is {value!r}, no plain value")


def _stand_in(text: str, stands_for: Mapping[str, str]) -> str:
    """Return what stands for a path, or for the folder that it lies in; any other text as it is."""
    for path in (text, *map(str, PurePath(text).parents)):
        if path in stands_for:
            return stands_for[path] + text.removeprefix(path)
    return text


def _files_of(output: Path) -> list[Path]:
    return [output / name for name in files_below(output)] if output.is_dir() else [output]


def _copy(source: Path, target: Path, expected: Any = None) -> Any:  # noqa: ANN401 - as a manifest holds it
    """Copy a file, or the files of a folder, whole or not at all; return their checksums.

    Raises:
        DamagedError: they are not the ``expected`` ones; nothing is left at ``target``.
    """
    if not source.is_dir():
        with atomic_path(target) as temporary:
            digest = _copy_bytes(source, temporary)
            if expected not in (None, digest):
                raise DamagedError(f"{source.name} has changed")
        return digest
    with atomic_folder(target) as folder:
        digests = {}
        for name in files_below(source):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            digests[name] = _copy_bytes(source / name, folder / name)
        if expected not in (None, digests):
            raise DamagedError(f"files of {source.name} have changed")
    return digests


def _copy_bytes(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while block := read.read(COPIED_AT_ONCE):
            digest.update(block)
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    return digest.hexdigest()


def _discard(entry: Path) -> None:
    """Remove an entry: at once for those who look for it, then file by file."""
    with suppress(OSError):
        gone = entry.rename(entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}.part"))
        shutil.rmtree(gone, ignore_errors=True)


def _entries(folder: Path) -> Iterator[tuple[Path, dict[str, Any], float]]:
    """Yield each entry with its manifest and when it was last used."""
    for path in folder.glob(f"*/*/{MANIFEST}"):
        if not path.parent.name.startswith("."):
            with suppress(OSError, ValueError):
                yield path.parent, json.loads(path.read_text(encoding="utf-8")), path.stat().st_mtime


def size_of(folder: Path) -> tuple[int, int]:
    """Return how many jobs' work is kept, and its bytes."""
    sizes = [int(manifest.get("bytes", 0)) for _, manifest, _ in _entries(folder)]
    return len(sizes), sum(sizes)


def forget(folder: Path, days: float) -> tuple[int, int]:
    """Remove what no study has used for some days, and what killed writers left behind; return as `size_of` does."""
    now, count, size = time.time(), 0, 0
    for entry, manifest, used in list(_entries(folder)):
        if now - used >= days * 86_400:
            _discard(entry)
            count, size = count + 1, size + int(manifest.get("bytes", 0))
    for left in [*folder.glob("*/.*.part"), *folder.glob("digests/*.json")]:
        limit = days if left.suffix == ".json" else ABANDONED_DAYS
        with suppress(OSError):
            if now - left.stat().st_mtime >= limit * 86_400:
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    return count, size


def spell_size(jobs: int, size: int) -> str:
    """Return in words how many jobs' work takes how much room."""
    return f"of {jobs:,} {'job' if jobs == 1 else 'jobs'}, {size / 1e6:,.1f} MB"


def describe(folder: Path, logs: Path) -> str:
    """Return in one line what a study took from here and what is here; arguments as those of `sum_taken`."""
    taken = ", ".join(f"{stage['results']:,.0f} of {name}" for name, stage in sum_taken(logs).items())
    took = f"Taken from finished work: {taken}. " if taken else ""
    size = spell_size(*size_of(folder))
    return f"{took}Kept for other studies: the work {size}, in {folder} (make forget DAYS=0 empties it)"


def sum_taken(logs: Path) -> dict[str, dict[str, float]]:
    """Return, by stage, how many results of a study were taken from here, and the seconds that making them took.

    A result is what a job makes, and where a job embeds several runs what it makes of each.

    Args:
        logs: folder of the study's logs.
    """
    stages: dict[str, dict[str, float]] = {}
    for path in sorted(logs.rglob(f"*{TAKEN}")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:  # the job began anew since
            continue
        stage = stages.setdefault(told["stage"], {"results": 0, "seconds": 0.0})
        stage["results"] += 1
        stage["seconds"] = round(stage["seconds"] + told["seconds"], 1)
    return stages
