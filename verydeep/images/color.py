"""Mean RGB and its like: what is done to pixels before the network, and its measurement on a training set.

Section 2.1: the mean RGB value of the training set is subtracted from pixels of 0 to 255, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError, ModelError


@dataclass(frozen=True)
class Preprocessing:
    """Part of every model: `(pixel - mean) / deviation`, channel by channel, on pixels of 0 to 255.

    Attributes:
        mean: to be subtracted, for R, G, B.
        deviation: to be divided by, for R, G, B; 1 where the mean alone is subtracted, as in the paper.
        channels: the order in which the network takes the channels, `RGB` or `BGR`.

    """

    mean: tuple[float, float, float] = (123.68, 116.779, 103.939)  # ImageNet's, as Oxford released it
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: str = "RGB"

    def __post_init__(self) -> None:
        three_each = len(self.mean) == len(self.deviation) == 3
        if not three_each or not np.isfinite((self.mean, self.deviation)).all() or min(self.deviation) <= 0:
            raise ModelError(
                "preprocessing wants three finite means and three positive deviations, "
                f"not {self.mean} and {self.deviation}"
            )
        if self.channels not in ("RGB", "BGR"):
            raise ModelError(f"preprocessing has channel order {self.channels!r}; it is RGB or BGR")


def measure(pictures: Iterable[NDArray[np.uint8]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of R, G and B over all pixels, each picture weighing the same.

    Args:
        pictures: each of shape (height, width, 3). One pass; only sums are kept.

    Returns:
        Mean and standard deviation, of shape (3,), in levels of 0 to 255.

    Raises:
        DataError: there are no pictures.

    """
    count, total, squares = 0, np.zeros(3), np.zeros(3)
    for picture in pictures:
        levels = np.arange(256.0)
        for channel in range(3):
            # A histogram first: exact, and faster than converting every pixel to floating point.
            share = np.bincount(picture[..., channel].ravel(), minlength=256) / picture[..., channel].size
            total[channel] += share @ levels
            squares[channel] += share @ levels**2
        count += 1
    if count == 0:
        raise DataError("there is no picture to measure the mean RGB of; not one could be read")
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))
