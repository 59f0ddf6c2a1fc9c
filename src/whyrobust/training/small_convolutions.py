"""Convolutions of this project's encoders: torch's, but for the gradient of filters of small images in 16 bits.

`Convolution` has the weights, names and results of ``torch.nn.Conv2d``.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

#: Results a side up to which a matrix product gives the gradient of filters faster (docs/dev/optimisation.md).
MOST_RESULTS: Final = 4


class Convolution(nn.Conv2d):
    """A convolution without a bias, with square filters.

    On a CPU in 16 bits, and where an image has few results, the gradient of its filters is a product of two matrices:
    oneDNN takes two to eight times as long for it.

    Args:
        width: channels of an image.
        channels: of the result.
        side: of a filter, in pixels.
        stride: pixels between two results.
        padding: pixels of zeros around an image.
    """

    def __init__(self, width: int, channels: int, side: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(width, channels, side, stride=stride, padding=padding, bias=False)
        self._shape = (side, stride, padding)

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[batch, channels, ...]`` of images ``[batch, width, height, width]``."""
        if self._is_small(images) and _has_16_bits(images) and not torch.compiler.is_compiling():
            found: Tensor = _SmallConvolution.apply(images.bfloat16(), self.weight.bfloat16(), *self._shape[1:])
            return found
        return super().forward(images)

    def _is_small(self, images: Tensor) -> bool:
        side, stride, padding = self._shape
        return max(images.shape[-2:]) + 2 * padding < side + stride * MOST_RESULTS


def _has_16_bits(images: Tensor) -> bool:
    """Whether products of these images are in bfloat16, on a CPU."""
    on_cpu = images.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    return on_cpu and torch.get_autocast_dtype("cpu") == torch.bfloat16


class _SmallConvolution(torch.autograd.Function):
    """A convolution whose filters have their gradient from the unfolded images; all but the strides are tensors."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, filters: Tensor, stride: int, padding: int) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(images, filters)
        ctx.stride, ctx.padding = stride, padding
        return nn.functional.conv2d(images, filters, stride=stride, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, Tensor, None, None]:  # noqa: ANN401
        images, filters = ctx.saved_tensors
        of_images = None
        if ctx.needs_input_grad[0]:
            stride, padding = [ctx.stride] * 2, [ctx.padding] * 2
            only_images = [True, False, False]
            of_images, *_ = torch.ops.aten.convolution_backward(
                above, images, filters, None, stride, padding, [1, 1], False, [0, 0], 1, only_images
            )
        return of_images, gradient_of_filters(images, above, filters.shape[-1], ctx.stride, ctx.padding), None, None


def gradient_of_filters(images: Tensor, above: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """Return the gradient of a convolution's filters, ``[channels, width, side, side]``.

    Args:
        images: ``[batch, width, height, width of an image]``.
        above: gradient of the results, ``[batch, channels, rows, columns]``.
        side: of a filter, in pixels.
        stride: pixels between two results.
        padding: pixels of zeros around an image.
    """
    batch, channels, rows, columns = above.shape
    width = images.shape[1]
    padded = nn.functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding)).contiguous()
    of_image, of_row, of_pixel, one = padded.stride()
    # The pixels of a row below a filter lie behind each other: they and their channels are one dimension.
    seen = padded.as_strided(
        (batch, rows, columns, side, side * width), (of_image, stride * of_row, stride * of_pixel, of_row, one)
    )
    patches = seen.reshape(batch * rows * columns, side * side * width)
    gradient = above.permute(0, 2, 3, 1).reshape(batch * rows * columns, channels).t() @ patches
    return gradient.view(channels, side, side, width).permute(0, 3, 1, 2)
