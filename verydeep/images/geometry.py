"""Where things are in an image: sizes, offsets and boxes, as pure functions. Sections 3.1 and 3.2.

Sizes are (width, height) as in Pillow; a box is (left, top, right, bottom) in pixels.
"""

from __future__ import annotations

Box = tuple[float, float, float, float]
Offset = tuple[int, int]  # left, top


def rescaled_size(width: int, height: int, smaller_side: int) -> tuple[int, int]:
    """Size after isotropic rescaling so that the smaller side is `smaller_side`.

    The longer side is rounded down, as torchvision does; the paper does not say.
    """
    if width <= height:
        return smaller_side, max(smaller_side, int(height * smaller_side / width))
    return max(smaller_side, int(width * smaller_side / height)), smaller_side


def centre_offset(side: int, window: int) -> int:
    """Offset of a window in the middle of a side; halves are rounded to even, as torchvision does."""
    return round((side - window) / 2)


def grid_offsets(side: int, window: int, count: int) -> list[int]:
    """Evenly spaced offsets of `count` windows along a side: the first and the last touch its ends.

    A single one lies in the middle. Where there is less room than windows, some coincide.
    """
    if count == 1:
        return [centre_offset(side, window)]
    return [round(number * (side - window) / (count - 1)) for number in range(count)]


def random_offset(side: int, window: int, uniform: float) -> int:
    """Offset of a random window: each of the `side - window + 1` places is equally likely.

    Args:
        side: of the image, at least `window`.
        window: side of the window.
        uniform: a number drawn uniformly from [0, 1).

    """
    return min(int(uniform * (side - window + 1)), side - window)


def box_in_original(left: int, top: int, window: int, rescaled: tuple[int, int], original: tuple[int, int]) -> Box:
    """Box of the original image that a window of the rescaled one shows."""
    across, down = original[0] / rescaled[0], original[1] / rescaled[1]
    return (
        left * across,
        top * down,
        min((left + window) * across, original[0]),
        min((top + window) * down, original[1]),
    )
