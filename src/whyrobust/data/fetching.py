"""Fetching the pictures of a list of addresses, in calls of img2dataset, each of them for what is still missing.

Links die and servers fail, so fewer pictures are obtained than are listed; what became of every address is known. An
address that failed is tried again after all others, in smaller shards, so that a server that never ends an answer costs
few others. Every call has a folder of its own, and a note of the shards that it brought: what processes of an
interrupted call may still write touches no other and does not count.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whyrobust.data.img2dataset import (
    ROWS_PER_GROUP,
    FetchSettings,
    PairError,
    call_img2dataset,
    read_shard,
    whole_shards,
)
from whyrobust.files import atomic_path, write_json

logger = logging.getLogger("whyrobust")

#: Shard name of pairs that no shard was to have.
NO_SHARD = "none"

#: Why an address has no picture, where img2dataset does not say.
NOT_TRIED, GIVEN_UP, STALLED = "not tried", "img2dataset gave its shard up", "the fetch stalled"
NO_ADDRESS, ANOTHER_REASON = "it is no address of http or https", "another reason"

#: How a call ended.
FINISHED, STOPPED, INTERRUPTED = "finished", "stalled and was ended", "was interrupted"

#: Failures that another try does not mend: it does not exist, or must not be fetched.
FINAL = re.compile(r"HTTP Error (401|403|404|410|451)\b|X-Robots-Tag")

#: Reasons that are told apart in all, and in the row of a shard.
MAXIMUM_REASONS, REASONS_PER_SHARD = 10_000, 5


class Outcome:
    """What became of each row of a list in the calls so far.

    Attributes:
        shards: names of shards, below the folder of the calls; the first is `NO_SHARD`.
        shard: the shard that has the picture of a row, or else the last that was to have it; int32 ``[rows]``.
        obtained: whether a row has a picture; bool ``[rows]``.
        final: whether another try is of no use; bool ``[rows]``.
        tries: how often a row was tried; int32 ``[rows]``.
        reason: number of the last reason why a row has no picture; int32 ``[rows]``.
    """

    def __init__(self, pairs: Path, folder: Path) -> None:
        """Read what is there.

        Args:
            pairs: the whole list.
            folder: of the calls.
        """
        rows = pq.read_metadata(pairs).num_rows
        self.shards, self._reasons = [NO_SHARD], {NOT_TRIED: 0, ANOTHER_REASON: 1}
        self.shard, self.tries, self.reason = (np.zeros(rows, np.int32) for _ in range(3))
        self.obtained, self.final = (np.zeros(rows, np.bool_) for _ in range(2))
        first = 0
        for batch in pq.ParquetFile(pairs).iter_batches(ROWS_PER_GROUP, columns=["url"]):
            fits = pc.match_substring_regex(batch["url"], r"(?i)^\s*https?://").to_numpy(zero_copy_only=False)
            self._fail(first + np.flatnonzero(~fits), NO_ADDRESS, final=True)
            first += len(fits)
        for call in sorted(folder.glob("call_*.parquet")):
            self._add_call(call)

    def _fail(self, rows: npt.NDArray[np.int64], reason: str, final: bool = False) -> None:
        """Note why rows have no picture."""
        if reason not in self._reasons and len(self._reasons) < MAXIMUM_REASONS:
            self._reasons[reason] = len(self._reasons)
        self.reason[rows], self.final[rows] = self._reasons.get(reason, self._reasons[ANOTHER_REASON]), final

    def _add_call(self, call: Path) -> None:
        """Add what a call brought; ``call`` is the list of its rows."""
        folder, listed = call.with_suffix(""), pq.read_table(call, columns=["row"])["row"].to_numpy()
        note = json.loads(call.with_suffix(".json").read_text(encoding="utf-8"))
        waiting = np.zeros(len(self.shard), np.bool_)
        waiting[listed] = True
        for name in note["shards"]:
            table = read_shard(folder, name)
            self.shards.append(f"{folder.name}/{name}.tar")
            waiting[table["row"].to_numpy()] = False
            self._add_shard(table)
        if note["ended"] == INTERRUPTED:  # what it did not finish was not tried
            return
        size = note["pairs_per_shard"]
        begun = np.repeat([(folder / f"{n:05d}.tar").exists() for n in range(-(-len(listed) // size))], size)
        tried = listed[begun[: len(listed)] & waiting[listed]]
        self.tries[tried] += 1
        self._fail(tried, STALLED if note["ended"] == STOPPED else GIVEN_UP)

    def _add_shard(self, table: pa.Table) -> None:
        """Add what became of the rows of a shard; its number is the last."""
        rows, messages = table["row"].to_numpy(), table["error_message"].to_pylist()
        success = pc.equal(table["status"], "success").to_numpy()
        self.tries[rows] += 1
        self.shard[rows] = len(self.shards) - 1
        self.obtained[rows[success]] = True
        failed: dict[str, list[int]] = {}
        for position in np.flatnonzero(~success).tolist():
            failed.setdefault(_one_line(messages[position]), []).append(position)
        for reason, positions in failed.items():
            self._fail(rows[positions], reason, final=FINAL.search(reason) is not None)

    def next_rows(self, attempts: int) -> npt.NDArray[np.bool_]:
        """Return the rows to be tried next: of those that may be tried again, those that were tried least."""
        waiting = ~self.obtained & ~self.final & (self.tries < attempts)
        return waiting & (self.tries == self.tries[waiting].min()) if waiting.any() else waiting

    def table(self) -> pd.DataFrame:
        """Return what each shard has, see `fetch_pairs`."""
        named = list(self._reasons)
        order = np.argsort(self.shard, kind="stable")
        borders = np.searchsorted(self.shard[order], np.arange(len(self.shards) + 1))
        rows = []
        for number, shard in enumerate(self.shards):
            here = order[borders[number] : borders[number + 1]]
            counts = Counter(self.reason[here[~self.obtained[here]]].tolist())
            common = {named[reason]: count for reason, count in counts.most_common(REASONS_PER_SHARD)}
            others = counts.total() - sum(common.values())
            if others:
                common[ANOTHER_REASON] = common.get(ANOTHER_REASON, 0) + others
            if len(here):
                rows.append((shard, len(here), int(self.obtained[here].sum()), json.dumps(common)))
        # Pairs without a shard last.
        rows.sort(key=lambda row: (row[0] == NO_SHARD, row[0]))
        return pd.DataFrame(rows, columns=["shard", "pairs", "obtained", "failures"])


def _one_line(message: str | None) -> str:
    return " ".join((message or "img2dataset gives no reason").split())[:200]


def _close(call: Path, ended: str, pairs_per_shard: int) -> None:
    """Note how a call ended, and the shards that it brought."""
    note = {"ended": ended, "pairs_per_shard": pairs_per_shard, "shards": whole_shards(call.with_suffix(""))}
    write_json(call.with_suffix(".json"), note)


def fetch_pairs(pairs: Path | str, folder: Path | str, settings: FetchSettings) -> pd.DataFrame:
    """Fetch the pictures of a list into WebDataset shards; a call continues where an earlier one was interrupted.

    Args:
        pairs: list of `img2dataset.write_pairs`.
        folder: where shards are written; finished ones are not fetched again.
        settings: how.

    Returns:
        One row per shard: ``shard, pairs, obtained``, and the most frequent reasons of failure as JSON in ``failures``.
        A pair counts for the shard that has its picture, or else for the last that was to have it; pairs of no shard
        are a last row, `NO_SHARD`.

    Raises:
        PairError: img2dataset failed, nothing at all was obtained, or the folder holds another list's shards.
    """
    pairs, folder = Path(pairs), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _check_list(pairs, folder, settings.shorter_side)
    for call in folder.glob("call_*.parquet"):
        if not call.with_suffix(".json").exists():
            _close(call, INTERRUPTED, settings.pairs_per_shard)
    outcome = Outcome(pairs, folder)
    while (rows := outcome.next_rows(settings.attempts)).any():
        tries = int(outcome.tries[rows].min())
        if tries:
            logger.info("%d failed addresses are tried again in %g s", rows.sum(), settings.retry_after_seconds)
            time.sleep(settings.retry_after_seconds)
        size = max(1, settings.pairs_per_shard // 10**tries)
        number = 1 + len(list(folder.glob("call_*.parquet")))
        call = folder / f"call_{number:06d}.parquet"
        _write_rows(pairs, rows, call)
        ended = FINISHED if call_img2dataset(call, call.with_suffix(""), settings, size) else STOPPED
        _close(call, ended, size)
        before, outcome = outcome, Outcome(pairs, folder)
        obtained = int(outcome.obtained.sum())
        logger.info("call %d %s; %d of %d pictures are there", number, ended, obtained, len(rows))
        if outcome.tries.sum() == before.tries.sum():
            raise PairError(f"img2dataset did nothing with {call}, call {number} {ended}: run it by hand")
    table = outcome.table()
    if not table["obtained"].sum():
        why = table["failures"].iloc[0] if len(table) else "the list is empty"
        raise PairError(
            f"none of the pairs in {pairs} could be fetched ({why}): look whether an address "
            "opens in a browser, then run again"
        )
    return table


def _check_list(pairs: Path, folder: Path, shorter_side: int | None) -> None:
    """Check that the folder is of this list and size, or new."""
    digest = hashlib.blake2b(digest_size=16)
    for batch in pq.ParquetFile(pairs).iter_batches(ROWS_PER_GROUP):
        digest.update(batch.serialize())
    here, noted = {"pairs": digest.hexdigest(), "shorter_side": shorter_side}, folder / "list.json"
    if noted.exists() and json.loads(noted.read_text(encoding="utf-8")) != here:
        raise PairError(
            f"the shards in {folder} were fetched from another list or at another size: remove the folder to fetch anew"
        )
    write_json(noted, here)


def _write_rows(pairs: Path, wanted: npt.NDArray[np.bool_], path: Path) -> None:
    """Write some rows of a list."""
    file, first = pq.ParquetFile(pairs), 0
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(ROWS_PER_GROUP):
            writer.write_batch(batch.filter(pa.array(wanted[first : first + len(batch)])))
            first += len(batch)


def obtained_shards(manifest: Path | str) -> list[str]:
    """Return the shards that have pictures, from a table of `fetch_pairs`; they lie in the folder of its name."""
    rows = pd.read_csv(manifest)
    return [(Path(manifest).with_suffix("") / shard).as_posix() for shard in rows.loc[rows["obtained"] > 0, "shard"]]


def count_failures(table: pd.DataFrame) -> dict[str, int]:
    """Return how many pictures could not be fetched, by reason, from rows of a table of `fetch_pairs`."""
    counts = sum((Counter(json.loads(failures)) for failures in table["failures"]), Counter[str]())
    return {f"it could not be fetched: {reason}": count for reason, count in counts.most_common()}
