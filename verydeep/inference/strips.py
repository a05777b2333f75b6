"""The score map of an image too large for memory, piece by piece: the same map.

A place of the map sees some pixels around its window. A piece is cut with that margin, aligned to the 32 pixels of
the five poolings, and the places that the cut has touched are left out: what is kept saw only the image. Pieces
are strips across the image, or squares where strips would be so thin that they are mostly margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import STRIDE, Architecture

MOST_PIXELS = 2_000_000  # shown at once: at full width some 64 channels x 4 bytes x 2 maps of them, 1 GB


def score_map_in_strips(
    score: Callable[[NDArray[Any]], NDArray[Any]],
    architecture: Architecture,
    images: NDArray[Any],
    most_pixels: int = MOST_PIXELS,
) -> NDArray[Any]:
    """Class score map, as `score` gives it, in bounded memory.

    Args:
        score: images -> score maps.
        architecture: of the network that scores.
        images: of shape (batch, height, width, 3).
        most_pixels: of one piece of one image; a piece is never less than what one place of the map sees.

    Returns:
        Of shape (batch, classes, rows, columns).

    Raises:
        UsageError: the images are smaller than one window.

    """
    height, width = images.shape[1:3]
    places = architecture.score_map_size(height, width)
    if height * width <= most_pixels:
        return score(images)
    margin, window = margin_places(architecture), architecture.window // STRIDE - 1
    around = 2 * margin + window  # places of a piece that are computed and not kept
    strip = most_pixels // (min(height, width) * STRIDE) - around  # places that are kept of one
    square = max(1, isqrt(most_pixels) // STRIDE - around)  # likewise, of each side
    thick = strip > 0 and (strip + around) / strip <= ((square + around) / square) ** 2
    steps = [strip, max(places)] if thick else [square, square]
    if height < width:
        steps.reverse()
    rows, columns = (
        list(_pieces(count, step, length, margin, window))
        for count, step, length in zip(places, steps, (height, width), strict=True)
    )
    return np.concatenate(
        [
            np.concatenate(
                [score(images[:, down, right])[:, :, kept, kept_too] for right, kept_too in columns], axis=3
            )
            for down, kept in rows
        ],
        axis=2,
    )


def _pieces(places: int, step: int, length: int, margin: int, window: int) -> Iterator[tuple[slice, slice]]:
    """Along one side of the map: the pixels of each piece, and the places of its map that are kept."""
    for first in range(0, places, step):
        last = min(first + step, places)
        start = max(0, first - margin)
        # The last piece takes the rest: pooling drops its odd pixels as it would the image's.
        end = length if last == places else min(length, (last + window + margin) * STRIDE)
        yield slice(start * STRIDE, end), slice(first - start, last - start)


def margin_places(architecture: Architecture) -> int:
    """How far beyond its 32 pixels a place of pool5's map sees, in places, rounded up."""
    from verydeep.accounting import account  # not above: few images are so large

    field = next(row.receptive_field for row in account(architecture) if row.name == "pool5")
    return -(-(field - STRIDE) // (2 * STRIDE))
