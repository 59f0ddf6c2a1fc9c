"""Training images as a stream of augmented batches, from memory or from the disk, in an order that the seed decides.

`ImageOrder` says which images each step shows. A batch is made in two parts: what the processor prepares of it, in
main memory, and what the device makes of that. `ImagesInMemory` keeps small pictures on the device. `DecodedOnce` crops
photographs from a store of pixels, on a GPU or in threads, `PhotographsOnDisk` decodes them in threads each time they
are shown; threads work ahead while the model learns. What a run sees follows from the seed alone: not from the device
(but for the rounding of crops), the number of threads or processes, or stops in between.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from whyrobust.data.decoded_store import DecodedPhotographs
from whyrobust.data.decoding import read_picture
from whyrobust.data.photo_store import Locations
from whyrobust.data.pixel_store import Pixels
from whyrobust.data.preprocessing import Preprocessing, draw_crop_boxes, training_crop
from whyrobust.training.augmentation import (
    Augmentation,
    change_colours,
    draw_colours,
    draw_moves,
    draw_simclr_view,
    move_drawings,
    normalise_pixels,
    simclr_view,
)
from whyrobust.training.device import send
from whyrobust.training.device_crops import DeviceCrops, crops_on
from whyrobust.training.distributed import SINGLE_PROCESS, Ranks

#: Batches that are decoded ahead of the one that is learnt from.
BATCHES_AHEAD = 3


@dataclass(frozen=True, eq=False)
class ImageOrder:
    """Which images each step of a run shows.

    Every image is shown once before any is shown again; each pass has its own shuffled order, which depends on the
    number of images, the seed and the blocks alone.

    Attributes:
        images: number of images.
        batch_size: images per step.
        steps: steps of the run.
        seed: decides the order.
        shuffle_block_images: images that are adjacent on the disk and are read together. 1 shuffles all images freely;
            more shuffles the blocks, then the images within each window of blocks, for disks slow at random reads.
        shuffle_window_blocks: blocks whose images are shuffled together.
        disk_order: all positions ``[images]`` in the order on the disk, of which blocks are made; None: their own.
    """

    images: int
    batch_size: int
    steps: int
    seed: int
    shuffle_block_images: int = 1
    shuffle_window_blocks: int = 1
    disk_order: Tensor | None = None

    def batches(self, first_step: int = 0) -> Iterator[Tensor]:
        """Yield the positions ``[batch_size]`` of the images of each step, from ``first_step`` on."""
        return itertools.islice(self._all_batches(), first_step, None)

    def _all_batches(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        waiting = torch.empty(0, dtype=torch.long)
        for _ in range(self.steps):
            while len(waiting) < self.batch_size:
                waiting = torch.cat([waiting, self._shuffled_pass(generator)])
            batch, waiting = waiting[: self.batch_size], waiting[self.batch_size :]
            yield batch if self.disk_order is None else self.disk_order[batch]

    def _shuffled_pass(self, generator: torch.Generator) -> Tensor:
        """Return every position once, ``[images]``, shuffled."""
        images, block, window = self.images, self.shuffle_block_images, self.shuffle_window_blocks
        if block == 1:
            return torch.randperm(images, generator=generator)
        starts = torch.randperm(-(-images // block), generator=generator) * block
        parts = []
        for first in range(0, len(starts), window):
            blocks = [torch.arange(start, min(start + block, images)) for start in starts[first : first + window]]
            positions = torch.cat(blocks)
            parts.append(positions[torch.randperm(len(positions), generator=generator)])
        return torch.cat(parts)


@dataclass(frozen=True)
class BatchSettings:
    """How a batch is made of images.

    Attributes:
        views: differently augmented views of each image.
        augmentation: of the views.
        seed: of the random numbers of single samples, by their number in the run.
        device: where the images go.
        ranks: the processes that share a batch; each makes the images of its own samples.
        image_size: side of the images in pixels, where it is another than that of the preprocessing.
    """

    views: int
    augmentation: Augmentation
    seed: int
    device: torch.device
    ranks: Ranks = SINGLE_PROCESS
    image_size: int | None = None

    def preprocessing(self, whole: Preprocessing) -> Preprocessing:
        """Return the preprocessing of a run for images of this size."""
        return whole if self.image_size is None else replace(whole, size=self.image_size)


@dataclass(frozen=True)
class PreparedBatch:
    """A batch as the processor prepares it.

    Attributes:
        images: positions of images ``[n]``; or, view by view, crops, uint8 ``[views * n, size, size, 3]``, or where
            they are to be cut, ``[5, views * n]``.
        random: random numbers of the augmentation, ``[views, rows, n]``, or ``[1, rows, views * n]``.
    """

    images: Tensor
    random: Tensor

    def on(self, device: torch.device) -> PreparedBatch:
        """Return the batch on a device."""
        return PreparedBatch(send(self.images, device), send(self.random, device))


class TrainingImages(Protocol):
    """Images of a subset, by position."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def disk_order(self) -> Tensor:
        """Return all positions ``[n]`` in the order of the images on the disk."""
        ...

    def batches(
        self, order: Iterable[Tensor], settings: BatchSettings, generator: torch.Generator, first_sample: int = 0
    ) -> Iterator[PreparedBatch]:
        """Yield, for each step's positions, what `finish` makes images of.

        Args:
            order: positions of the images of each step, of the whole batch.
            settings: how a batch is made.
            generator: on the CPU, of the random numbers of a batch as a whole, always for all processes; between two
                batches its state is all that is needed to continue from there.
            first_sample: samples shown before the first of ``order``, in a run that continues from a checkpoint.
        """
        ...

    def finish(self, batch: PreparedBatch, settings: BatchSettings) -> Tensor:
        """Return normalised images ``[views * share, 3, size, size]``, view by view, of a batch on the device."""
        ...


