"""Photographs: decoding, preprocessing, checking and reading them by uid from where they lie.

Stands alone as the counterpart of `images`, for pictures that keep their own size and their own bytes: a store is an
index (`locations`) of pictures that were found to decode, and every reader decodes at the size that it needs.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from whyrobust.data.archives import LocationError, read_bytes
from whyrobust.data.near_duplicates import INK_SIZE, Ink
from whyrobust.data.pixel_store import ImageStore, MissingImageError, Pixels, read_pixels
from whyrobust.data.worker_pool import Death, map_isolated
from whyrobust.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

#: Pixels above which a picture is refused: its bytes may be few and its memory without bound.
MAXIMUM_PIXELS = 120_000_000

#: What photographs come in. Pillow reads more: EPS would start Ghostscript on a stranger's program, and decoders that
#: hardly anyone uses are the least tested.
PICTURE_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM")

#: A picture is cut to this ratio of its sides before its shorter side is brought to size: a line of 30,000 pixels would
#: become 1.5 gigapixels.
MAXIMUM_ASPECT = 20

#: Decoded at this side or larger before thumbnails are made.
THUMBNAIL_DECODE_PIXELS = 64

PHOTOGRAPHS_PER_TASK = 512

#: What one picture may take to decode: far more than one of `MAXIMUM_PIXELS` does.
DECODING_SECONDS, DECODING_BYTES = 60.0, 4 * 2**30

#: Mean and deviation under which a white page is 0, so that padding with zeros adds more of it.
WHITE_PAGE_MEAN, WHITE_PAGE_STD = (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)

#: Mean and deviation of pixels from 0 to 1 that CLIP models are fed with (Radford et al. 2021; open_clip's constants).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

STORE_KIND = b"photographs"


class PhotographError(ValueError):
    """A picture that cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a model, as open_clip describes it.

    Attributes:
        size: side of the input in pixels.
        mean: of red, green and blue from 0 to 1; taken off.
        std: divided by.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest``: the shorter side is brought to size and the middle cut out; ``squash``: both sides.
    """

    size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if self.interpolation not in ("bicubic", "bilinear") or self.resize_mode not in ("shortest", "squash"):
            raise ValueError(
                f"interpolation '{self.interpolation}' with resize_mode '{self.resize_mode}' is not known: use bicubic "
                "or bilinear, and shortest or squash"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, for a file."""
        return asdict(self)

    @property
    def resampling(self) -> Image.Resampling:
        """Pillow's filter."""
        return Image.Resampling.BICUBIC if self.interpolation == "bicubic" else Image.Resampling.BILINEAR


def study_preprocessing(size: int, normalisation: str) -> Preprocessing:
    """Return the preprocessing of the models that a study trains; ``normalisation`` is ``white_page`` or ``clip``."""
    if normalisation == "white_page":
        return Preprocessing(size, WHITE_PAGE_MEAN, WHITE_PAGE_STD)
    if normalisation == "clip":
        return Preprocessing(size)
    raise ValueError(f"normalisation '{normalisation}' is not known: use white_page or clip")


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in PICTURE_FORMATS if name in Image.OPEN)


def decode(content: bytes, border: int = 0, at_least: int | None = None) -> Image.Image:
    """Decode a picture to RGB; of an animation the first frame.

    The orientation in EXIF is left alone, as torchvision's and open_clip's loaders do: the published accuracies were
    measured so.

    Args:
        content: the file's bytes, in one of `PICTURE_FORMATS`; its name does not matter.
        border: pixels to cut off each side first (ObjectNet has a red border of 2).
        at_least: sides of this many pixels are enough: a JPEG may then be decoded smaller, which is much faster.

    Raises:
        PhotographError: it does not decode, or is too large.
    """
    try:
        with warnings.catch_warnings():
            # Broken metadata and large pictures are warned of; what matters is checked below.
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_formats())
            if image.width * image.height > MAXIMUM_PIXELS:
                raise PhotographError(
                    f"it has {image.width}x{image.height} pixels, more than {MAXIMUM_PIXELS:,} in all"
                )
            if at_least is not None and not border:
                image.draft(None, (at_least, at_least))
            rgb = _to_rgb(image)
    except PhotographError:
        raise
    except (
        Exception
    ) as error:  # decoders raise nearly anything on damaged bytes, RuntimeError and struct.error among it
        # Pillow's messages may hold addresses of objects, which would make equal reasons differ.
        reason = str(error).split("<", 1)[0].strip() or type(error).__name__
        raise PhotographError(f"it does not decode: {reason}") from error
    if border:
        if min(rgb.size) <= 2 * border:
            raise PhotographError(f"it is {rgb.width}x{rgb.height}, not larger than its border of {border}")
        rgb = rgb.crop((border, border, rgb.width - border, rgb.height - border))
    return rgb


