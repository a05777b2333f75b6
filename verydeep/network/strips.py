"""The score map of a picture too large for memory, strip by strip: the same map.

A place of the map sees some pixels around its window. A strip is cut with that margin, aligned to the 32 pixels of
the five poolings, and the places that the cut has touched are left out: what is kept saw only the picture.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from verydeep.configurations import STRIDE, Architecture, account
from verydeep.network.vgg import VGG

MOST_PIXELS = 2_000_000  # shown at once: at full width some 64 channels x 4 bytes x 2 maps of them, 1 GB


def score_map_in_strips(
    network: VGG, pictures: Float[Tensor, "batch 3 height width"], most_pixels: int = MOST_PIXELS
) -> Float[Tensor, "batch classes rows columns"]:
    """Class score map, as `VGG.score_map` gives it, in bounded memory.

    Args:
        network: in evaluation mode.
        pictures: as for `VGG.score_map`.
        most_pixels: of one strip of one picture; a strip is never less than what one row of the map sees.

    Raises:
        UsageError: the pictures are smaller than one window.

    """
    architecture = network.architecture
    height, width = pictures.shape[2:]
    dimension = 2 if height >= width else 3  # cut across the longer side
    length, across = max(height, width), min(height, width)
    places = architecture.score_map_size(height, width)[dimension - 2]
    margin, window = margin_places(architecture), architecture.image_size // STRIDE - 1
    step = max(1, most_pixels // (across * STRIDE) - 2 * margin - window)
    strips = []
    for first in range(0, places, step):
        last = min(first + step, places)
        start = max(0, first - margin)
        # The last strip takes the rest: pooling drops its odd pixels as it would the picture's.
        end = length if last == places else min(length, (last + window + margin) * STRIDE)
        strip = pictures.narrow(dimension, start * STRIDE, end - start * STRIDE)
        scores = network.score_map(strip)
        strips.append(scores.narrow(dimension, first - start, last - first))
    return torch.cat(strips, dimension)


def margin_places(architecture: Architecture) -> int:
    """How far beyond its 32 pixels a place of pool5's map sees, in places, rounded up."""
    field = next(row.receptive_field for row in account(architecture) if row.name == "pool5")
    return -(-(field - STRIDE) // (2 * STRIDE))
