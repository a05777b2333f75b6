"""Layers on our own kernels, with gradients: what `Network.run` takes in the place of torch's on a processor.

Between these layers pass *maps*: 1-D tensors that hold activations in the kernels' own layout, blocks of 16
channels with a border of zeros. Only the functions here know what is where. Weights, gradients of weights and
images are plain tensors.

The gradient at maps. A convolution with a ReLU gives maps that are `rectified`. Whoever reads rectified maps makes
the gradient at them 0 where they are not above 0, which is the ReLU's own gradient: so the layer that made them
need not keep them. Masking is linear, so gradients from several readers may be added up.

Derivatives of gradients (`create_graph=True`) are computed by torch, layer by layer, from the same inputs.
docs/explanation/gradients.md tells how the kernels work.
"""

from verydeep.network.native_layers.by_torch import read_by_torch, unpack_by_torch
from verydeep.network.native_layers.comparing import distance_gradients, distances, gram
from verydeep.network.native_layers.convolutions import (
    Transformed,
    convolve,
    convolve_normalized,
    normalizes,
    transform,
)
from verydeep.network.native_layers.fully_connected import linear
from verydeep.network.native_layers.kernels import Precision, Sizes, half
from verydeep.network.native_layers.maps import Maps, Measured, pack, unpack
from verydeep.network.native_layers.normalization import Normalization, Statistics, batch_norm, moments
from verydeep.network.native_layers.poolings import average_pool, max_pool
from verydeep.network.native_layers.support import (
    has_hooks,
    is_plain,
    is_plain_convolution,
    is_told_by_weights,
    takes,
    takes_batch_norm,
    takes_linear,
    takes_module,
)

__all__ = [
    "Maps",
    "Measured",
    "Normalization",
    "Precision",
    "Sizes",
    "Statistics",
    "Transformed",
    "average_pool",
    "batch_norm",
    "convolve",
    "convolve_normalized",
    "distance_gradients",
    "distances",
    "gram",
    "half",
    "has_hooks",
    "is_plain",
    "is_plain_convolution",
    "is_told_by_weights",
    "linear",
    "max_pool",
    "moments",
    "normalizes",
    "pack",
    "read_by_torch",
    "takes",
    "takes_batch_norm",
    "takes_linear",
    "takes_module",
    "transform",
    "unpack",
    "unpack_by_torch",
]
