"""Normalisation and augmentation of a batch of images, vectorised.

Each augmentation is in two parts: random numbers of a batch, one row of a table each, drawn by a generator on the CPU
so that every device sees the same; then what they do to the images, on their device. `draw_moves` and `move_drawings`
are the augmentation of drawings, shared by all objectives but SimCLR, whose published augmentations (`draw_simclr_view`
and `simclr_view`) are part of the method. Photographs are cropped when decoded (`data.preprocessing.training_crop`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whyrobust.training.device import constant

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
    grid = nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
    return nn.functional.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _matrices(rows: Tensor) -> Tensor:
    """Return affine maps ``[batch, 2, 3]`` of the rows of a table ``[6, batch]``."""
    return rows.view(2, 3, -1).permute(2, 0, 1).contiguous()


def _mirror(batch: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Return -1 for half of the images, if they are to be mirrored, and 1 for the others, ``[batch]``."""
    if not flip:
        return torch.ones(batch)
    return torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)


def draw_moves(
    batch: int, max_shift_share: float, max_zoom: float, plain_share: float, flip: bool, generator: torch.Generator
) -> Tensor:
    """Draw by how much each drawing of a batch is shifted, zoomed and mirrored, for `move_drawings`.

    Shifts and zooms resample, which blurs, and test images are never resampled: a model that has seen blurred images
    alone meets sharp ones for the first time in the test.

    Args:
        batch: images.
        max_shift_share: moved by at most this share of the side.
        max_zoom: zoomed by a factor between 1/max_zoom and max_zoom.
        plain_share: each image is neither shifted nor zoomed with this probability, and keeps its pixels; which images
            these are changes neither shifts nor zooms of the others.
        flip: mirror half of the images.
        generator: on the CPU.

    Returns:
        ``[8, batch]``: six numbers of the affine map, whether it is mirrored, whether it is shifted and zoomed.
    """
    zoom = torch.exp((torch.rand(batch, generator=generator) * 2 - 1) * math.log(max_zoom))
    # grid_sample's axes run from -1 to 1 over a side, so a share of the side counts twice.
    shift = (torch.rand(batch, 2, generator=generator) * 2 - 1) * 2 * max_shift_share
    mirror = _mirror(batch, flip, generator)
    moved = torch.rand(batch, generator=generator) >= plain_share
    none = torch.zeros(batch)
    return torch.stack([mirror / zoom, none, shift[:, 0], none, 1 / zoom, shift[:, 1], mirror < 0, moved])


def move_drawings(images: Tensor, moves: Tensor) -> Tensor:
    """Shift, zoom and mirror each image ``[batch, 3, side, side]`` as `draw_moves` says; the outside is 0 (white)."""
    matrix, (mirrored, is_moved) = _matrices(moves[:6]), moves[6:] > 0
    if images.is_cuda:
        # All are resampled: to pick some would wait for the GPU, and takes it longer.
        plain = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
        return torch.where(is_moved.view(-1, 1, 1, 1), _resample(images, matrix), plain)
    moved = is_moved.nonzero().squeeze(1)
    if len(moved) == len(images):
        return _resample(images, matrix)
    result = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(3), images)
    if len(moved):
        result[moved] = _resample(images[moved], matrix[moved])
    return result


