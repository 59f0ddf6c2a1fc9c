"""Drawing a table of icons in killable worker processes, plain or posed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from whyrobust.data.svg import WHITE, DrawingError, check_size, draw_rgba, put_on_page
from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.study.table_cells import cell_text

if TYPE_CHECKING:
    import pandas as pd

    from whyrobust.data.pixel_store import Pixels

#: CPU time that one drawing may take; icons take milliseconds.
DRAWING_SECONDS = 10.0


def _draw_plain(svg: str, size: int, uid: str, seed: int) -> bytes:
    return put_on_page(draw_rgba(svg, size), WHITE).tobytes()


def _draw_posed(svg: str, size: int, uid: str, seed: int) -> bytes:
    # Imported here: processes that draw plain icons start without numpy.
    from whyrobust.data.icon_poses import pose_on_background

    return pose_on_background(svg, size, uid, seed).tobytes()


#: What draws an icon as each of `whyrobust.study.dataset_settings.POSES`: raw pixels of (svg, size, uid, seed).
DRAWN_AS: Final[dict[str, Callable[[str, int, str, int], bytes]]] = {"plain": _draw_plain, "posed": _draw_posed}


def _draw(task: tuple[str, str, int, str, int]) -> tuple[bytes | None, str]:
    """Draw one (uid, svg, size, pose, seed) in a worker process; return its raw pixels, or None and why it failed."""
    uid, svg, size, pose, seed = task
    try:
        return DRAWN_AS[pose](svg, size, uid, seed), ""
    except DrawingError as error:
        return None, str(error)


def draw_icons(
    drawings: pd.DataFrame, size: int, pose: str = "plain", seed: int = 0, workers: int = 1
) -> tuple[list[str], Pixels, pd.DataFrame]:
    """Draw every drawing of a table.

    Args:
        drawings: columns ``uid`` and ``svg``, one row per drawing.
        size: side of the images in pixels.
        pose: of `DRAWN_AS`. "plain" draws on white (``draw_svg``), "posed" turns and puts on backgrounds
            (``pose_on_background``).
        seed: seed of the poses; without effect on plain drawings.
        workers: number of processes. The result is the same for any number.

    Returns:
        uids of the images that were obtained, in the table's order; their pixels, uint8 ``[n, size, size,
        3]``; and the failures, a table ``uid, reason``.

    Raises:
        ValueError: a column is missing, a uid comes twice, or the pose or the number of workers is unknown.
    """
    import numpy as np
    import pandas as pd

    from whyrobust.data.records import check_uids
    from whyrobust.progress import ProgressBar

    check_size(size)
    if pose not in DRAWN_AS:
        raise ValueError(f"pose is {pose!r}; use one of {', '.join(map(repr, DRAWN_AS))}")
    if workers < 1:
        raise ValueError(f"workers is {workers}; use 1 or more")
    missing = {"uid", "svg"} - set(drawings.columns)
    if missing:
        raise ValueError(f"the drawings table lacks {sorted(missing)}; it has {list(drawings.columns)}")
    uids = [str(uid) for uid in drawings["uid"]]
    check_uids(uids, "the drawings table")
    pairs = list(zip(uids, (cell_text(svg) for svg in drawings["svg"]), strict=True))
    tasks = [(uid, svg, size, pose, seed) for uid, svg in pairs]
    pixels = np.empty((len(pairs), size, size, 3), dtype=np.uint8)
    kept: list[str] = []
    failures: list[tuple[str, str]] = []
    with ProgressBar(len(pairs), "drawing", "images") as progress:
        waiting = iter(uids)
        for results in map_isolated(_draw, tasks, workers, cpu_seconds=DRAWING_SECONDS):
            for result, uid in zip(results, waiting, strict=False):
                raw, reason = (None, result.reason) if isinstance(result, Death) else result
                if raw is None:
                    failures.append((uid, reason))
                else:
                    pixels[len(kept)] = np.frombuffer(raw, dtype=np.uint8).reshape(size, size, 3)
                    kept.append(uid)
            progress.update(len(results))
    return kept, pixels[: len(kept)], pd.DataFrame(failures, columns=["uid", "reason"], dtype="str")


def draw_plain(drawings: pd.DataFrame, uids: Sequence[str], size: int, workers: int) -> Pixels:
    """Draw the plain icons of posed images, for their fingerprints.

    Args:
        drawings: columns ``uid`` and ``svg``.
        uids: of the posed images.
        size: side of the images in pixels.
        workers: number of processes.

    Returns:
        uint8 ``[len(uids), size, size, 3]``, in the order of ``uids``.

    Raises:
        ValueError: an icon that was posed cannot be drawn plain.
    """
    from whyrobust.data.records import require_rows_of_uids

    rows = require_rows_of_uids(drawings["uid"].tolist(), uids, "the drawings table")
    drawn, pixels, failures = draw_icons(drawings.iloc[rows], size, workers=workers)
    if drawn != list(uids):
        uid, reason = failures.iloc[0]
        raise ValueError(
            f"{len(failures)} of {len(uids)} posed icons cannot be drawn plain, for example {uid}: {reason}; leave "
            "them out of the drawings"
        )
    return pixels