def read_picture(file: str, offset: int, length: int, border: int) -> Image.Image:
    """Read and decode one located picture.

    Raises:
        PhotographError: it does not decode any more; the message says which it is.
        LocationError: its file has gone or was changed.
    """
    try:
        return decode(read_bytes(file, offset, length), border)
    except PhotographError as error:
        where = file if length < 0 else f"{file}, {length} bytes at {offset}"
        raise PhotographError(f"the picture in {where}, once found good, was changed: {error}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # 16-bit pictures: Pillow would cut off all above 255. Of 32 bits, the values tell how many are meant.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255 else 255.0
        image = Image.fromarray(np.clip(values / top * 255.0, 0, 255).astype(np.uint8))
    return image.convert("RGB")


def preprocess(image: Image.Image, how: Preprocessing) -> Pixels:
    """Return uint8 ``[size, size, 3]``: resized and cut as open_clip's transform for evaluation does.

    Of a picture more than `MAXIMUM_ASPECT` times as long as wide only the middle is resized: the rest is cut off after.
    """
    from torchvision.transforms import CenterCrop, InterpolationMode, Resize

    interpolation = InterpolationMode(how.interpolation)
    if how.resize_mode == "squash":
        return np.array(Resize((how.size, how.size), interpolation)(image))
    longest = MAXIMUM_ASPECT * min(image.size)
    if max(image.size) > longest:
        width, height = (min(side, longest) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.array(CenterCrop(how.size)(Resize(how.size, interpolation)(image)))


def training_crop(
    image: Image.Image, how: Preprocessing, min_area: float, flip: bool, generator: np.random.Generator
) -> Pixels:
    """Cut a random box out of a picture, bring it to size, and mirror half of the pictures.

    Area uniform from ``min_area`` to 1, aspect log-uniform from 3:4 to 4:3 (Szegedy et al. 2015), as torchvision's
    RandomResizedCrop, but a box that does not fit is cut to the picture instead of drawn again.

    Returns:
        uint8 ``[size, size, 3]``.
    """
    area = image.width * image.height * generator.uniform(min_area, 1.0)
    aspect = float(np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3))))
    width, height = min(image.width, (area * aspect) ** 0.5), min(image.height, (area / aspect) ** 0.5)
    left, top = generator.random() * (image.width - width), generator.random() * (image.height - height)
    crop = image.resize((how.size, how.size), how.resampling, box=(left, top, left + width, top + height))
    pixels = np.array(crop)
    return pixels[:, ::-1] if flip and generator.random() < 0.5 else pixels


def thumbnail(image: Image.Image) -> Ink:
    """Return what near-duplicates of photographs are found by: grey 16x16, mean off, length 1.

    The counterpart of `decontamination.normalise_ink`: a photograph fills its page, so nothing is cropped, and the
    whole is squashed to a square. A picture of one colour is all zeros.
    """
    small = image.convert("L").resize((INK_SIZE, INK_SIZE), Image.Resampling.BOX, reducing_gap=3.0)
    values = np.asarray(small, dtype=np.float32)
    values = values - values.mean()
    length = float(np.linalg.norm(values))
    return np.asarray(values / length if length > 0 else values, dtype=np.float32)


_Rows = list[tuple[str, int, int]]


def _check(task: tuple[str, int, int, int]) -> tuple[npt.NDArray[np.float32] | None, str]:
    """Decode one (file, offset, length, border) in a process of its own: its thumbnail, or None and the reason."""
    file, offset, length, border = task
    try:
        # The whole is decoded (a JPEG at reduced size), so that a picture cut off in the middle is found.
        return thumbnail(decode(read_bytes(file, offset, length), border, at_least=THUMBNAIL_DECODE_PIXELS)), ""
    except (PhotographError, LocationError) as error:
        return None, str(error)


