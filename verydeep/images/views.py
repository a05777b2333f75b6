"""The views of an image that training shows: Section 3.1's random crop of a rescaled image, and its mirror.

Testing's views are the protocols of `verydeep.evaluation`; both stand on `rescale` and `verydeep.images.geometry`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import ImageError, UsageError
from verydeep.images.color import ColorShift
from verydeep.images.decode import MAX_PIXELS
from verydeep.images.geometry import box_in_original, random_offset, rescaled_size
from verydeep.plan import refuse_too_large

Pixels = NDArray[np.uint8]  # (height, width, 3)


def as_image(image: Image.Image | Pixels) -> Image.Image:
    """The same image as Pillow has it."""
    return Image.fromarray(image) if isinstance(image, np.ndarray) else image


def rescale(image: Image.Image | Pixels, smaller_side: int) -> Image.Image:
    """Rescale isotropically so that the smaller side is `smaller_side` pixels (bilinear, antialiased).

    Raises:
        ImageError: it is so long and narrow that it would not fit in memory.

    """
    image = as_image(image)
    size = rescaled_size(*image.size, smaller_side)
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(
            f"{image.width}x{image.height} pixels would be {size[0]}x{size[1]} at the scale {smaller_side}, "
            f"more than {MAX_PIXELS:,}; cut it first"
        )
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def mirrored(images: Pixels) -> Pixels:
    """Mirror images, of shape (images, height, width, 3), left to right.

    Colour by colour: NumPy copies backwards value by value, and pixel by pixel would take five times as long.
    """
    result = np.empty_like(images)
    for color in range(images.shape[-1]):
        result[..., color] = images[:, :, ::-1, color]
    return result


@dataclass(frozen=True)
class ViewDraws:
    """The random numbers of a batch's views, drawn at once so that they do not depend on who makes the views."""

    scale: NDArray[np.int64]  # S for each image
    across: NDArray[np.float64]  # in [0, 1): where the crop lies
    down: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    color: NDArray[np.float64]  # (count, 3), standard normal: the shift along each principal color


@dataclass(frozen=True)
class TrainingView:
    """A random `window` x `window` crop of the image rescaled to smaller side S, mirrored half of the time.

    Attributes:
        scale: the least and the greatest S; S is drawn for each image each time where they differ.
        window: side of the crop: the network's `window`.
        mirror: whether half of the views are mirrored.
        color_shift: of each view at random; None leaves colors as they are.

    Raises:
        UsageError: the smallest S does not hold a window, or no image can have the greatest.

    """

    scale: tuple[int, int]
    window: int
    mirror: bool = True
    color_shift: ColorShift | None = None

    def __post_init__(self) -> None:
        if not self.window <= self.scale[0] <= self.scale[1]:
            raise UsageError(
                f"`train_scale` is {self.scale[0]}:{self.scale[1]}; it must be at least the network's window, "
                f"{self.window} pixels, and its lower end no more than its upper end"
            )
        refuse_too_large("train_scale", self.scale[1])

    def draw(self, random: np.random.Generator, count: int) -> ViewDraws:
        """Draw the random numbers of `count` views."""
        least, greatest = self.scale
        return ViewDraws(
            random.integers(least, greatest + 1, count),
            random.random(count),
            random.random(count),
            (random.random(count) < 0.5) & self.mirror,
            random.standard_normal((count, 3)),
        )

    def make(self, image: Image.Image | Pixels, draws: ViewDraws, number: int) -> Pixels:
        """Show one image as draw `number` says.

        An image that already has the wanted scale (an array in memory) is only cut. Any other is cut and
        rescaled in one call, which touches no pixel outside the crop.
        """
        scale = int(draws.scale[number])
        original = _size(image)
        rescaled = rescaled_size(*original, scale)
        left = random_offset(rescaled[0], self.window, draws.across[number])
        top = random_offset(rescaled[1], self.window, draws.down[number])
        if rescaled == original:
            crop = np.asarray(image)[top : top + self.window, left : left + self.window]
        else:
            box = box_in_original(left, top, self.window, rescaled, original)
            crop = np.asarray(as_image(image).resize((self.window, self.window), Image.Resampling.BILINEAR, box))
        return crop[:, ::-1] if draws.mirrored[number] else crop


def _size(image: Image.Image | Pixels) -> tuple[int, int]:
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    return image.size
