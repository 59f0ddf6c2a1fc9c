"""From a decoded image to the input of a model: resizing, cropping and normalisation as open_clip describes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from whyrobust.data.pixel_store import Pixels


#: An image is cropped to this aspect ratio before its shorter side is resized: a line of 30,000 pixels would become
#: 1.5 gigapixels.
MAXIMUM_ASPECT = 20

#: Mean and deviation under which a white page is 0, so that padding with zeros adds more of it.
WHITE_PAGE_MEAN, WHITE_PAGE_STD = (1.0, 1.0, 1.0), (0.5, 0.5, 0.5)

#: Mean and deviation of pixels from 0 to 1 that CLIP models are fed with (Radford et al. 2021; open_clip's constants).
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a model, as open_clip describes it.

    Attributes:
        size: side of the input in pixels.
        mean: of red, green and blue from 0 to 1; subtracted.
        std: of the same; divided by.
        interpolation: ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest``: the shorter side is resized to ``size`` and the centre cropped; ``squash``: both
            sides are resized.
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


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Return uint8 ``[size, size, 3]``: resized and cut as open_clip's transform for evaluation does.

    Pillow alone is used: torchvision calls it with the same numbers, and its import takes seconds of each job.
    Of an image more than `MAXIMUM_ASPECT` times as long as wide only the centre is resized: the rest would be cropped.
    """
    size, resampling = preprocessing.size, preprocessing.resampling
    if preprocessing.resize_mode == "squash":
        return np.array(image.resize((size, size), resampling))
    longest = MAXIMUM_ASPECT * min(image.size)
    if max(image.size) > longest:
        width, height = (min(side, longest) for side in image.size)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    width, height = (int(size * side / min(image.size)) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.array(image.resize((width, height), resampling).crop((left, top, left + size, top + size)))


def draw_crop_boxes(shapes: NDArray[np.int64], min_area: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return a random box of each image, as `training_crop` draws them but with whole pixels.

    Args:
        shapes: height and width of the images in pixels ``[..., 2]``.
        min_area: smallest share of an image in a box.
        generator: of all numbers.

    Returns:
        Top, left, height and width ``[..., 4]``.
    """
    height, width = shapes[..., 0], shapes[..., 1]
    area = height * width * generator.uniform(min_area, 1.0, height.shape)
    aspect = np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3), height.shape))
    box_height = np.clip(np.rint(np.sqrt(area / aspect)), 1, height)
    box_width = np.clip(np.rint(np.sqrt(area * aspect)), 1, width)
    top = np.floor(generator.random(height.shape) * (height - box_height + 1))
    left = np.floor(generator.random(height.shape) * (width - box_width + 1))
    return np.stack([top, left, box_height, box_width], axis=-1).astype(np.int64)


def training_crop(
    image: Image.Image, preprocessing: Preprocessing, min_area: float, flip: bool, generator: np.random.Generator
) -> Pixels:
    """Return a random crop of an image at the size of the input, mirrored with probability 1/2 where ``flip`` is set.

    Area uniform from ``min_area`` to 1, aspect ratio log-uniform from 3:4 to 4:3 (Szegedy et al. 2015), as in
    torchvision's RandomResizedCrop, but a box that does not fit is clipped to the image instead of drawn again.

    Returns:
        uint8 ``[size, size, 3]``.
    """
    area = image.width * image.height * generator.uniform(min_area, 1.0)
    aspect = float(np.exp(generator.uniform(np.log(3 / 4), np.log(4 / 3))))
    width, height = min(image.width, (area * aspect) ** 0.5), min(image.height, (area / aspect) ** 0.5)
    left, top = generator.random() * (image.width - width), generator.random() * (image.height - height)
    size, box = (preprocessing.size, preprocessing.size), (left, top, left + width, top + height)
    crop = image.resize(size, preprocessing.resampling, box=box)
    pixels = np.array(crop)
    # A copy, made in the thread that crops: a batch of views with negative strides is stacked four times slower.
    return pixels[:, ::-1].copy() if flip and generator.random() < 0.5 else pixels