def check_photographs(
    locations: pa.Table, border: int, workers: int, ink: Path | str
) -> tuple[npt.NDArray[np.bool_], pd.DataFrame]:
    """Decode every located picture once, and write thumbnails of those that decode, with memory for a few batches.

    Args:
        locations: of `locations.LOCATION_SCHEMA`.
        border: pixels to cut off each side.
        workers: number of processes; the result is the same for any number.
        ink: file for the thumbnails, a NumPy array float32 ``[decoded, 16, 16]``, whole or not at all.

    Returns:
        Which pictures decode ``[n]``, and ``uid, reason`` of the others.
    """
    import pandas as pd
    from tqdm import tqdm

    decodes = np.zeros(len(locations), dtype=np.bool_)
    reasons: list[tuple[int, str]] = []
    row, places = 0, _places(locations, border)
    with tqdm(total=len(locations), desc="decoding", unit="image") as progress, write_ink(ink) as keep:
        for results in map_isolated(_check, places, workers, PHOTOGRAPHS_PER_TASK, DECODING_SECONDS, DECODING_BYTES):
            thumbnails = []
            for result in results:
                found, reason = (None, result.reason) if isinstance(result, Death) else result
                if found is None:
                    reasons.append((row, reason))
                else:
                    thumbnails.append(found)
                    decodes[row] = True
                row += 1
            keep(thumbnails)
            progress.update(len(results))
    uids = locations["uid"]
    failures = pd.DataFrame([(uids[at].as_py(), why) for at, why in reasons], columns=["uid", "reason"], dtype="str")
    return decodes, failures


@contextmanager
def write_ink(path: Path | str) -> Iterator[Callable[[Sequence[npt.NDArray[np.float32]]], None]]:
    """Yield what appends thumbnails to a NumPy file; how many there are is written when the block ends."""
    count = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:

        def write_header() -> int:
            # NumPy leaves room for the first axis to grow, so that the header keeps its length.
            shape = (count, INK_SIZE, INK_SIZE)
            facts = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, facts)
            return file.tell()

        start = write_header()

        def keep(thumbnails: Sequence[npt.NDArray[np.float32]]) -> None:
            nonlocal count
            for one in thumbnails:
                file.write(np.ascontiguousarray(one, dtype=np.float32).tobytes())
            count += len(thumbnails)

        yield keep
        file.seek(0)
        if write_header() != start:
            raise ValueError(f"{path}: the header of {count} thumbnails has another length than it was given room for")


def _places(locations: pa.Table, border: int) -> Iterator[tuple[str, int, int, int]]:
    """Yield (file, offset, length, border) of each location, with memory for one batch."""
    for start in range(0, len(locations), PHOTOGRAPHS_PER_TASK):
        part = locations.slice(start, PHOTOGRAPHS_PER_TASK)
        for place in zip(*(part[name].to_pylist() for name in ("file", "offset", "length")), strict=True):
            yield (*place, border)


def write_photographs(path: Path | str, locations: pa.Table, border: int) -> None:
    """Write the index of pictures that decode as one Arrow IPC file, whole or not at all."""
    table = locations.combine_chunks()
    schema = table.schema.with_metadata({b"kind": STORE_KIND, b"border": str(border).encode()})
    table = table.replace_schema_metadata(schema.metadata)
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table)


