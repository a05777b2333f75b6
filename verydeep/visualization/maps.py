"""What a layer gives for an image -> its strongest channels, as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verydeep.accounting import account
from verydeep.evaluation.posterior import check_finite
from verydeep.images.views import Pixels
from verydeep.inference.engine import Engine

LAYERS = (
    "relu1_1",
    "relu2_1",
    "relu3_1",
    "relu4_1",
    "relu5_1",
)  # Gatys et al. invert these; all six networks have them

BRIGHTEST = 0.01  # share of the places that may be brighter than a drawing tells apart

Map = NDArray[np.float32]


@dataclass(frozen=True)
class Channel:
    """One of a layer's channels.

    Attributes:
        number: of the channel, from 0.
        strength: the mean of what it gives above zero, over all places.
        map: of shape (rows, columns).

    """

    number: int
    strength: float
    map: Map


@dataclass(frozen=True)
class LayerMaps:
    """What a layer gives for an image.

    Attributes:
        layer: its name.
        shape: channels, rows and columns.
        field: side of the square of pixels that one place sees, as far as it lies within the image.
        strongest: the channels with the greatest strength, the greatest first.
        num_silent: channels that are above zero nowhere.

    """

    layer: str
    shape: tuple[int, int, int]
    field: int
    strongest: tuple[Channel, ...]
    num_silent: int

    @cached_property
    def much(self) -> float:
        """What a hundredth of the places of the strongest channels exceeds; 0 where none is above zero."""
        return max(0.0, float(np.quantile([channel.map for channel in self.strongest], 1 - BRIGHTEST)))


def strongest_channels(engine: Engine, pixels: Pixels, layers: Sequence[str], most: int) -> list[LayerMaps]:
    """Run an image through a network, and choose the strongest channels of layers.

    Args:
        engine: with the network.
        pixels: of shape (height, width, 3).
        layers: their names.
        most: how many channels of each.

    Raises:
        ModelError: a layer's output is not finite.

    """
    maps = engine.run(pixels[None], layers)
    for name in layers:
        check_finite(maps[name], f"the network's features of {name}")
    fields = {row.name: row.receptive_field for row in account(engine.config.architecture)}
    layer_of = {node.name: node.layer.name for node in engine.nodes}
    return [layer_maps(name, maps[name][0], fields[layer_of[name]], most) for name in layers]


def layer_maps(layer: str, maps: Map, field: int, most: int) -> LayerMaps:
    """Choose the strongest channels of a layer.

    Args:
        layer: its name.
        maps: of shape (channels, rows, columns).
        field: as `LayerMaps` has it.
        most: how many channels.

    """
    strengths = np.maximum(maps, 0).mean((1, 2), dtype=np.float64)
    order = np.lexsort((-maps.mean((1, 2), dtype=np.float64), -strengths))[:most]
    channels = tuple(Channel(int(number), float(strengths[number]), maps[number]) for number in order)
    channels_rows_columns = maps.shape[0], maps.shape[1], maps.shape[2]
    return LayerMaps(layer, channels_rows_columns, field, channels, int((strengths == 0).sum()))
