"""Normalisation and augmentation of a batch of images, vectorised, with random numbers from a generator on the CPU.

`shift_zoom_flip` is the augmentation of drawings, shared by all objectives but SimCLR, whose published augmentations
(`simclr_view`) are part of the method. Photographs are cropped when decoded (`data.preprocessing.training_crop`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whyrobust.training.device import constant, send

#: Weights of red, green and blue in grey (ITU-R BT.601), as in torchvision.
GREY_WEIGHTS = (0.2989, 0.587, 0.114)

#: Chen et al. 2020, appendix A: jitter 0.8 of the images, grey 0.2, sides of a crop from 3:4 to 4:3, blur 0.5.
JITTER_PROBABILITY = 0.8
GREY_PROBABILITY = 0.2
ASPECTS = (3 / 4, 4 / 3)
BLUR_PROBABILITY = 0.5

#: Standard deviations of the blur in pixels, from the same source.
BLUR_SIGMAS = (0.1, 2.0)

#: Images below this side are not blurred: the paper leaves it out for the 32 pixels of CIFAR-10 (appendix B.9).
BLUR_FROM_SIDE_PIXELS = 64


@dataclass(frozen=True)
class Augmentation:
    """How training images are augmented.

    Attributes:
        flip: mirror half of the images.
        max_shift_share: drawings: shifted by at most this share of the side.
        max_zoom: drawings: zoomed by a factor between 1/max_zoom and max_zoom.
        plain_share: drawings: share of the images that are neither shifted nor zoomed.
        min_crop_area: photographs, and SimCLR: smallest share of an image that a crop shows.
        colour_strength: of SimCLR's colour jitter.
        strong: SimCLR's augmentations instead of the others.
    """

    flip: bool
    max_shift_share: float = 0.0
    max_zoom: float = 1.0
    plain_share: float = 0.0
    min_crop_area: float = 1.0
    colour_strength: float = 0.5
    strong: bool = False


def normalise_pixels(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised floats ``[n, 3, size, size]`` of uint8 images ``[n, size, size, 3]``, as torchvision does.

    Args:
        pixels: uint8 images.
        mean: of red, green and blue from 0 to 1; subtracted.
        std: divided by.
    """
    # Rows of pixels, not single ones: loops over three channels are too short for SIMD registers.
    rows = pixels.float().div_(255.0).flatten(2)
    centre, spread = (constant(tuple(of) * pixels.shape[2], pixels.device) for of in (mean, std))
    return rows.sub_(centre).div_(spread).view(pixels.shape).permute(0, 3, 1, 2)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def _resample(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images ``[batch, 3, side, side]`` resampled by affine maps ``[batch, 2, 3]``; the outside is 0 (white)."""
    grid = nn.functional.affine_grid(send(matrix, images.device), list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def shift_zoom_flip(
    images: Tensor, max_shift_share: float, max_zoom: float, plain_share: float, flip: bool, generator: torch.Generator
) -> Tensor:
    """Shift, zoom and mirror each image ``[batch, 3, side, side]`` by random amounts; what is outside is 0 (white).

    Shifts and zooms resample, which blurs, and test images are never resampled: a model that has seen blurred images
    alone meets sharp ones for the first time in the test.

    Args:
        images: normalised images.
        max_shift_share: moved by at most this share of the side.
        max_zoom: zoomed by a factor between 1/max_zoom and max_zoom.
        plain_share: each image is neither shifted nor zoomed with this probability, and keeps its pixels; which images
            these are changes neither shifts nor zooms of the others.
        flip: mirror half of the images.
        generator: on the CPU, so that every device sees the same augmentation.
    """
    batch = len(images)
    zoom = torch.exp((torch.rand(batch, generator=generator) * 2 - 1) * math.log(max_zoom))
    # grid_sample's axes run from -1 to 1 over a side, so a share of the side counts twice.
    shift = (torch.rand(batch, 2, generator=generator) * 2 - 1) * 2 * max_shift_share
    mirror = torch.ones(batch)
    if flip:
        mirror = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(batch, 2, 3)
    matrix[:, 0, 0] = mirror / zoom
    matrix[:, 1, 1] = 1 / zoom
    matrix[:, :, 2] = shift
    is_moved = torch.rand(batch, generator=generator) >= plain_share
    moved = is_moved.nonzero().squeeze(1)
    if len(moved) == batch:
        return _resample(images, matrix)
    if images.is_cuda:
        # All are resampled, which takes a GPU less time than to pick some.
        choice = send(torch.stack([mirror < 0, is_moved]), images.device).view(2, -1, 1, 1, 1)
        return torch.where(choice[1], _resample(images, matrix), torch.where(choice[0], images.flip(3), images))
    result = torch.where((mirror < 0).view(-1, 1, 1, 1), images.flip(3), images)
    if len(moved):
        result[moved] = _resample(images[moved], matrix[moved])
    return result


def random_resized_crop(images: Tensor, min_area: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Crop a random box of each image, stretch it to the full size, and mirror half of the images.

    Area uniform from ``min_area`` to 1, aspect log-uniform from 3:4 to 4:3, as in Szegedy et al. 2015 and SimCLR. A box
    that would be wider or higher than the image is cut to it.
    """
    batch = len(images)
    area = _uniform(batch, min_area, 1.0, generator)
    aspect = torch.exp(_uniform(batch, math.log(ASPECTS[0]), math.log(ASPECTS[1]), generator))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    # In grid_sample's axes a box of share w can be centred from -(1 - w) to 1 - w.
    x = (torch.rand(batch, generator=generator) * 2 - 1) * (1 - width)
    y = (torch.rand(batch, generator=generator) * 2 - 1) * (1 - height)
    mirror = torch.ones(batch)
    if flip:
        mirror = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    matrix = torch.zeros(batch, 2, 3)
    matrix[:, 0, 0] = width * mirror
    matrix[:, 1, 1] = height
    matrix[:, 0, 2], matrix[:, 1, 2] = x, y
    return _resample(images, matrix)


def to_grey(colours: Tensor) -> Tensor:
    """Return the grey ``[batch, 1, side, side]`` of colours ``[batch, 3, side, side]`` from 0 to 1."""
    weights = constant(GREY_WEIGHTS, colours.device).view(1, 3, 1, 1)
    return (colours * weights).sum(dim=1, keepdim=True)


def turn_hue(colours: Tensor, turns: Tensor) -> Tensor:
    """Return colours ``[batch, 3, side, side]``, from 0 to 1, with hues turned by ``turns`` ``[batch]`` full turns."""
    red, green, blue = colours.unbind(dim=1)
    value, low = colours.amax(dim=1), colours.amin(dim=1)
    spread = value - low
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    sixth = torch.where(
        value == red,
        (green - blue) / safe % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = sixth + 6 * turns.view(-1, 1, 1)
    # Each channel is the value minus the spread times a trapezoid of the hue (Smith 1978).
    offsets = constant((5.0, 3.0, 1.0), colours.device).view(1, 3, 1, 1)
    turn = (offsets + hue[:, None]) % 6
    return value[:, None] - spread[:, None] * torch.minimum(turn, 4 - turn).clamp(0, 1)


def change_brightness(colours: Tensor, factors: Tensor) -> Tensor:
    """Return colours ``[batch, 3, side, side]``, from 0 to 1, times one factor per image ``[batch]``."""
    return (colours * factors.view(-1, 1, 1, 1)).clamp(0, 1)


def change_contrast(colours: Tensor, factors: Tensor) -> Tensor:
    """Return colours moved away from or towards the mean grey of their image by one factor per image ``[batch]``."""
    mean = to_grey(colours).mean(dim=(1, 2, 3), keepdim=True)
    return (mean + factors.view(-1, 1, 1, 1) * (colours - mean)).clamp(0, 1)


def change_saturation(colours: Tensor, factors: Tensor) -> Tensor:
    """Return colours moved away from or towards the grey of their pixel by one factor per image ``[batch]``."""
    grey = to_grey(colours)
    return (grey + factors.view(-1, 1, 1, 1) * (colours - grey)).clamp(0, 1)


def jitter_colours(
    colours: Tensor, strength: float, generator: torch.Generator, batch: int | None = None, own: Tensor | None = None
) -> Tensor:
    """Change brightness, contrast, saturation and hue of images, make some grey (Chen et al. 2020, appendix A).

    Args:
        colours: ``[batch, 3, side, side]`` from 0 to 1.
        strength: s of the paper: factors from 1 - 0.8 s to 1 + 0.8 s, hue by up to 0.2 s of a turn.
        generator: on the CPU.
        batch: size of the whole batch, of which ``colours`` may be one process's share; random numbers are generated
            for all of it.
        own: positions of ``colours`` in the batch; None: they are the whole batch.

    Returns:
        The same shape, from 0 to 1. The four changes come in one order for all images: the authors' code and
        torchvision shuffle it per image, which would cost one pass per order.
    """
    device = colours.device

    def uniform(low: float, high: float) -> Tensor:
        numbers = _uniform(len(colours) if batch is None else batch, low, high, generator)
        return send(numbers if own is None else numbers[own], device)

    low, high = max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength
    brightness, contrast, saturation = (uniform(low, high) for _ in range(3))
    turns = uniform(-0.2 * strength, 0.2 * strength)
    jittered = (uniform(0, 1) < JITTER_PROBABILITY).view(-1, 1, 1, 1)
    grey = (uniform(0, 1) < GREY_PROBABILITY).view(-1, 1, 1, 1)

    changed = change_brightness(colours, brightness)
    changed = change_contrast(changed, contrast)
    changed = change_saturation(changed, saturation)
    changed = turn_hue(changed, turns).clamp(0, 1)
    result = torch.where(jittered, changed, colours)
    return torch.where(grey, to_grey(result).expand_as(result), result)


def blur(colours: Tensor, sigmas: Tensor) -> Tensor:
    """Return colours ``[batch, 3, side, side]`` blurred by a Gaussian of ``sigmas`` ``[batch]`` pixels.

    The kernel is 10 % of the side wide, rounded to an odd width as in the authors' code; borders are mirrored.
    """
    batch, channels, side, _ = colours.shape
    radius = side // 20
    offsets = torch.arange(-radius, radius + 1, device=colours.device)
    kernels = torch.softmax(-0.5 * (offsets / send(sigmas, colours.device)[:, None]) ** 2, dim=1)
    # One group per channel of an image, so that each image has its own kernel; separable: rows, then columns.
    kernels = kernels.repeat_interleave(channels, dim=0)[:, None]
    planes = nn.functional.pad(colours, [radius] * 4, mode="reflect").view(1, batch * channels, side + 2 * radius, -1)
    rows = nn.functional.conv2d(planes, kernels[:, :, None, :], groups=batch * channels)
    both = nn.functional.conv2d(rows, kernels[:, :, :, None], groups=batch * channels)
    return both.view(batch, channels, side, side)


def simclr_view(
    images: Tensor,
    min_crop_area: float,
    flip: bool,
    colour_strength: float,
    generator: torch.Generator,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Return one SimCLR view of normalised images ``[batch, 3, side, side]``: crop, flip, colour jitter, grey, blur.

    Chen et al. 2020, appendix A. Half of the images are blurred, from a side of `BLUR_FROM_SIDE_PIXELS` on.

    Args:
        images: normalised images.
        min_crop_area: smallest share of the image in a crop; 0.08 in the paper. Small crops of a drawing on white may
            be empty.
        flip: mirror half of the images.
        colour_strength: s of the paper.
        generator: on the CPU, so that every device sees the same augmentation.
        mean: of the normalisation, three numbers.
        std: of the normalisation.
    """
    return simclr_colours(
        random_resized_crop(images, min_crop_area, flip, generator), colour_strength, generator, mean, std
    )


def simclr_colours(
    images: Tensor,
    colour_strength: float,
    generator: torch.Generator,
    mean: Sequence[float],
    std: Sequence[float],
    batch: int | None = None,
    own: Tensor | None = None,
) -> Tensor:
    """Return normalised images ``[n, 3, side, side]`` after SimCLR's colour jitter, grey and blur.

    Where they are one process's share of a batch, ``batch`` is its size and ``own`` their positions in it, as in
    `jitter_colours`.
    """
    centre, spread = (constant(tuple(of), images.device).view(1, 3, 1, 1) for of in (mean, std))
    colours = jitter_colours((images * spread + centre).clamp(0, 1), colour_strength, generator, batch, own)
    if images.shape[-1] >= BLUR_FROM_SIDE_PIXELS:
        count = len(images) if batch is None else batch
        sigmas = _uniform(count, *BLUR_SIGMAS, generator)
        blurred = torch.rand(count, generator=generator) < BLUR_PROBABILITY
        if own is not None:
            sigmas, blurred = sigmas[own], blurred[own]
        blurred = send(blurred, images.device)
        colours = torch.where(blurred.view(-1, 1, 1, 1), blur(colours, sigmas), colours)
    return (colours - centre) / spread