class ImagesInMemory:
    """Small pictures, uint8 ``[n, size, size, 3]``, augmented as a batch on the device."""

    def __init__(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
        self.pixels, self.preprocessing = pixels, preprocessing
        self._on_device: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def disk_order(self) -> Tensor:
        """See `TrainingImages`; nothing is read from the disk, so any order will do."""
        return torch.arange(len(self.pixels))

    def batches(
        self, order: Iterable[Tensor], settings: BatchSettings, generator: torch.Generator, first_sample: int = 0
    ) -> Iterator[PreparedBatch]:
        """See `TrainingImages`."""
        side = settings.preprocessing(self.preprocessing).size
        for positions in order:
            share = settings.ranks.share(len(positions))
            views = [self._draw(len(positions), side, settings.augmentation, generator) for _ in range(settings.views)]
            yield PreparedBatch(positions[share], torch.stack(views)[:, :, share])

    @staticmethod
    def _draw(batch: int, side: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
        """Return the random numbers of a view, ``[rows, batch]``."""
        flip = augmentation.flip
        if augmentation.strong:
            area, strength = augmentation.min_crop_area, augmentation.colour_strength
            return draw_simclr_view(batch, area, flip, strength, side, generator)
        shift, zoom = augmentation.max_shift_share, augmentation.max_zoom
        return draw_moves(batch, shift, zoom, augmentation.plain_share, flip, generator)

    def finish(self, batch: PreparedBatch, settings: BatchSettings) -> Tensor:
        """See `TrainingImages`."""
        if self._on_device is None or self._on_device.device.type != settings.device.type:
            self._on_device = torch.from_numpy(np.array(self.pixels)).to(settings.device)
        mean, std = self.preprocessing.mean, self.preprocessing.std
        plain = normalise_pixels(self._on_device[batch.images], mean, std)
        if settings.image_size is not None:
            plain = nn.functional.interpolate(plain, settings.image_size, mode="area")
        if settings.augmentation.strong:
            return torch.cat([simclr_view(plain, view, mean, std) for view in batch.random])
        return torch.cat([move_drawings(plain, view) for view in batch.random])


class DecodedOnce:
    """Photographs in stores of pixels, cropped on the GPU if they take at most ``gpu_bytes`` there, else in threads.

    Torch releases Python's lock while it resizes.
    """

    def __init__(
        self,
        photographs: DecodedPhotographs,
        preprocessing: Preprocessing,
        loader_threads: int,
        gpu_bytes: float = 0.0,
    ) -> None:
        self.photographs, self.preprocessing = photographs, preprocessing
        self.loader_threads, self.gpu_bytes = loader_threads, gpu_bytes
        self._on_device: dict[torch.device, DeviceCrops | None] = {}

    def __len__(self) -> int:
        return len(self.photographs)

    def _crops_on(self, device: torch.device) -> DeviceCrops | None:
        """Return the photographs on a device; None: threads crop them."""
        if device not in self._on_device:
            self._on_device[device] = crops_on(self.photographs, device, self.gpu_bytes)
        return self._on_device[device]

    def disk_order(self) -> Tensor:
        """See `TrainingImages`: by store and place in it."""
        return torch.from_numpy(self.photographs.disk_order())

    def _crop(self, pixels: Tensor, positions: NDArray[np.int64], boxes: NDArray[np.int64]) -> None:
        """Fill ``pixels``, uint8 ``[n, size, size, 3]``, with a box of each image, resized."""
        size, mode = pixels.shape[1:3], self.preprocessing.interpolation
        for target, position, (top, left, height, width) in zip(pixels, positions, boxes, strict=True):
            # A copy: torch takes no array that is read-only.
            box = np.array(self.photographs[position][top : top + height, left : left + width])
            planes = torch.from_numpy(box).permute(2, 0, 1)[None]
            resized = nn.functional.interpolate(planes, size, mode=mode, antialias=True)
            target.copy_(resized[0].permute(1, 2, 0))

    def batches(
        self, order: Iterable[Tensor], settings: BatchSettings, generator: torch.Generator, first_sample: int = 0
    ) -> Iterator[PreparedBatch]:
        """See `TrainingImages`; threads, if they crop, are a few batches ahead."""
        drawn, size = self._draw(order, first_sample, settings), settings.preprocessing(self.preprocessing).size
        if (on_device := self._crops_on(settings.device)) is not None:
            for crops in drawn:
                places = on_device.places(*crops)
                yield PreparedBatch(places, _colours_of_crops(places.shape[1], size, settings, generator))
            return
        waiting: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        threads = self.loader_threads
        with ThreadPoolExecutor(threads) as executor:
            try:
                for shown, boxes, mirrored in drawn:
                    pixels = torch.empty((len(shown), size, size, 3), dtype=torch.uint8)
                    parts = np.array_split(np.arange(len(shown)), threads)
                    futures = [
                        executor.submit(self._crop, pixels[part[0] : part[-1] + 1], shown[part], boxes[part])
                        for part in parts
                        if len(part)
                    ]
                    waiting.append((pixels, mirrored, futures))
                    if len(waiting) > BATCHES_AHEAD:
                        yield self._finished(*waiting.popleft(), settings, generator)
                while waiting:
                    yield self._finished(*waiting.popleft(), settings, generator)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def _draw(
        self, order: Iterable[Tensor], sample: int, settings: BatchSettings
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Tensor]]:
        """Yield, for each step, position, box and whether it is mirrored of each crop of this process, view by view.

        All numbers of a step are drawn at once, by the number of its first sample, so each step has its own.
        """
        augmentation = settings.augmentation
        for positions in order:
            shown = np.tile(positions.numpy(), (settings.views, 1))
            random = np.random.Generator(np.random.PCG64([settings.seed, sample]))
            boxes = draw_crop_boxes(self.photographs.shapes[shown], augmentation.min_crop_area, random)
            mirrored = random.random(shown.shape) < (0.5 if augmentation.flip else 0.0)
            share = settings.ranks.share(len(positions))
            own = shown[:, share].reshape(-1), boxes[:, share].reshape(-1, 4)
            yield *own, torch.from_numpy(mirrored[:, share].reshape(-1))
            sample += len(positions)

    def _finished(
        self,
        pixels: Tensor,
        mirrored: Tensor,
        futures: Sequence[Future[None]],
        settings: BatchSettings,
        generator: torch.Generator,
    ) -> PreparedBatch:
        """Return a batch that is cropped, or is waited for."""
        for future in futures:
            future.result()
        pixels[mirrored] = pixels[mirrored].flip(2)
        return PreparedBatch(pixels, _colours_of_crops(len(pixels), pixels.shape[1], settings, generator))

    def finish(self, batch: PreparedBatch, settings: BatchSettings) -> Tensor:
        """See `TrainingImages`."""
        if (on_device := self._crops_on(settings.device)) is not None:
            how = settings.preprocessing(self.preprocessing)
            batch = PreparedBatch(on_device.crop(batch.images, how.size, how.interpolation), batch.random)
        return _finished_crops(batch, self.preprocessing, settings)


class PhotographsOnDisk:
    """Photographs by location, decoded and cropped in threads: Pillow releases Python's lock while it decodes."""

    def __init__(self, locations: Locations, preprocessing: Preprocessing, loader_threads: int) -> None:
        self.locations, self.preprocessing, self.loader_threads = locations, preprocessing, loader_threads

    def __len__(self) -> int:
        return len(self.locations)

    def disk_order(self) -> Tensor:
        """See `TrainingImages`: by file and offset."""
        return torch.from_numpy(self.locations.disk_order())

    def _views(self, position: int, sample: int, settings: BatchSettings) -> list[Pixels]:
        """Return the crops of one sample; ``sample`` numbers all samples of the run, so each gets its own crops."""
        image, augmentation = read_picture(*self.locations[position]), settings.augmentation
        generator = np.random.Generator(np.random.PCG64([settings.seed, sample]))
        preprocessing = settings.preprocessing(self.preprocessing)
        return [
            training_crop(image, preprocessing, augmentation.min_crop_area, augmentation.flip, generator)
            for _ in range(settings.views)
        ]

    def batches(
        self, order: Iterable[Tensor], settings: BatchSettings, generator: torch.Generator, first_sample: int = 0
    ) -> Iterator[PreparedBatch]:
        """See `TrainingImages`; a few batches are decoded ahead, so memory does not grow with the subset."""
        waiting: deque[list[Future[list[Pixels]]]] = deque()
        sample = first_sample
        with ThreadPoolExecutor(self.loader_threads) as executor:
            try:
                for positions in order:
                    share = settings.ranks.share(len(positions))
                    batch, first = positions[share].tolist(), sample + share.start
                    futures: dict[int, Future[list[Pixels]]] = {}
                    # Read in the order on the disk, yielded in the order that was asked for.
                    for index in sorted(range(len(batch)), key=lambda index: self.locations[batch[index]][:2]):
                        futures[index] = executor.submit(self._views, batch[index], first + index, settings)
                    waiting.append([futures[index] for index in range(len(batch))])
                    sample += len(positions)
                    if len(waiting) > BATCHES_AHEAD:
                        yield self._finished(waiting.popleft(), settings, generator)
                while waiting:
                    yield self._finished(waiting.popleft(), settings, generator)
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def _finished(
        self, futures: Sequence[Future[list[Pixels]]], settings: BatchSettings, generator: torch.Generator
    ) -> PreparedBatch:
        """Return a batch whose crops are decoded, or are waited for."""
        crops = [future.result() for future in futures]
        stacked = np.stack([views[view] for view in range(settings.views) for views in crops])
        pixels = torch.from_numpy(stacked)
        return PreparedBatch(pixels, _colours_of_crops(len(pixels), pixels.shape[1], settings, generator))

    def finish(self, batch: PreparedBatch, settings: BatchSettings) -> Tensor:
        """See `TrainingImages`."""
        return _finished_crops(batch, self.preprocessing, settings)


def _colours_of_crops(count: int, side: int, settings: BatchSettings, generator: torch.Generator) -> Tensor:
    """Return the random numbers of the colours of crops, ``[1, rows, count]``, without rows if they stay."""
    if not settings.augmentation.strong:
        return torch.empty(1, 0, count)
    batch_size = count // settings.views * settings.ranks.size
    share = settings.ranks.share_of_views(batch_size, settings.views)
    strength = settings.augmentation.colour_strength
    return draw_colours(settings.views * batch_size, strength, side, generator)[None, :, share]


def _finished_crops(batch: PreparedBatch, preprocessing: Preprocessing, settings: BatchSettings) -> Tensor:
    """Return what a model is fed with of crops on the device."""
    mean, std = preprocessing.mean, preprocessing.std
    images = normalise_pixels(batch.images, mean, std)
    return change_colours(images, batch.random[0], mean, std) if settings.augmentation.strong else images
