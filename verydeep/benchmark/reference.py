"""Class scores in float64, in NumPy alone: what every engine's error is measured against.

Written for being plainly right: a convolution is the sum of its taps, each a matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import Architecture, Convolution, FullyConnected, LocalResponseNorm, Pooling
from verydeep.images.color import Preprocessing

Doubles = NDArray[np.float64]
BATCH_NORM_EPSILON = 1e-5  # torch's


def class_scores(
    architecture: Architecture,
    tensors: Mapping[str, NDArray[Any]],
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
) -> Doubles:
    """Class scores before the soft-max, the mean of each image's score map over space.

    Args:
        architecture: of the network.
        tensors: its weights by name.
        preprocessing: of its pixels.
        pixels: of shape (batch, height, width, 3), R, G and B.

    Returns:
        Of shape (batch, classes).

    """
    return np.stack([_scores(architecture, tensors, preprocessing, image) for image in pixels])


def _scores(
    architecture: Architecture,
    tensors: Mapping[str, NDArray[Any]],
    preprocessing: Preprocessing,
    image: NDArray[np.uint8],
) -> Doubles:
    x: Doubles = (image - np.array(preprocessing.mean)) / np.array(preprocessing.deviation)
    x = np.moveaxis(x[..., ::-1] if preprocessing.channels == "BGR" else x, -1, 0)
    for layer in architecture.layers:
        if isinstance(layer, Pooling):
            x = _pooled(x)
            continue
        x = _convolved(x, layer, tensors)
        if isinstance(layer, Convolution) and layer.batch_norm:
            x = _normalized(x, layer, tensors)
        if not (isinstance(layer, FullyConnected) and layer.last):
            x = np.maximum(x, 0)
        if isinstance(layer, Convolution) and layer.local_response_norm:
            x = _response_normalized(x, layer.local_response_norm)
    scores: Doubles = x.mean((1, 2))
    return scores


def _convolved(x: Doubles, layer: Convolution | FullyConnected, tensors: Mapping[str, NDArray[Any]]) -> Doubles:
    weight = tensors[f"{layer.name}.weight"]
    if isinstance(layer, Convolution):
        margin = layer.kernel // 2
        x = np.pad(x, ((0, 0), (margin, margin), (margin, margin)))
    height, width = (side - layer.kernel + 1 for side in x.shape[1:])
    total = np.zeros((layer.out_channels, height * width))
    for down in range(layer.kernel):
        for across in range(layer.kernel):
            tap = weight[:, :, down, across].astype(np.float64)
            total += tap @ x[:, down : down + height, across : across + width].reshape(len(x), -1)
    total += tensors[f"{layer.name}.bias"].astype(np.float64)[:, None]
    return total.reshape(-1, height, width)


def _normalized(x: Doubles, layer: Convolution, tensors: Mapping[str, NDArray[Any]]) -> Doubles:
    weight, bias, mean, variance = (
        tensors[f"bn{layer.place}.{part}"].astype(np.float64)[:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    normalized: Doubles = (x - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * weight + bias
    return normalized


def _response_normalized(x: Doubles, norm: LocalResponseNorm) -> Doubles:
    margin = norm.size // 2
    squares = np.pad(x**2, ((margin, margin), (0, 0), (0, 0)))
    sums = sum(squares[first : first + len(x)] for first in range(norm.size))
    normalized: Doubles = x / (norm.k + norm.alpha * sums) ** norm.beta
    return normalized


def _pooled(x: Doubles) -> Doubles:
    height, width = (side // 2 for side in x.shape[1:])
    windows = x[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2)
    pooled: Doubles = windows.max((2, 4))
    return pooled