class PhotoStore:
    """Photographs by uid, through an index in an Arrow IPC file that is memory-mapped.

    Attributes:
        table: ``uid, file, offset, length``.
        border: pixels that are cut off each side.
    """

    def __init__(self, table: pa.Table, border: int) -> None:
        self.table, self.border = table, border

    @classmethod
    def open(cls, path: Path | str) -> PhotoStore:
        """Open an index that `write_photographs` wrote.

        Raises:
            ValueError: the file is not such an index.
        """
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}") from error
        metadata = table.schema.metadata or {}
        if metadata.get(b"kind") != STORE_KIND:
            raise ValueError(f"{path} is not an index of photographs: write it with write_photographs")
        return cls(table, int(metadata[b"border"]))

    @property
    def uids(self) -> list[str]:
        """All uids, in the order of the index."""
        found: list[str] = self.table["uid"].to_pylist()
        return found

    def __len__(self) -> int:
        return len(self.table)

    def positions(self, uids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return where each uid stands, -1 where it does not; memory grows with ``uids``, not with the store."""
        wanted = pa.array(list(uids), pa.string())
        result = np.full(len(wanted), -1, dtype=np.int64)
        start = 0
        # The hash table is made of the few wanted uids; the many of the store stream past it.
        for chunk in self.table["uid"].chunks:
            found = pc.index_in(chunk, value_set=wanted)
            rows = np.flatnonzero(np.asarray(pc.is_valid(found)))
            result[np.asarray(found.take(pa.array(rows)), dtype=np.int64)] = start + rows
            start += len(chunk)
        return result

    def locate(self, rows: npt.NDArray[np.int64]) -> _Rows:
        """Return (file, offset, length) of rows."""
        found: _Rows = [("", 0, 0)] * len(rows)
        start = 0
        # A batch at a time: Arrow may put those of a whole column together to take from them.
        for batch in self.table.select(["file", "offset", "length"]).to_batches():
            here = np.flatnonzero((rows >= start) & (rows < start + len(batch)))
            part = batch.take(pa.array(rows[here] - start)) if len(here) else batch.slice(0, 0)
            for at, place in zip(here, zip(*(column.to_pylist() for column in part.columns), strict=True), strict=True):
                found[at] = place
            start += len(batch)
        return found


def open_store(path: Path | str) -> ImageStore | PhotoStore:
    """Open a store of either kind: small pictures as pixels, or photographs where they lie."""
    with pa.memory_map(str(path)) as source:
        try:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is not an Arrow IPC file: {error}") from error
    return PhotoStore.open(path) if metadata.get(b"kind") == STORE_KIND else ImageStore.open(path)


def uid_column(path: Path | str) -> pa.ChunkedArray:
    """Return the uids of a store of either kind, in its order, as Arrow holds them: 15 million fit into memory."""
    store = open_store(path)
    if isinstance(store, PhotoStore):
        return store.table["uid"]
    return pa.chunked_array([pa.array(store.uids, pa.string())])


def holds_photographs(paths: Sequence[Path | str]) -> bool:
    """Tell whether stores hold photographs rather than pixels.

    Raises:
        ValueError: some do and some do not.
    """
    kinds = {isinstance(open_store(path), PhotoStore) for path in paths}
    if len(kinds) != 1:
        raise ValueError(f"{len(paths)} stores hold photographs and drawings: give stores of one kind")
    return kinds.pop()


def read_images(
    paths: Sequence[Path | str], uids: Sequence[str], how: Preprocessing, workers: int = 1
) -> Iterator[Pixels]:
    """Yield the images of ``uids`` in that order, uint8 ``[side, side, 3]``, from stores of either kind.

    Photographs are preprocessed to ``how.size``; drawings keep the side that they were drawn at.
    """
    if holds_photographs(paths):
        yield from read_photographs(open_locations(paths, uids), how, workers)
    else:
        yield from read_pixels(paths, uids)


def open_locations(paths: Sequence[Path | str], uids: Sequence[str]) -> list[tuple[str, int, int, int]]:
    """Return (file, offset, length, border) of each uid from whichever of several stores has it.

    Raises:
        MissingImageError: some uids are in none of the stores; the message names them.
    """
    found: list[tuple[str, int, int, int] | None] = [None] * len(uids)
    for path in paths:
        store = PhotoStore.open(path)
        rows = store.positions(uids)
        here = np.flatnonzero(rows >= 0)
        for at, (file, offset, length) in zip(here, store.locate(rows[here]), strict=True):
            found[at] = (file, offset, length, store.border)
    missing = [uid for uid, place in zip(uids, found, strict=True) if place is None]
    if missing:
        raise MissingImageError(
            f"{len(missing)} of {len(uids)} photographs are in none of {len(paths)} stores, for example "
            f"{', '.join(missing[:5])}. Keep to uids of the stores."
        )
    return [place for place in found if place is not None]


def read_photographs(places: Sequence[tuple[str, int, int, int]], how: Preprocessing, workers: int) -> Iterator[Pixels]:
    """Yield each picture as uint8 ``[size, size, 3]``, decoded by threads: Pillow lets others run meanwhile."""

    def read(place: tuple[str, int, int, int]) -> Pixels:
        return preprocess(read_picture(*place), how)

    if workers == 1:
        yield from map(read, places)
        return
    with ThreadPoolExecutor(workers) as executor:
        # In slices, so that what is decoded ahead stays bounded.
        for start in range(0, len(places), 64 * workers):
            yield from executor.map(read, places[start : start + 64 * workers])
