"""The score map of an image too large for memory, strip by strip: the same map.

A place of the map sees some pixels around its window. A strip is cut with that margin, aligned to the 32 pixels of
the five poolings, and the places that the cut has touched are left out: what is kept saw only the image.
"""

from __future__ import annotations

from collections.abc import Callable
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
        most_pixels: of one strip of one image; a strip is never less than what one row of the map sees.

    Returns:
        Of shape (batch, classes, rows, columns).

    Raises:
        UsageError: the images are smaller than one window.

    """
    height, width = images.shape[1:3]
    places_down, places_across = architecture.score_map_size(height, width)
    if height * width <= most_pixels:
        return score(images)
    upright = height >= width  # cut across the longer side
    length, across = max(height, width), min(height, width)
    places = places_down if upright else places_across
    margin, window = margin_places(architecture), architecture.window // STRIDE - 1
    step = max(1, most_pixels // (across * STRIDE) - 2 * margin - window)
    strips = []
    for first in range(0, places, step):
        last = min(first + step, places)
        start = max(0, first - margin)
        # The last strip takes the rest: pooling drops its odd pixels as it would the image's.
        end = length if last == places else min(length, (last + window + margin) * STRIDE)
        pixels, kept = slice(start * STRIDE, end), slice(first - start, last - start)
        scores = score(images[:, pixels] if upright else images[:, :, pixels])
        strips.append(scores[:, :, kept] if upright else scores[..., kept])
    return np.concatenate(strips, 2 if upright else 3)


def margin_places(architecture: Architecture) -> int:
    """How far beyond its 32 pixels a place of pool5's map sees, in places, rounded up."""
    from verydeep.accounting import account  # not above: few images are so large

    field = next(row.receptive_field for row in account(architecture) if row.name == "pool5")
    return -(-(field - STRIDE) // (2 * STRIDE))
