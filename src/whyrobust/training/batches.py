"""Training images as a stream of augmented batches, from memory or from where photographs lie.

Stands alone so that the training loop does not know where pictures come from: small pictures fit into memory and are
augmented as a batch; photographs are decoded by threads while the model learns, each cut out at its own size. What a
run sees follows from the seed alone, whatever the number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whyrobust.data.photo_store import Preprocessing, read_picture, training_crop
from whyrobust.data.pixel_store import Pixels
from whyrobust.training.augmentation import normalise_pixels, shift_zoom_flip, simclr_colours, simclr_view
from whyrobust.training.distributed import ALONE, Ranks

#: Batches that are decoded ahead of the one that is learnt from.
BATCHES_AHEAD = 3


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed.

    Attributes:
        max_shift_share: drawings: moved by at most this share of the side.
        max_zoom: drawings: zoomed by a factor between 1/max_zoom and max_zoom.
        min_crop_area: photographs, and SimCLR: smallest share of a picture that a crop shows.
        flip: mirror half of the images.
        strong: SimCLR's augmentation instead.
        colour_strength: of SimCLR's colour jitter.
    """

    max_shift_share: float
    max_zoom: float
    min_crop_area: float
    flip: bool
    strong: bool
    colour_strength: float


class TrainingImages(Protocol):
    """Images of a subset, by position."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def reading_order(self) -> Tensor:
        """Return all positions ``[n]`` in the order in which the images lie on the disk."""
        ...

    def batches(
        self,
        order: Iterable[Tensor],
        views: int,
        how: Augmentation,
        seed: int,
        device: torch.device,
        generator: torch.Generator,
        first_sample: int = 0,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """Yield, for each step's positions, normalised images ``[views * own, 3, size, size]``, view by view.

        Args:
            order: positions of the images of each step, of the whole batch.
            views: differently augmented views of each image.
            how: how they are augmented.
            seed: of what is drawn for a sample by its number.
            device: where the images go.
            generator: on the CPU, of what is drawn for a batch as a whole, always for all processes; between two
                batches its state is all that is needed to go on from there.
            first_sample: samples shown before the first of ``order``, in a run that goes on from a checkpoint.
            ranks: the processes that share a batch; the images of this one's samples are yielded.
        """
        ...


class ImagesInMemory:
    """Small pictures, uint8 ``[n, size, size, 3]``, augmented as a batch on the device."""

    def __init__(self, pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> None:
        self.pixels, self.preprocessing = pixels, preprocessing

    def __len__(self) -> int:
        return len(self.pixels)

    def reading_order(self) -> Tensor:
        """See `TrainingImages`; nothing is read from the disk, so any order will do."""
        return torch.arange(len(self.pixels))

    def batches(
        self,
        order: Iterable[Tensor],
        views: int,
        how: Augmentation,
        seed: int,
        device: torch.device,
        generator: torch.Generator,
        first_sample: int = 0,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """See `TrainingImages`; small as they are, each process augments the whole batch and keeps its own samples."""
        images = torch.from_numpy(np.array(self.pixels)).to(device)
        mean, std = self.preprocessing.mean, self.preprocessing.std
        for positions in order:
            plain = normalise_pixels(images[positions.to(device)], mean, std)
            parts = [
                simclr_view(plain, how.min_crop_area, how.flip, how.colour_strength, generator, mean, std)
                if how.strong
                else shift_zoom_flip(plain, how.max_shift_share, how.max_zoom, how.flip, generator)
                for _ in range(views)
            ]
            own = ranks.own(len(positions))
            yield torch.cat([part[own] for part in parts])


class PhotographsOnDisk:
    """Photographs by location, decoded and cut by threads: Pillow lets other threads run while it decodes."""

    def __init__(self, places: Sequence[tuple[str, int, int, int]], preprocessing: Preprocessing, workers: int) -> None:
        self.places, self.preprocessing, self.workers = places, preprocessing, workers

    def __len__(self) -> int:
        return len(self.places)

    def reading_order(self) -> Tensor:
        """See `TrainingImages`: by file and offset."""
        return torch.tensor(sorted(range(len(self.places)), key=self._place_on_disk), dtype=torch.long)

    def _place_on_disk(self, position: int) -> tuple[str, int]:
        return self.places[position][:2]

    def _views(self, position: int, sample: int, views: int, how: Augmentation, seed: int) -> list[Pixels]:
        """Return the crops of one sample; ``sample`` numbers all samples of the run, so each gets its own crops."""
        image = read_picture(*self.places[position])
        generator = np.random.Generator(np.random.PCG64([seed, sample]))
        return [training_crop(image, self.preprocessing, how.min_crop_area, how.flip, generator) for _ in range(views)]

    def batches(
        self,
        order: Iterable[Tensor],
        views: int,
        how: Augmentation,
        seed: int,
        device: torch.device,
        generator: torch.Generator,
        first_sample: int = 0,
        ranks: Ranks = ALONE,
    ) -> Iterator[Tensor]:
        """See `TrainingImages`; a few batches are decoded ahead, so memory does not grow with the subset."""
        mean, std = self.preprocessing.mean, self.preprocessing.std
        waiting: deque[list[Future[list[Pixels]]]] = deque()
        sample = first_sample

        def finished(futures: list[Future[list[Pixels]]]) -> Tensor:
            crops = [future.result() for future in futures]
            stacked = torch.from_numpy(np.stack([of_sample[view] for view in range(views) for of_sample in crops]))
            if device.type == "cuda":
                stacked = stacked.pin_memory()
            images = normalise_pixels(stacked.to(device, non_blocking=True), mean, std)
            if not how.strong:
                return images
            batch = len(crops) * ranks.size
            own = ranks.own_views(batch, views)
            return simclr_colours(images, how.colour_strength, generator, mean, std, views * batch, own)

        with ThreadPoolExecutor(self.workers) as executor:
            try:
                for positions in order:
                    own = ranks.own(len(positions))
                    batch, first = positions[own].tolist(), sample + own.start
                    futures: dict[int, Future[list[Pixels]]] = {}
                    # Read in the order on the disk, given out in the order that was asked for.
                    for number in sorted(range(len(batch)), key=lambda number: self._place_on_disk(batch[number])):
                        futures[number] = executor.submit(self._views, batch[number], first + number, views, how, seed)
                    waiting.append([futures[number] for number in range(len(batch))])
                    sample += len(positions)
                    if len(waiting) > BATCHES_AHEAD:
                        yield finished(waiting.popleft())
                while waiting:
                    yield finished(waiting.popleft())
            finally:
                executor.shutdown(wait=False, cancel_futures=True)
