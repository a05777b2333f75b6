"""Mean RGB and the principal colors: what is done to pixels before the network, and its measurement.

Section 2.1: the mean RGB value of the training set is subtracted from pixels of 0 to 255, and nothing else.
Section 3.1: training shifts the color of each image at random, as Krizhevsky et al. (NIPS 2012) did.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError, ModelError

AT_ONCE = 1 << 20  # pixels that are measured at once: they take eight times their memory


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
                f"preprocessing needs three finite means and three positive deviations, not {self.mean} and "
                f"{self.deviation}"
            )
        if self.channels not in ("RGB", "BGR"):
            raise ModelError(f"preprocessing has channel order {self.channels!r}; it is RGB or BGR")

    def normalized(self, levels: NDArray[Any]) -> NDArray[np.float32]:
        """`(level - mean) / deviation` in float32, of levels whose last axis is R, G and B."""
        mean, deviation = np.array(self.mean, np.float32), np.array(self.deviation, np.float32)
        result: NDArray[np.float32] = (levels.astype(np.float32) - mean) / deviation
        return result

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network takes, of shape (batch, 3, height, width), for images of (batch, height, width, 3)."""
        x = self.normalized(images)
        return np.ascontiguousarray((x[..., ::-1] if self.channels == "BGR" else x).transpose(0, 3, 1, 2))


def are_shares(mean: Iterable[float], deviation: Iterable[float]) -> bool:
    """Whether a mean and a deviation look like those of pixels from 0 to 1, as `Normalize` of torchvision has."""
    return 0 < max(mean) <= 1 or max(deviation) < 1


@dataclass(frozen=True)
class PrincipalColors:
    """Directions in which a training set's colors vary, and how much; kept with a model trained with them.

    Attributes:
        eigenvalues: of the covariance of R, G and B, for levels of 0 to 1, the greatest first.
        eigenvectors: the directions, a row each, of unit length.

    """

    eigenvalues: tuple[float, float, float]
    eigenvectors: tuple[tuple[float, float, float], ...]

    def __post_init__(self) -> None:
        directions = np.asarray(self.eigenvectors, dtype=np.float64)
        if len(self.eigenvalues) != 3 or directions.shape != (3, 3):
            raise ModelError("principal colors are three eigenvalues and three eigenvectors of R, G and B")
        if (
            not np.isfinite(self.eigenvalues).all()
            or min(self.eigenvalues) < 0
            or not np.isfinite(directions).all()
        ):
            raise ModelError("principal colors need finite eigenvalues of 0 or more, and finite eigenvectors")


@dataclass(frozen=True)
class ColorShift:
    """The random shift of an image's color: sum over i of `a_i * l_i * p_i`, the same for all its pixels.

    Attributes:
        colors: `p` and `l`: eigenvectors and eigenvalues.
        deviation: of the `a_i`, which are normal with mean 0.
        form: `eigenvalue`, as in the papers, or `root`: by the root of the eigenvalue, in which a shift is in
            proportion to how much the colors vary.

    """

    colors: PrincipalColors
    deviation: float = 0.1
    form: str = "eigenvalue"

    def shifts(self, normals: NDArray[np.float64]) -> NDArray[np.float32]:
        """Turn standard normal numbers of shape (images, 3) into shifts of R, G and B, in levels of 0 to 255."""
        lengths = np.asarray(self.colors.eigenvalues)
        if self.form == "root":
            lengths = np.sqrt(lengths)
        shifts = (normals * (self.deviation * lengths)) @ np.asarray(self.colors.eigenvectors)
        levels: NDArray[np.float32] = (255 * shifts).astype(np.float32)
        return levels


@dataclass(frozen=True)
class Statistics:
    """What the pixels of some images are like, each image weighing the same, in levels of 0 to 255.

    Attributes:
        mean: of R, G and B.
        covariance: of R, G and B, of shape (3, 3).

    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """Standard deviation of R, G and B."""
        return np.sqrt(self.covariance.diagonal())

    @property
    def principal_colors(self) -> PrincipalColors:
        """Eigenvectors of the covariance, each with its greatest component positive: so they are repeatable."""
        values, columns = np.linalg.eigh(self.covariance / 255**2)
        rows = columns.T[::-1]
        rows = rows * np.sign(rows[range(3), np.abs(rows).argmax(1)])[:, None]
        red, green, blue = (float(value) for value in np.maximum(values[::-1], 0))
        first, second, third = ((float(row[0]), float(row[1]), float(row[2])) for row in rows)
        return PrincipalColors((red, green, blue), (first, second, third))


def measure(images: Iterable[NDArray[np.uint8]]) -> Statistics:
    """Mean and covariance of R, G and B over all pixels, each image weighing the same.

    Args:
        images: each of shape (height, width, 3). One pass; only sums are kept.

    Raises:
        DataError: there are no images.

    """
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    center: NDArray[np.float64] | None = None
    for image in images:
        pixels = image.reshape(-1, 3)
        if center is None:  # near the mean, so that little cancels below; whole levels, so that nothing is rounded
            center = pixels.mean(0).round()
        for first in range(0, len(pixels), AT_ONCE):
            levels = pixels[first : first + AT_ONCE] - center
            total += levels.sum(0) / len(pixels)
            products += levels.T @ levels / len(pixels)
        count += 1
    if center is None:
        raise DataError(
            "the mean RGB cannot be measured, as none of the images could be read; replace them, or add images"
        )
    mean = total / count
    covariance = products / count - np.outer(mean, mean)
    # A difference: where the colors hardly vary it may come out a hair below zero.
    np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0))
    return Statistics(center + mean, covariance)
