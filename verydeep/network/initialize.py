"""How a network's weights start: at random, or grown from net A. Section 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from verydeep.configurations import Architecture, FullyConnected, Pooling
from verydeep.errors import ModelError, UsageError
from verydeep.network.vgg import VGG

Start = Literal["he", "glorot", "normal", "normal-literal"]
STARTS: tuple[str, ...] = get_args(Start)

GROWN_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")
"""What a deeper net takes from net A: the first four convolutions, by name, and the FC layers."""


@torch.no_grad()
def initialize(network: VGG, start: str, seed: int) -> None:
    """Draw every weight anew, layer by layer, on the CPU, so that a seed means the same on every device.

    Args:
        network: its tensors are overwritten; biases become 0, batch normalisation the identity.
        start: `he` (variance 2 / fan-in), `glorot` (uniform, variance 2 / (fan-in + fan-out)), `normal` (the
            paper's, read as a standard deviation of 0.01, over the root of the width in a narrow net) or
            `normal-literal` (the variance of 0.01 that the paper's text gives).
        seed: of the random numbers.

    Raises:
        UsageError: there is no such start.

    """
    if start not in STARTS:
        raise UsageError(f"no start is called {start!r}; there are {', '.join(STARTS)}")
    generator = torch.Generator().manual_seed(seed)
    for layer in network.architecture.layers:
        if isinstance(layer, Pooling):
            continue
        module = network.get_submodule(layer.name)
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        last = isinstance(layer, FullyConnected) and layer.last
        weight = torch.empty(module.weight.shape)
        if start == "he":
            nn.init.kaiming_normal_(weight, nonlinearity="linear" if last else "relu", generator=generator)
        elif start == "glorot":
            nn.init.xavier_uniform_(weight, generator=generator)
        else:
            deviation = 0.1 if start == "normal-literal" else 0.01 / sqrt(network.architecture.width)
            weight.normal_(0.0, deviation, generator=generator)
        module.weight.copy_(weight)
        module.bias.zero_()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.reset_parameters()


@torch.no_grad()
def grow(network: VGG, shallow: Architecture, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy net A's first four convolutions and its FC layers into a deeper network.

    Args:
        network: already initialized; its other layers stay as drawn.
        shallow: the architecture that the tensors are of: configuration A, or A-LRN.
        tensors: net A's state dict.

    Returns:
        The names of the layers that were copied.

    Raises:
        UsageError: the shallow net is not A, or differs in width, classes, window or normalisation.

    """
    if shallow.configuration not in ("A", "A-LRN"):
        raise UsageError(
            f"a network is grown from net A; the one given is of configuration {shallow.configuration}"
        )
    mine = network.state_dict()
    for field in ("num_classes", "width", "image_size", "batch_norm"):
        old, new = getattr(shallow, field), getattr(network.architecture, field)
        if old != new:
            raise UsageError(f"net A has {field} {old}, the new network {new}; they have to be the same")
    for layer in GROWN_LAYERS:
        names = [name for name in mine if name.partition(".")[0] in (layer, layer.replace("conv", "bn"))]
        for name in names:
            if name not in tensors:
                raise ModelError(f"net A's weights lack {name}")
            mine[name].copy_(tensors[name])
    return GROWN_LAYERS
