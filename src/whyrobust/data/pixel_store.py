"""From drawings to pixels: SVG drawing, posed copies on backgrounds, and the image store.

It stands alone because the rest of the package reads pixels from one place and in one form: uint8 RGB
squares by uid. Drawing is the only step that reads text written by strangers, so what a drawing may hold is
checked here too.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import numpy.typing as npt
from PIL import Image

from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.files import atomic_path
from whyrobust.study.table_cells import cell_text

if TYPE_CHECKING:
    import pandas as pd

Pixels = npt.NDArray[np.uint8]
Pose = Literal["plain", "posed"]

# A drawing whose strongest pixel is closer than this to white (of 255 levels) shows nothing.
MINIMUM_INK_LEVELS = 16
# Deeply nested groups overflow the drawing library's stack (seen at 400 levels); real icons stay below 20.
MAXIMUM_NESTING = 64
# A posed drawing is drawn at this multiple of the final size, then reduced, so that turning does not blur it.
POSE_OVERSAMPLING = 2
# Largest turn of a posed drawing to either side. ObjectNet turns objects freely; at icon sizes a free turn
# makes many classes (arrows, flags, check marks) change their meaning, so the turn stays within one that
# people follow.
MAXIMUM_TURN_DEGREES = 30.0
POSE_SCALE_RANGE = (0.62, 0.88)
POSE_SHIFT_SHARE = 0.08
# Mean distance (of 1.0, over RGB) that a background keeps from the object's own colour.
MINIMUM_BACKGROUND_CONTRAST = 0.30
# Processor time of one drawing; icons take milliseconds.
DRAWING_SECONDS = 10.0


class DrawingError(ValueError):
    """A drawing that cannot be turned into an image; the message says why."""


class MissingImageError(ValueError):
    """Images asked for by uid that the store does not hold."""


def _check_drawing(svg: str) -> None:
    """Raise DrawingError for a document that is broken, nested too deeply, or points outside itself.

    The drawing library opens files that an ``<image>`` or ``<feImage>`` names, and has no switch against
    it, so every reference must point inside the document (``#id``). A DOCTYPE could define entities that
    hide one. Text is refused too: its look would depend on the fonts of the machine.
    """
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MAXIMUM_NESTING:
            raise DrawingError(f"elements nested more than {MAXIMUM_NESTING} deep")
        local = name.rpartition(":")[2]
        if local in {"text", "foreignObject", "image", "feImage"}:
            raise DrawingError(f"holds a <{local}> element; only shapes are drawn")
        for key, value in attributes.items():
            if key.rpartition(":")[2] == "href" and not value.startswith("#"):
                raise DrawingError(f"<{local}> refers to something outside the drawing: {value[:60]!r}")

    def end(_name: str) -> None:
        nonlocal depth
        depth -= 1

    def doctype(*_arguments: object) -> None:
        raise DrawingError("holds a DOCTYPE, which could define entities")

    # The processor is namespace-blind on purpose: any prefix before "image" or "href" is caught.
    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(svg.encode("utf-8"), True)
    except expat.ExpatError as error:
        raise DrawingError(f"not well-formed XML: {error}") from error
    except UnicodeEncodeError as error:
        raise DrawingError(f"not valid Unicode text: {error.reason}") from error


def _settle_animations(svg: str) -> str:
    """Return the drawing as it stands after its animations: each frozen end value replaces the attribute.

    Some sets draw their lines one after the other and start from an almost empty picture. Only animations
    that keep their end state (``fill="freeze"``) count; endless ones leave the drawing as written.
    """
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in parent:
            local = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
            if local not in {"animate", "set"} or child.get("fill") != "freeze":
                continue
            name = child.get("attributeName")
            last = child.get("to") or child.get("values", "").rstrip(" ;").rpartition(";")[2].strip()
            if name and last:
                parent.set(name, last)
    return ElementTree.tostring(root, encoding="unicode")


def _draw_rgba(svg: str, size: int) -> Image.Image:
    """Draw on nothing: a square RGBA image, the drawing centred and as large as fits."""
    import resvg_py

    if not svg.strip():
        raise DrawingError("the drawing is empty")
    _check_drawing(svg)
    if "<animate" in svg or "<set" in svg:
        svg = _settle_animations(svg)
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in the library derives from BaseException
        raise DrawingError(f"cannot be drawn: {error}") from error
    drawn = Image.open(io.BytesIO(png), formats=["PNG"]).convert("RGBA")
    if drawn.size == (size, size):
        return drawn
    square = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
    return square


def _on_white(drawing: Image.Image) -> Pixels:
    """Composite an RGBA drawing on white; raise DrawingError when nothing can be seen on it."""
    white = Image.new("RGBA", drawing.size, (255, 255, 255, 255))
    pixels = np.array(Image.alpha_composite(white, drawing).convert("RGB"))
    if 255 - int(pixels.min()) < MINIMUM_INK_LEVELS:
        raise DrawingError("nothing can be seen on white: the drawing is blank or white")
    return pixels


def draw_svg(svg: str, size: int) -> Pixels:
    """Draw an SVG document on white.

    Args:
        svg: a whole SVG document. ``currentColor`` is black. Nothing is read from disk or network for it.
        size: side of the image in pixels.

    Returns:
        uint8 ``[size, size, 3]``, RGB. A drawing that is not square is centred on its longer side.

    Raises:
        DrawingError: the document is broken, refers to something outside itself, holds text or bitmaps, or
            shows nothing on white.
    """
    _check_size(size)
    return _on_white(_draw_rgba(svg, size))


def _check_size(size: int) -> None:
    if size < 1:
        raise ValueError(f"an image side of {size} pixels was asked for; give 1 or more")


def _uniform(generator: np.random.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(generator.random())


def _pose_generator(uid: str, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed}:{uid}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def _background_colour(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return one pale RGB colour (0..1) of a wall, floor or cloth, of any hue.

    Pale, because all training pages are white: on stronger backgrounds every model is near chance, and a shift on
    which all fail alike tells nothing. Chosen with the standard models alone (docs/method.md).
    """
    hue = float(generator.random())
    saturation = _uniform(generator, 0.0, 0.15)
    value = _uniform(generator, 0.9, 1.0)
    turn = (np.array([5.0, 3.0, 1.0]) + hue * 6.0) % 6.0
    return np.asarray(value - value * saturation * np.clip(np.minimum(turn, 4.0 - turn), 0.0, 1.0))


def _background_weights(generator: np.random.Generator, size: int) -> npt.NDArray[np.float64]:
    """Return how much of the second colour each pixel takes, ``[size, size]``, 0..1.

    One of: a plain colour, a gradient, stripes, a chequerboard, dots, or smooth noise.
    """
    kind = int(generator.random() * 6)
    angle = _uniform(generator, 0.0, 2.0 * math.pi)
    period = _uniform(generator, 0.12, 0.35)
    steps = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(steps, steps)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = -x * math.sin(angle) + y * math.cos(angle)
    if kind == 0:
        return np.zeros((size, size))
    if kind == 1:
        return np.asarray((along - along.min()) / max(float(np.ptp(along)), 1e-9))
    if kind == 2:
        return np.asarray((along / period % 1.0 < 0.5).astype(np.float64))
    if kind == 3:
        return np.asarray(((along / period % 1.0 < 0.5) ^ (across / period % 1.0 < 0.5)).astype(np.float64))
    if kind == 4:
        radius = np.hypot(along / period % 1.0 - 0.5, across / period % 1.0 - 0.5)
        return np.asarray((radius < 0.3).astype(np.float64))
    noise = np.zeros((size, size))
    for cells, weight in ((3, 0.5), (6, 0.3), (16, 0.2)):
        coarse = Image.fromarray(generator.random((cells, cells)).astype(np.float32))
        noise += weight * np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    return np.clip(noise, 0.0, 1.0)


def _background(
    generator: np.random.Generator, size: int, object_colour: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return an RGB background ``[size, size, 3]``, 0..1, whose colours keep away from the object's own."""
    colours = []
    for _ in range(2):
        candidates = [_background_colour(generator) for _ in range(12)]
        distances = [float(np.abs(candidate - object_colour).mean()) for candidate in candidates]
        enough = [i for i, distance in enumerate(distances) if distance >= MINIMUM_BACKGROUND_CONTRAST]
        colours.append(candidates[enough[0] if enough else int(np.argmax(distances))])
    # The second colour stays near the first, so that the pattern does not outshout the object.
    second = colours[0] + _uniform(generator, 0.35, 0.8) * (colours[1] - colours[0])
    weights = _background_weights(generator, size)[:, :, None]
    return np.asarray(colours[0] * (1.0 - weights) + second * weights)


def pose_on_background(
    drawing: str | Pixels,
    size: int,
    uid: str,
    seed: int,
    maximum_turn_degrees: float = MAXIMUM_TURN_DEGREES,
) -> Pixels:
    """Turn, scale and shift a drawing at random and put it on a random background.

    This gives the icons study a test set that differs from training as ObjectNet does (Barbu et al. 2019):
    objects turned, and on backgrounds that say nothing about them. Everything random follows from sha256 of
    seed and uid.

    Args:
        drawing: a whole SVG document, or uint8 RGBA pixels ``[side, side, 4]``.
        size: side of the result in pixels.
        uid: identifier of the drawing; another uid gives another pose and background.
        seed: another seed gives other poses for all uids.
        maximum_turn_degrees: largest turn to either side.

    Returns:
        uint8 ``[size, size, 3]``, RGB.

    Raises:
        DrawingError: the SVG cannot be drawn, or the drawing is transparent everywhere.
    """
    _check_size(size)
    work = size * POSE_OVERSAMPLING
    if isinstance(drawing, str):
        image = _draw_rgba(drawing, work)
    else:
        if drawing.ndim != 3 or drawing.shape[0] != drawing.shape[1] or drawing.shape[2] != 4:
            raise ValueError(f"{uid}: RGBA pixels of shape [side, side, 4] are needed, got {drawing.shape}")
        image = Image.fromarray(drawing).resize((work, work), Image.Resampling.BICUBIC)
    box = image.getchannel("A").getbbox()
    if box is None or image.getchannel("A").getextrema()[1] < MINIMUM_INK_LEVELS:  # type: ignore[operator]
        raise DrawingError("nothing can be seen: the drawing is transparent everywhere")

    generator = _pose_generator(uid, seed)
    angle = math.radians(_uniform(generator, -maximum_turn_degrees, maximum_turn_degrees))
    extent = max(box[2] - box[0], box[3] - box[1])
    scale = _uniform(generator, *POSE_SCALE_RANGE) * work / extent
    shift_x = _uniform(generator, -POSE_SHIFT_SHARE, POSE_SHIFT_SHARE) * work
    shift_y = _uniform(generator, -POSE_SHIFT_SHARE, POSE_SHIFT_SHARE) * work

    # Pillow wants the inverse map: for each output pixel, where in the drawing it comes from.
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    from_x, from_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    to_x, to_y = work / 2 + shift_x, work / 2 + shift_y
    inverse = (cos, sin, from_x - cos * to_x - sin * to_y, -sin, cos, from_y + sin * to_x - cos * to_y)
    turned = image.transform((work, work), Image.Transform.AFFINE, inverse, Image.Resampling.BICUBIC)
    layer = np.asarray(turned.reduce(POSE_OVERSAMPLING), dtype=np.float64) / 255.0
    alpha = layer[:, :, 3:]
    if float(alpha.sum()) <= 0.0:
        raise DrawingError("nothing is left of the drawing at this size")
    object_colour = (layer[:, :, :3] * alpha).sum(axis=(0, 1)) / alpha.sum()
    background = _background(generator, size, object_colour)
    return np.asarray(np.rint((layer[:, :, :3] * alpha + background * (1.0 - alpha)) * 255.0), dtype=np.uint8)


def _draw(task: tuple[str, str, int, Pose, int]) -> tuple[bytes | None, str]:
    """Draw one (uid, svg, size, pose, seed) in a process of its own: its raw pixels, or None and the reason."""
    uid, svg, size, pose, seed = task
    try:
        pixels = draw_svg(svg, size) if pose == "plain" else pose_on_background(svg, size, uid, seed)
    except DrawingError as error:
        return None, str(error)
    return pixels.tobytes(), ""


def build_images(
    drawings: pd.DataFrame, size: int, pose: Pose = "plain", seed: int = 0, workers: int = 1
) -> tuple[list[str], Pixels, pd.DataFrame]:
    """Draw every drawing of a table.

    Args:
        drawings: columns ``uid`` and ``svg``, one row a drawing.
        size: side of the images in pixels.
        pose: "plain" draws on white (``draw_svg``), "posed" turns and puts on backgrounds
            (``pose_on_background``).
        seed: seed of the poses; without effect on plain drawings.
        workers: number of processes. The result is the same for any number.

    Returns:
        uids of the images that were obtained, in the table's order; their pixels, uint8 ``[n, size, size,
        3]``; and the failures, a table ``uid, reason``.

    Raises:
        ValueError: a column is missing, a uid comes twice, or the pose or the number of workers is unknown.
    """
    import pandas as pd
    from tqdm import tqdm

    _check_size(size)
    if pose not in ("plain", "posed"):
        raise ValueError(f"pose is {pose!r}; use 'plain' or 'posed'")
    if workers < 1:
        raise ValueError(f"workers is {workers}; use 1 or more")
    missing = {"uid", "svg"} - set(drawings.columns)
    if missing:
        raise ValueError(f"the drawings table lacks {sorted(missing)}; it has {list(drawings.columns)}")
    uids = [str(uid) for uid in drawings["uid"]]
    _check_unique(uids, "the drawings table")
    pairs = list(zip(uids, (cell_text(svg) for svg in drawings["svg"]), strict=True))
    tasks = [(uid, svg, size, pose, seed) for uid, svg in pairs]
    pixels = np.empty((len(pairs), size, size, 3), dtype=np.uint8)
    kept: list[str] = []
    failures: list[tuple[str, str]] = []
    with tqdm(total=len(pairs), desc="drawing", unit="image") as progress:
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


def check_failure_share(failures: pd.DataFrame, total: int, allowed_share: float = 0.01) -> None:
    """Raise ValueError when more than ``allowed_share`` (0..1) of ``total`` images could not be obtained."""
    if total <= 0:
        raise ValueError("no image was asked for, so no share of failures exists; check the table before this step")
    share = len(failures) / total
    if share > allowed_share:
        reasons = failures["reason"].value_counts().head(3)
        examples = "; ".join(
            f"{count} x {reason} (e.g. {failures.loc[failures['reason'] == reason, 'uid'].iloc[0]})"
            for reason, count in reasons.items()
        )
        raise ValueError(
            f"{len(failures)} of {total} images failed ({share:.1%}, allowed {allowed_share:.1%}): "
            f"{examples}. Repair or leave out these drawings, or allow a larger share."
        )


def _check_unique(uids: Sequence[str], where: str) -> None:
    if len(set(uids)) != len(uids):
        twice = sorted(uid for uid, count in Counter(uids).items() if count > 1)
        raise ValueError(f"{where} holds {len(twice)} uid(s) more than once, e.g. {twice[:3]}; keep one of each")


def _check_pixels(pixels: npt.NDArray[Any]) -> None:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(f"pixels must be uint8 [n, size, size, 3]; got {pixels.dtype} {list(shape)}")


def write_images(path: Path | str, uids: Sequence[str], pixels: Pixels) -> None:
    """Write images as one Arrow IPC file, whole or not at all.

    Args:
        path: the file to write.
        uids: one a image, each once.
        pixels: uint8 ``[n, size, size, 3]``, RGB.

    Raises:
        ValueError: counts differ, a uid comes twice, or the pixels have another type or shape.
    """
    import pyarrow as pa

    _check_pixels(pixels)
    if len(uids) != len(pixels):
        raise ValueError(f"{len(uids)} uids for {len(pixels)} images; give one uid for each image")
    _check_unique(uids, f"the list for {path}")
    size = pixels.shape[1]
    if size < 1:
        raise ValueError("images of 0 pixels cannot be stored; give a size of 1 or more")
    pixel_type = pa.binary(size * size * 3)
    values = pa.FixedSizeBinaryArray.from_buffers(
        pixel_type, len(pixels), [None, pa.py_buffer(np.ascontiguousarray(pixels))]
    )
    schema = pa.schema(
        [pa.field("uid", pa.string(), nullable=False), pa.field("pixels", pixel_type, nullable=False)],
        metadata={"height": str(size), "width": str(size)},
    )
    # One batch, so that a reader can view all pixels as one array without copying.
    batch = pa.record_batch([pa.array(list(uids), pa.string()), values], schema=schema)
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), schema) as writer:
        writer.write_batch(batch)


