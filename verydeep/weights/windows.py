"""The size of images that a network's FC layers are for, where it is not the published one.

fc6 of a map that was averaged to 1x1 has the shape of fc6 of a window of 32 pixels. Tensors do not tell the two
apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import STRIDE
from verydeep.errors import UsageError
from verydeep.weights.recognize import Layers, as_float32, fc6_side

PUBLISHED_WINDOW = 224  # pixels


def window_of(layers: Layers, given: int | None = None) -> int | None:
    """Side of the images that give one class score, in pixels.

    Only a map of 7x7, the published size, is taken for what it seems to be.

    Args:
        layers: of the network.
        given: what the user says.

    Returns:
        None if it is not known.

    Raises:
        ModelError: these are no VGG network's.
        UsageError: the user says another than the file, or a larger one than that of an fc6 that slides.

    """
    seems = STRIDE * fc6_side(layers.fully_connected[0].weight.shape, len(layers.convolutions[-1].weight))
    if layers.flattened and given not in (None, seems):
        raise UsageError(f"the network's window is {seems} pixels, not {given}; leave it out")
    if layers.slides and given and given > seems:
        raise UsageError(
            f"the network's window is {seems} pixels, not {given}: over larger images its first FC layer slides, "
            "and so it does here; leave the window out"
        )
    return seems if layers.flattened or (given is None and seems == PUBLISHED_WINDOW) else given


def include_pooling(layers: Layers, window: int) -> None:
    """Make average pooling from the window's map to fc6's a part of fc6's weights, which is exact.

    Args:
        layers: of the network.
        window: as `window_of` gives it.

    """
    fc6, channels = layers.fully_connected[0], len(layers.convolutions[-1].weight)
    side, map_side = fc6_side(fc6.weight.shape, channels), window // STRIDE
    if side != map_side:
        shares = _shares(side, map_side)
        kernels = as_float32(fc6.weight).reshape(-1, channels, side, side)
        fc6.weight = shares.T @ kernels @ shares


def _shares(side: int, map_side: int) -> NDArray[np.float32]:
    """What each of `map_side` places counts for each of `side` means, as PyTorch's AdaptiveAvgPool2d has it."""
    shares = np.zeros((side, map_side), np.float32)
    for number in range(side):
        start, end = number * map_side // side, -(-(number + 1) * map_side // side)
        shares[number, start:end] = 1 / (end - start)
    return shares
