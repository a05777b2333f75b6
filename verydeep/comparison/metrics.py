"""Distances of images on a network's layers, in NumPy, by an engine: LPIPS, content and style. No torch here.

Each is the squared Euclidean distance of two feature vectors, each of which depends on one image alone. So the
vector of an image is computed once, however many others the image is compared with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import UsageError
from verydeep.evaluation.posterior import check_finite
from verydeep.extraction.summaries import summarize
from verydeep.feature_layers import LAYERS, LPIPS_EPSILON, check_vgg16
from verydeep.inference.engine import Engine, Images
from verydeep.plan import check_size, nodes_to, output_shapes
from verydeep.weights.lpips import linear_weights

Vectors = NDArray[np.float32]  # (images, numbers)
Map = NDArray[np.float32]  # (height, width)

BATCH_PIXELS = (
    2 * 224 * 224
)  # of images that are shown at once for their vectors: more leave the processor's cache
PAIR_PIXELS = 8 * 224 * 224  # of pairs that the native engine compares itself
PIECE = 1 << 16  # numbers of a vector that float32 sums up: the rest is summed in float64
CLOSE = 0.01  # share of the squared lengths below which a distance is computed from differences
COPIES = 4  # of the largest layer's output that the engine holds for an image


class Metric(ABC):
    """A distance of two images of one size."""

    has_maps: ClassVar[bool] = True
    """Whether the distance is a mean over places, which can be drawn."""

    @abstractmethod
    def check(self, height: int, width: int) -> None:
        """Make sure that images of a size can be compared.

        Raises:
            UsageError: they are too small.

        """

    @abstractmethod
    def vector_size(self, height: int, width: int) -> int:
        """Numbers of the vector of an image."""

    @abstractmethod
    def bytes_for(self, height: int, width: int) -> int:
        """Memory that comparing two images takes, about."""

    @abstractmethod
    def vectors(self, images: Images) -> Vectors:
        """What is computed of each image alone, of shape (images, numbers)."""

    @abstractmethod
    def between(self, first: Vectors, second: Vectors, height: int, width: int) -> NDArray[np.float64]:
        """Distances of all pairs of two sets, of shape (first, second).

        Args:
            first: vectors of images.
            second: likewise.
            height: of all these images.
            width: likewise.

        """

    @abstractmethod
    def pairs(self, first: Images, second: Images, *, maps: bool = False) -> tuple[NDArray[np.float64], list[Map]]:
        """Distances of images, pair by pair, of shape (pairs,).

        Args:
            first: of shape (pairs, height, width, 3).
            second: likewise.
            maps: give for each pair also the distance at each pixel, of shape (height, width).

        """


class LayerMetric(Metric):
    """A metric on the outputs of layers.

    Args:
        engine: with a network.
        layers: whose outputs are compared, and the weight of each.

    Raises:
        UsageError: the network has no such layer.

    """

    def __init__(self, engine: Engine, layers: dict[str, float]) -> None:
        self.engine = engine
        self.layers = layers
        self.nodes = nodes_to(engine.config.architecture, list(layers))

    def check(self, height: int, width: int) -> None:
        """As `Metric` says."""
        check_size(self.engine.config.architecture, self.nodes, height, width)

    def vector_size(self, height: int, width: int) -> int:
        """As `Metric` says."""
        return sum(map(prod, self._shapes(height, width)))

    def bytes_for(self, height: int, width: int) -> int:
        """As `Metric` says."""
        return 4 * 2 * (COPIES * self._largest(height, width) + self.vector_size(height, width))

    def _largest(self, height: int, width: int) -> int:
        """Numbers of the largest output of a layer."""
        return max(map(prod, output_shapes(self.nodes, height, width).values()))

    def vectors(self, images: Images) -> Vectors:
        """As `Metric` says.

        Raises:
            ModelError: one is not finite.

        """
        count, height, width, _ = images.shape
        found = np.empty((count, self.vector_size(height, width)), np.float32)
        for part in _batches(count, BATCH_PIXELS // (height * width)):
            outputs = self.engine.run(images[part], list(self.layers))
            at = 0
            for (layer, maps), shape in zip(outputs.items(), self._shapes(height, width), strict=True):
                to = found[part, at : (at := at + prod(shape))].reshape(-1, *shape)  # no copy
                with np.errstate(over="ignore", invalid="ignore"):  # of which the check tells
                    self._write(layer, maps, to)
        check_finite(found, "the network's features")
        return found

    def between(self, first: Vectors, second: Vectors, height: int, width: int) -> NDArray[np.float64]:
        """As `Metric` says; a distance that is not finite raises as `vectors` does."""
        with np.errstate(over="ignore", invalid="ignore"):
            distances = squared_distances(first, second)
        check_finite(distances, "the network's features")
        return distances

    def pairs(self, first: Images, second: Images, *, maps: bool = False) -> tuple[NDArray[np.float64], list[Map]]:
        """As `Metric` says."""
        height, width = first.shape[1:3]
        distances, drawn = np.empty(len(first)), []
        for part in _batches(len(first), BATCH_PIXELS // (2 * height * width)):
            both = self.vectors(np.concatenate([first[part], second[part]]))
            for number, one, other in zip(range(len(first))[part], *np.split(both, 2), strict=True):
                with np.errstate(over="ignore", invalid="ignore"):  # of which the check tells
                    distances[number] = squared_distance(one, other)
                    if maps:
                        drawn.append(self._map(one - other, height, width))
        check_finite(distances, "the network's features")
        return distances, drawn

    def _shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        """Of each layer's part of a vector."""
        outputs = output_shapes(self.nodes, height, width)
        return [outputs[layer] for layer in self.layers]

    def _map(self, difference: NDArray[np.float32], height: int, width: int) -> Map:
        """The squares of a difference, summed over channels, at each pixel; their mean is about their sum."""
        total = np.zeros((height, width), np.float32)
        at = 0
        for channels, rows, columns in self._shapes(height, width):
            part = difference[at : (at := at + channels * rows * columns)].reshape(channels, rows, columns)
            total += grown(rows * columns * np.einsum("crp,crp->rp", part, part), height, width)
        return total

    @abstractmethod
    def _write(self, layer: str, maps: NDArray[np.float32], to: NDArray[np.float32]) -> None:
        """Write a layer's part of the vectors, from its outputs of shape (images, channels, rows, columns)."""


