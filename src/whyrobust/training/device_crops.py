"""Crops of decoded photographs made on a GPU, which makes them faster than a processor's threads.

The photographs of a run are kept in the GPU's memory, if they fit. Each crop is resized by two products with a matrix
of weights, first along its rows and then along its columns, as Pillow does and torch after it: antialiased, in whole
numbers after each, so that a crop equals that of a processor but for rounding.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whyrobust.data.decoded_store import DecodedPhotographs

logger = logging.getLogger("whyrobust")

#: Pixels that are cropped at a time; each takes about 40 bytes on the way.
PIXELS_AT_ONCE = 8_000_000

#: Every box gets the room of the largest. Above this many pixels (of a panorama, say) threads crop; where the two take
#: the same time has not been measured.
MOST_PIXELS_A_BOX = 1_000_000

#: Bytes that are sent to a GPU at a time: all of a run may be more than main memory.
BYTES_AT_ONCE = 256_000_000

#: The widest that a box can be for its height, and the highest for its width (`draw_crop_boxes`).
ASPECT = 4 / 3


def resize_weights(lengths: Tensor, most: int, size: int, interpolation: str) -> Tensor:
    """Return the weights of pixels in each output pixel of resized lines, ``[n, size, most]``; they sum to 1.

    Pillow's: the filter is as wide as an output pixel, at least as an input pixel, and cut at the ends of the line.

    Args:
        lengths: of the lines in pixels ``[n]``.
        most: pixels of the longest.
        size: pixels of each line after resizing.
        interpolation: ``bilinear`` or ``bicubic``.
    """
    pixels = torch.arange(most, device=lengths.device)
    length = lengths.float()[:, None, None]
    scale = length / size
    width = scale.clamp(min=1.0)
    centre = (torch.arange(size, device=lengths.device)[:, None] + 0.5) * scale
    distance = ((pixels - centre + 0.5) / width).abs()
    if interpolation == "bilinear":
        weights = (1 - distance).clamp(min=0)
    else:
        # Keys's cubic with a = -1/2.
        near = (1.5 * distance - 2.5) * distance**2 + 1
        far = ((2.5 - 0.5 * distance) * distance - 4) * distance + 2
        weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    weights = weights * (pixels < length)
    return weights / weights.sum(dim=2, keepdim=True)


class DeviceCrops:
    """The photographs of a run in the memory of a device, which crops them there.

    Args:
        photographs: decoded, by position.
        device: where they are kept.
    """

    def __init__(self, photographs: DecodedPhotographs, device: torch.device) -> None:
        self._photographs, self._rows, self._columns = photographs, *_largest_box(photographs)
        order, sizes = photographs.disk_order(), _bytes_of(photographs)
        ends = np.cumsum(sizes[order])
        self._firsts = np.empty_like(ends)
        self._firsts[order] = ends - sizes[order]
        self._pixels = torch.empty(int(ends[-1]), dtype=torch.uint8, device=device)
        for numbers in np.split(order, np.flatnonzero(np.diff(ends // BYTES_AT_ONCE)) + 1):
            part = torch.from_numpy(np.concatenate([photographs[number].reshape(-1) for number in numbers]))
            first = self._firsts[numbers[0]]
            self._pixels[first : first + len(part)].copy_(part)

    def places(self, shown: NDArray[np.int64], boxes: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """Return, in main memory, what `crop` needs to know of each crop, ``[5, n]``.

        Args:
            shown: positions of the photographs ``[n]``.
            boxes: top, left, height and width of each ``[n, 4]``.
            mirrored: whether it is mirrored ``[n]``.

        Returns:
            First byte, bytes of a row of the photograph, height, width, whether it is mirrored.
        """
        top, left, height, width = boxes.T
        row = self._photographs.shapes[shown, 1] * 3
        table = np.stack(
            [self._firsts[shown] + top * row + left * 3, row, height, width, mirrored.numpy().astype(np.int64)]
        )
        return torch.from_numpy(table)

    def crop(self, places: Tensor, size: int, interpolation: str) -> Tensor:
        """Return crops, uint8 ``[n, size, size, 3]``, of `places` on the device."""
        at_once = max(1, PIXELS_AT_ONCE // (self._rows * self._columns))
        return torch.cat([self._crop(part, size, interpolation) for part in torch.split(places, at_once, dim=1)])

    def _crop(self, places: Tensor, size: int, interpolation: str) -> Tensor:
        first, row, height, width, mirrored = places
        device, count = places.device, places.shape[1]
        # Beyond the end of a box its last pixel is read, with weight 0.
        down = torch.minimum(torch.arange(self._rows, device=device), height[:, None] - 1) * row[:, None]
        across = torch.minimum(torch.arange(self._columns, device=device), width[:, None] - 1) * 3
        # Columns before rows, as the first product needs them.
        index = first[:, None, None] + across[:, :, None] + down[:, None, :]
        pixels = self._pixels[index[..., None] + torch.arange(3, device=device)].float()
        across_weights = resize_weights(width, self._columns, size, interpolation)
        lines = _whole(across_weights @ pixels.view(count, self._columns, -1)).view(count, size, self._rows, 3)
        lines = lines.transpose(1, 2).reshape(count, self._rows, -1)
        down_weights = resize_weights(height, self._rows, size, interpolation)
        crops = _whole(down_weights @ lines).view(count, size, size, 3).byte()
        return torch.where(mirrored.view(-1, 1, 1, 1) > 0, crops.flip(2), crops)


def _whole(values: Tensor) -> Tensor:
    """Return values of pixels as whole numbers from 0 to 255."""
    return values.round().clamp(0, 255)


def _bytes_of(photographs: DecodedPhotographs) -> NDArray[np.int64]:
    """Return the bytes of each photograph ``[n]``."""
    found: NDArray[np.int64] = photographs.shapes.prod(axis=1) * 3
    return found


def _largest_box(photographs: DecodedPhotographs) -> tuple[int, int]:
    """Return the most rows and the most columns of a box of any of the photographs."""
    height, width = photographs.shapes.T
    longest = np.ceil(np.sqrt(height * width * ASPECT)).astype(np.int64)
    return int(np.minimum(height, longest).max()), int(np.minimum(width, longest).max())


def crops_on(photographs: DecodedPhotographs, device: torch.device, gpu_bytes: float) -> DeviceCrops | None:
    """Return the photographs on a GPU; None on a processor, and where they would take more of the GPU's memory."""
    if device.type != "cuda":
        return None
    rows, columns = _largest_box(photographs)
    held = int(_bytes_of(photographs).sum())
    fits = held <= gpu_bytes and rows * columns <= MOST_PIXELS_A_BOX
    logger.info(
        "photographs are cropped %s: they take %.2f GB, for which the GPU has %.2f; a crop has up to %d x %d pixels",
        "on the GPU" if fits else "by threads",
        held / 1e9,
        gpu_bytes / 1e9,
        columns,
        rows,
    )
    return DeviceCrops(photographs, device) if fits else None