class ImageStore:
    """Images by uid, read from an Arrow IPC file through memory mapping: opening costs no reading.

    Attributes:
        uids: identifiers, in the file's order.
        array: uint8 ``[n, size, size, 3]``, RGB, read-only; a view of the file where it holds one batch.
        size: side of the images in pixels.
    """

    def __init__(self, uids: list[str], array: Pixels) -> None:
        _check_pixels(array)
        if len(uids) != len(array):
            raise ValueError(f"{len(uids)} uids for {len(array)} images; give one uid for each image")
        _check_unique(uids, "the image store")
        self.uids = uids
        self.array = array
        self.size = int(array.shape[1])

    @classmethod
    def open(cls, path: Path | str) -> ImageStore:
        """Open a store that ``write_images`` wrote.

        Raises:
            ValueError: the file is not such a store.
        """
        import pyarrow as pa

        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            schema = reader.schema
            batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}; write it with write_images") from error
        metadata = schema.metadata or {}
        if schema.names != ["uid", "pixels"] or b"height" not in metadata or b"width" not in metadata:
            raise ValueError(
                f"{path} is not an image store: columns {schema.names}, metadata {sorted(metadata)}; "
                "it needs columns uid, pixels and metadata height, width"
            )
        height, width = int(metadata[b"height"]), int(metadata[b"width"])
        if height != width or schema.field("pixels").type != pa.binary(height * width * 3):
            raise ValueError(
                f"{path}: pixels are {schema.field('pixels').type} for a size of {height} x {width}; "
                f"square images of {height * width * 3} bytes are needed"
            )
        parts = []
        for batch in batches:
            values = batch.column("pixels")
            flat = np.frombuffer(values.buffers()[1] or b"", dtype=np.uint8)
            start = values.offset * height * width * 3
            parts.append(flat[start : start + len(values) * height * width * 3].reshape(-1, height, width, 3))
        if not parts:
            parts = [np.empty((0, height, width, 3), dtype=np.uint8)]
        uids = [uid for batch in batches for uid in batch.column("uid").to_pylist()]
        return cls(uids, parts[0] if len(parts) == 1 else np.concatenate(parts))

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {uid: position for position, uid in enumerate(self.uids)}

    def __len__(self) -> int:
        return len(self.uids)

    def __contains__(self, uid: object) -> bool:
        return uid in self._positions

    def positions(self, uids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where each uid lies in ``array``, int64 ``[len(uids)]``; errors as in ``pixels``."""
        positions = self._positions
        missing = [uid for uid in uids if uid not in positions]
        if missing:
            shown = ", ".join(repr(uid) for uid in missing[:5])
            raise MissingImageError(
                f"{len(missing)} of {len(uids)} images are not in the store of {len(self)}: {shown}"
                f"{', ...' if len(missing) > 5 else ''}. Keep to uids of the store."
            )
        return np.array([positions[uid] for uid in uids], dtype=np.int64)

    def pixels(self, uids: Sequence[str]) -> Pixels:
        """Return a copy of the images of ``uids``, in that order: uint8 ``[len(uids), size, size, 3]``.

        Raises:
            MissingImageError: some uids are not in the store; the message names them.
        """
        return np.asarray(self.array[self.positions(uids)])


def read_pixels(paths: Sequence[Path | str], uids: Sequence[str]) -> Pixels:
    """Return the images of ``uids`` from whichever of several stores has them, in the order of ``uids``.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    stores = [ImageStore.open(path) for path in paths]
    found = np.empty((len(uids), stores[0].size, stores[0].size, 3), dtype=np.uint8)
    missing = np.ones(len(uids), dtype=np.bool_)
    for store in stores:
        rows = [row for row, uid in enumerate(uids) if uid in store]
        found[rows] = store.pixels([uids[row] for row in rows])
        missing[rows] = False
    if missing.any():
        first = [uid for uid, lost in zip(uids, missing, strict=True) if lost][:5]
        raise MissingImageError(
            f"{int(missing.sum())} of {len(uids)} images are in none of {len(stores)} stores, for example "
            f"{', '.join(first)}. Keep to uids of the stores."
        )
    return found


def contact_sheet(pixels: Pixels, columns: int = 10, scale: int = 1) -> bytes:
    """Return a PNG of images in rows, one grey pixel apart.

    Args:
        pixels: uint8 ``[n, size, size, 3]``.
        columns: images a row.
        scale: whole-number magnification; pixels stay sharp squares.

    Raises:
        ValueError: no images, or columns or scale below 1.
    """
    _check_pixels(pixels)
    if len(pixels) == 0 or columns < 1 or scale < 1:
        raise ValueError(
            f"a sheet of {len(pixels)} images, {columns} columns, scale {scale} was asked for; each must be 1 or more"
        )
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    cell = pixels.shape[1] * scale + 1
    sheet = np.full((rows * cell + 1, columns * cell + 1, 3), 200, dtype=np.uint8)
    for index, image in enumerate(pixels):
        top, left = index // columns * cell + 1, index % columns * cell + 1
        sheet[top : top + cell - 1, left : left + cell - 1] = image.repeat(scale, axis=0).repeat(scale, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