class LPIPS(LayerMetric):
    """The learned distance of Zhang et al. (arXiv 1801.03924), as `verydeep.perceptual.LPIPS`.

    A vector has `sqrt(w / places) * u` of each layer: u are the outputs, divided at each place by their length
    over the channels, and w are the linear weights.

    Args:
        engine: with VGG-16: see `check_vgg16`.

    """

    def __init__(self, engine: Engine) -> None:
        self.linear = linear_weights()
        super().__init__(engine, dict.fromkeys(self.linear, 1.0))

    def bytes_for(self, height: int, width: int) -> int:
        """As `Metric` says; by the native engine without vectors, and with half as many copies."""
        if self.engine.name != "native":
            return super().bytes_for(height, width)
        return 4 * COPIES * self._largest(height, width)

    def pairs(self, first: Images, second: Images, *, maps: bool = False) -> tuple[NDArray[np.float64], list[Map]]:
        """As `Metric` says; the native engine compares the outputs where they are."""
        if self.engine.name != "native":
            return super().pairs(first, second, maps=maps)
        engine: Any = self.engine  # its class cannot be named where it is not compiled
        preprocessing = self.engine.config.preprocessing
        count, height, width, _ = first.shape
        distances, drawn = np.empty(count), []
        for part in _batches(count, PAIR_PIXELS // (2 * height * width)):
            shown = np.stack([first[part], second[part]], 1).reshape(-1, height, width, 3)
            numbers = preprocessing.normalized(shown)[..., :: 1 if preprocessing.channels == "RGB" else -1]
            layers = engine.distances(numbers, self.linear, epsilon=LPIPS_EPSILON)
            distances[part] = sum(one.mean((1, 2), dtype=np.float64) for one in layers.values())
            if maps:
                drawn += [
                    np.sum([grown(one[number], height, width) for one in layers.values()], 0)
                    for number in range(len(shown) // 2)
                ]
        check_finite(distances, "the network's features")
        return distances, drawn

    def _write(self, layer: str, maps: NDArray[np.float32], to: NDArray[np.float32]) -> None:
        lengths = np.sqrt(np.einsum("ncrp,ncrp->nrp", maps, maps))
        factors = 1 / ((lengths + LPIPS_EPSILON) * np.sqrt(lengths[0].size))
        factors[np.isinf(lengths)] = np.nan  # squares overflow: zeros would look like no difference at all
        np.multiply(maps, factors[:, None], out=to)
        to *= np.sqrt(self.linear[layer])[:, None, None]


class Content(LayerMetric):
    """The mean squared difference of outputs, summed over layers, as `verydeep.perceptual.ContentLoss`."""

    def _write(self, layer: str, maps: NDArray[np.float32], to: NDArray[np.float32]) -> None:
        np.multiply(maps, np.float32(np.sqrt(self.layers[layer] / maps[0].size)), out=to)


class Style(LayerMetric):
    """The mean squared difference of Gram matrices, summed over layers, as `verydeep.perceptual.StyleLoss`."""

    has_maps = False

    def _shapes(self, height: int, width: int) -> list[tuple[int, ...]]:
        return [(channels, channels) for channels, *_ in super()._shapes(height, width)]

    def _write(self, layer: str, maps: NDArray[np.float32], to: NDArray[np.float32]) -> None:
        np.multiply(summarize(maps, "gram"), np.float32(np.sqrt(self.layers[layer]) / maps.shape[1]), out=to)


def metric_of(name: str, engine: Engine, layers: Sequence[str] = ()) -> Metric:
    """What measures a distance by an engine.

    Args:
        name: `lpips`, `content` or `style`.
        engine: with a network.
        layers: for content and style; none for those of `LAYERS`.

    Raises:
        UsageError: the network does not suit the metric, or has no such layer; or lpips is given layers.

    """
    if name == "lpips":
        if layers:
            raise UsageError("`layers` is of content and style; lpips has layers of its own")
        check_vgg16(engine.config.architecture, "LPIPS")
        return LPIPS(engine)
    return {"content": Content, "style": Style}[name](engine, dict.fromkeys(layers or LAYERS[name], 1.0))


def squared_distances(first: Vectors, second: Vectors) -> NDArray[np.float64]:
    """Squared Euclidean distances of all pairs, of shape (first, second), by matrix products.

    Of vectors that are close the products' rounding would leave little: these are subtracted.
    """
    products = np.zeros((len(first), len(second)))
    squares = [np.zeros(len(first)), np.zeros(len(second))]
    for start in range(0, first.shape[1], PIECE):
        one, other = (vectors[:, start : start + PIECE] for vectors in (first, second))
        products += one @ other.T
        for sums, part in zip(squares, (one, other), strict=True):
            sums += np.square(part).sum(1)  # pairwise; einsum's sums would be a tenth as exact
    lengths = squares[0][:, None] + squares[1]
    distances = lengths - 2 * products
    for i, j in np.argwhere(distances < CLOSE * lengths):
        distances[i, j] = squared_distance(first[i], second[j])
    return distances


def squared_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The squared Euclidean distance of two vectors."""
    total = 0.0
    for start in range(0, len(first), PIECE):
        difference = first[start : start + PIECE] - second[start : start + PIECE]
        total += float(difference @ difference)
    return total


def grown(values: NDArray[np.float32], height: int, width: int) -> Map:
    """Enlarge a map to a size, between the centres of its places, as torch's `interpolate` does (bilinear)."""
    across = values @ _between_places(values.shape[1], width).T
    return np.asarray(_between_places(values.shape[0], height) @ across, np.float32)


def _between_places(places: int, side: int) -> NDArray[np.float32]:
    """How much each pixel of a side has of each place of a map, of shape (side, places)."""
    at = np.clip((np.arange(side) + 0.5) * places / side - 0.5, 0, places - 1)
    low = np.minimum(at.astype(int), max(places - 2, 0))
    shares = np.zeros((side, places), np.float32)
    pixels = np.arange(side)
    shares[pixels, low] = 1 - (at - low)
    shares[pixels, np.minimum(low + 1, places - 1)] += at - low
    return shares


def _batches(count: int, most: int) -> Sequence[slice]:
    """Cut numbers up to `count` into slices of at most `most`, of at least one."""
    size = max(1, most)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
