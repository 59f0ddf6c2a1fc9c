"""Drawings turned into pixels, against cairosvg in as many processes.

Both sides draw the same SVG documents of the Iconify collection at 64 pixels into RGB on white; ours also looks for
what a drawing may not hold, and puts each process under a limit of time and memory.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.rows import Aim, CannotMeasureError, Measured, Row, Setting

ARCHIVE = Path(__file__).parent.parent / "downloads" / "iconify.tgz"
SIDE = 64
#: One-colour interface icons, and emoji in colours with gradients.
SETS = ("mdi", "noto")


def prepare(setting: Setting) -> None:
    """Take drawings from the archive of the default study."""
    from whyrobust.data.iconify import read_icon_sets, read_icons, svg_document

    if not ARCHIVE.is_file():
        raise CannotMeasureError(f"{ARCHIVE.name} is not in downloads: call make study, which fetches it")
    documents = []
    for icon_set in read_icon_sets(ARCHIVE, list(SETS)):
        of_set = [svg_document(icon) for icon in read_icons(icon_set)]
        documents += of_set[: setting.size(3000, 50)]
    (setting.folder / "drawings.json").write_text(json.dumps(documents), encoding="utf-8")


def read_documents(setting: Setting) -> list[str]:
    """Return the drawings."""
    documents: list[str] = json.loads((setting.folder / "drawings.json").read_text(encoding="utf-8"))
    return documents


def ours(setting: Setting) -> Measured:
    """Draw as the stage does, the start of its processes included."""
    import pandas as pd

    from whyrobust.data.icon_drawing import draw_icons

    documents = read_documents(setting)
    drawings = pd.DataFrame({"uid": [str(number) for number in range(len(documents))], "svg": documents})
    began = time.perf_counter()
    uids, _, _ = draw_icons(drawings, size=SIDE, pose="plain", seed=0, workers=setting.cores)
    return Measured(len(documents) / (time.perf_counter() - began), {"share drawn": len(uids) / len(documents)})


def draw_with_cairosvg(documents: Sequence[str]) -> int:
    """Draw documents one after the other; return how many could be."""
    import cairosvg
    from PIL import Image

    drawn = 0
    for document in documents:
        try:
            png = cairosvg.svg2png(document.encode(), output_width=SIDE, output_height=SIDE, background_color="white")
            np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
            drawn += 1
        except Exception:
            continue
    return drawn


def peer(setting: Setting) -> Measured:
    """Draw with cairosvg in as many processes, their start included."""
    import cairosvg  # noqa: F401 - whether it is there

    documents = read_documents(setting)
    chunks = [documents[start : start + 64] for start in range(0, len(documents), 64)]
    began = time.perf_counter()
    with ProcessPoolExecutor(setting.cores, mp_context=multiprocessing.get_context("spawn")) as executor:
        sum(executor.map(draw_with_cairosvg, chunks))
    return Measured(len(documents) / (time.perf_counter() - began))


ROWS = (
    Row(
        name="draw_icons",
        what="SVG drawings to 64 pixels, half of them one-colour icons, half emoji",
        unit="drawings/s",
        ours=ours,
        peer="cairosvg, as many processes",
        measure_peer=peer,
        aims={"cpu": (Aim(least=2),)},
        limit="resvg's drawing of gradients and masks",
        prepare=prepare,
        devices=("cpu",),
        rounds=2,
    ),
)
