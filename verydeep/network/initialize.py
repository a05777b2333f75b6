"""How a network's weights start: at random, or grown from net A. Section 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from verydeep.configurations import STARTS, Architecture, FullyConnected, Pooling, configuration
from verydeep.errors import ModelError, UsageError, check_choice
from verydeep.network.vgg import VGG

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
    check_choice("initialisation", start, STARTS)
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
def grow(
    network: VGG, shallow: Architecture, tensors: Mapping[str, Tensor], rows: Sequence[int] | None
) -> tuple[str, ...]:
    """Copy net A's first four convolutions and its FC layers into a deeper network.

    Args:
        network: already initialized; its other layers stay as drawn.
        shallow: the architecture that the tensors are of: configuration A, or A-LRN.
        tensors: net A's state dict.
        rows: number of each class of the network among net A's; None leaves fc8 as drawn.

    Returns:
        The names of the layers that were copied.

    Raises:
        UsageError: the shallow net is not A, the network has no layers of its shapes, or they differ in width,
            classes, window or normalisation.

    """
    if not configuration(network.architecture.configuration).grows_from_a:
        raise UsageError(
            f"{network.architecture.configuration} has no layers of net A's shapes and cannot be grown from it; "
            "train it from a random start, `init=he`, without `grow_from`"
        )
    if shallow.configuration not in ("A", "A-LRN"):
        raise UsageError(
            f"a network can only be grown from net A; this one has configuration {shallow.configuration}"
        )
    mine = network.state_dict()
    for field in ("num_classes", "width", "hidden", "window", "batch_norm"):
        old, new = getattr(shallow, field), getattr(network.architecture, field)
        if old != new:
            raise UsageError(f"net A has {field} {old}, the new network {new}; they must be the same")
    if rows is not None:
        tensors = _with_rows(tensors, rows)
    layers = tuple(layer for layer in GROWN_LAYERS if rows is not None or layer != "fc8")
    for layer in layers:
        names = [name for name in mine if name.partition(".")[0] in (layer, layer.replace("conv", "bn"))]
        for name in names:
            if name not in tensors:
                raise ModelError(f"net A's weights lack {name}")
            mine[name].copy_(tensors[name])
    return layers


def _with_rows(tensors: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    return {**tensors} | {
        name: tensors[name][list(rows)] for name in ("fc8.weight", "fc8.bias") if name in tensors
    }


FC_LAYERS = ("fc6", "fc7", "fc8")


@torch.no_grad()
def start_from(
    network: VGG, earlier: Architecture, tensors: Mapping[str, Tensor], rows: Sequence[int] | None
) -> tuple[str, ...]:
    """Copy an earlier network into one of the same configuration and width.

    All of it, if the classes are the same; fc8's rows follow the names. With other classes fc8 stays as drawn, and
    with a window of another size, which fc6 is made for, or an earlier network that is features only, all three FC
    layers do.

    Args:
        network: already initialized.
        earlier: the architecture that the tensors are of.
        tensors: the earlier network's state dict.
        rows: number of each class of the network among its; None where the classes are others.

    Returns:
        The layers that stayed as drawn.

    Raises:
        UsageError: the earlier network differs in configuration, width or normalisation.

    """
    for field in ("configuration", "width", "batch_norm"):
        old, new = getattr(earlier, field), getattr(network.architecture, field)
        if old != new:
            raise UsageError(f"the earlier network has {field} {old}, the new one {new}; they must be the same")
    new_layers: tuple[str, ...] = ()
    if earlier.window != network.architecture.window or not earlier.num_classes:
        new_layers = FC_LAYERS
    elif rows is None:
        new_layers = ("fc8",)
    else:
        tensors = _with_rows(tensors, rows)
    for name, tensor in network.state_dict().items():
        if name.partition(".")[0] not in new_layers:
            tensor.copy_(tensors[name])
    return new_layers


def freeze(network: VGG, last: str) -> tuple[str, ...]:
    """Keep a layer and all below it from being trained; their normalisation keeps its statistics.

    Args:
        network: whose parameters no longer ask for gradients.
        last: the name of a convolution or FC layer.

    Returns:
        The modules that are frozen.

    Raises:
        UsageError: there is no such layer, or nothing would be left to train.

    """
    layers = network.architecture.frozen_layers(last)
    modules = [name for layer in layers for name in (layer, layer.replace("conv", "bn")) if hasattr(network, name)]
    frozen = tuple(dict.fromkeys(modules))
    for name in frozen:
        network.get_submodule(name).requires_grad_(False)
    return frozen