def draw_boxes(batch: int, min_area: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Draw the box of each image of a batch that `crop_boxes` shows, and whether it is mirrored, ``[6, batch]``.

    Area uniform from ``min_area`` to 1, aspect log-uniform from 3:4 to 4:3, as in Szegedy et al. 2015 and SimCLR. A box
    that would be wider or higher than the image is cut to it.
    """
    area = _uniform(batch, min_area, 1.0, generator)
    aspect = torch.exp(_uniform(batch, math.log(ASPECTS[0]), math.log(ASPECTS[1]), generator))
    width, height = (area * aspect).sqrt().clamp(max=1.0), (area / aspect).sqrt().clamp(max=1.0)
    # In grid_sample's axes a box of share w can be centred from -(1 - w) to 1 - w.
    x = (torch.rand(batch, generator=generator) * 2 - 1) * (1 - width)
    y = (torch.rand(batch, generator=generator) * 2 - 1) * (1 - height)
    none = torch.zeros(batch)
    return torch.stack([width * _mirror(batch, flip, generator), none, x, none, height, y])


def crop_boxes(images: Tensor, boxes: Tensor) -> Tensor:
    """Return the box of each image ``[batch, 3, side, side]`` that `draw_boxes` drew, stretched to the full size."""
    return _resample(images, _matrices(boxes))


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


def draw_colours(batch: int, strength: float, side: int, generator: torch.Generator) -> Tensor:
    """Draw how `change_colours` changes each image of a batch (Chen et al. 2020, appendix A).

    Args:
        batch: images.
        strength: s of the paper: factors from 1 - 0.8 s to 1 + 0.8 s, hue by up to 0.2 s of a turn.
        side: of the images in pixels; large ones are blurred.
        generator: on the CPU.

    Returns:
        ``[6, batch]``: factors of brightness, contrast and saturation, turns of the hue, whether these are changed at
        all, whether it is made grey; for images that are blurred two more, standard deviation in pixels and whether.
    """
    low, high = max(0.0, 1 - 0.8 * strength), 1 + 0.8 * strength
    rows = [_uniform(batch, low, high, generator) for _ in range(3)]
    rows.append(_uniform(batch, -0.2 * strength, 0.2 * strength, generator))
    rows += [_uniform(batch, 0, 1, generator) < probability for probability in (JITTER_PROBABILITY, GREY_PROBABILITY)]
    if side >= BLUR_FROM_SIDE_PIXELS:
        rows.append(_uniform(batch, *BLUR_SIGMAS, generator))
        rows.append(torch.rand(batch, generator=generator) < BLUR_PROBABILITY)
    return torch.stack([row.float() for row in rows])


def jitter_colours(colours: Tensor, changes: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue of images, and make some grey, as `draw_colours` says.

    Args:
        colours: ``[batch, 3, side, side]`` from 0 to 1.
        changes: the first six rows of a table of `draw_colours`, on their device.

    Returns:
        The same shape, from 0 to 1. The four changes come in one order for all images: the authors' code and
        torchvision shuffle it per image, which would cost one pass per order.
    """
    brightness, contrast, saturation, turns = changes[:4]
    jittered, grey = (row.view(-1, 1, 1, 1) > 0 for row in changes[4:6])
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
    kernels = torch.softmax(-0.5 * (offsets / sigmas[:, None]) ** 2, dim=1)
    # One group per channel of an image, so that each image has its own kernel; separable: rows, then columns.
    kernels = kernels.repeat_interleave(channels, dim=0)[:, None]
    planes = nn.functional.pad(colours, [radius] * 4, mode="reflect").view(1, batch * channels, side + 2 * radius, -1)
    rows = nn.functional.conv2d(planes, kernels[:, :, None, :], groups=batch * channels)
    both = nn.functional.conv2d(rows, kernels[:, :, :, None], groups=batch * channels)
    return both.view(batch, channels, side, side)


def draw_simclr_view(
    batch: int, min_crop_area: float, flip: bool, colour_strength: float, side: int, generator: torch.Generator
) -> Tensor:
    """Draw all random numbers of `simclr_view`: the rows of `draw_boxes`, then those of `draw_colours`.

    Args:
        batch: images.
        min_crop_area: smallest share of the image in a crop; 0.08 in the paper. Small crops of a drawing on white may
            be empty.
        flip: mirror half of the images.
        colour_strength: s of the paper.
        side: of the images in pixels.
        generator: on the CPU.
    """
    boxes = draw_boxes(batch, min_crop_area, flip, generator)
    return torch.cat([boxes, draw_colours(batch, colour_strength, side, generator)])


def simclr_view(images: Tensor, changes: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return one SimCLR view of normalised images ``[batch, 3, side, side]``: crop, flip, colour jitter, grey, blur.

    Chen et al. 2020, appendix A. Half of the images are blurred, from a side of `BLUR_FROM_SIDE_PIXELS` on.

    Args:
        images: normalised images.
        changes: of `draw_simclr_view`, on their device.
        mean: of the normalisation, three numbers.
        std: of the normalisation.
    """
    return change_colours(crop_boxes(images, changes[:6]), changes[6:], mean, std)


def change_colours(images: Tensor, changes: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return normalised images ``[n, 3, side, side]`` with colours changed and blurred as `draw_colours` says."""
    centre, spread = (constant(tuple(of), images.device).view(1, 3, 1, 1) for of in (mean, std))
    colours = jitter_colours((images * spread + centre).clamp(0, 1), changes)
    if len(changes) > 6:
        sigmas, blurred = changes[6:]
        colours = torch.where(blurred.view(-1, 1, 1, 1) > 0, blur(colours, sigmas), colours)
    return (colours - centre) / spread
