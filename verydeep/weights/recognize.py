"""Shapes of weights -> the architecture that has them; layers in their order -> tensors with our names.

Nothing is taken from names here: the number of convolutions and their kernels tell the column of Table 1, their
channels the width, fc6's kernel the window, fc8 the classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import (
    ALL_CONFIGURATIONS,
    BATCH_NORM_EPSILON,
    FC_CHANNELS,
    STRIDE,
    Architecture,
    Configuration,
    Convolution,
    FullyConnected,
    LocalResponseNorm,
)
from verydeep.errors import ModelError, UsageError
from verydeep.weights.metadata import UNKNOWN, Metadata

Shape = tuple[int, ...]
Tensors = dict[str, NDArray[Any]]
NORM_PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Widths that people take
PARTS_OF_ONE = (1, 2, 4, 5, 8, 10, 16, 20, 32, 64, 100, 1000, 10**4, 10**5, 10**6, 10**9)


@dataclass
class Layer:
    """Weights of one layer, whoever's they are.

    Attributes:
        weight: (out, in, rows, columns); of an FC layer (out, in) too, with `in` flattened channel by channel.
        bias: (out,).
        norm: batch normalisation behind it, its `NORM_PARTS`.

    """

    weight: NDArray[Any]
    bias: NDArray[Any]
    norm: tuple[NDArray[Any], ...] = ()


@dataclass
class Layers:
    """The layers of a network in their order.

    Attributes:
        convolutions: those of the five stages.
        fully_connected: the three FC layers, or none.
        has_lrn: whether the file tells of local response normalisation; None where it cannot.
        lrn: what it is, where the file says so; it comes after the first convolution's ReLU.
        flattened: whether the file says that the FC layers take the whole last map. Where it does not, the map may
            be averaged over space before: all of it (global average pooling), or to a fixed size (PyTorch's
            AdaptiveAvgPool2d).
        slides: whether fc6 is a convolution that slides over maps larger than its kernel, as timm's is.
        problem: why the FC layers cannot be used, where they cannot; the sentence goes on after the file's name.
        unused: names of tensors that are not the network's.
        notes: what people should know, a sentence each.
        metadata: what the file says beside its layers.
        preprocesses: whether the network of the file preprocesses images itself.

    """

    convolutions: list[Layer] = field(default_factory=list)
    fully_connected: list[Layer] = field(default_factory=list)
    has_lrn: bool | None = None
    lrn: LocalResponseNorm | None = None
    flattened: bool = False
    slides: bool = False
    problem: str | None = None
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    metadata: Metadata = UNKNOWN
    preprocesses: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes; 0 without FC layers."""
        return len(self.fully_connected[-1].weight) if self.fully_connected else 0


def architecture_of(
    convolutions: Sequence[Shape],
    fully_connected: Sequence[Shape],
    *,
    batch_norm: bool = False,
    has_lrn: bool | None = None,
    lrn: LocalResponseNorm | None = None,
) -> Architecture:
    """Find the architecture whose layers have these shapes.

    Args:
        convolutions: of each convolution, (out, in, rows, columns).
        fully_connected: of the three FC layers, (out, in) or (out, in, rows, columns); or none.
        batch_norm: whether there is batch normalisation.
        has_lrn: whether there is local response normalisation, which tells A-LRN from A.
        lrn: what it is, where that is known; else AlexNet's.

    Raises:
        ModelError: these are no VGG network's; the message says what was seen.

    """
    if any(len(shape) != 4 or shape[2] != shape[3] for shape in convolutions):
        raise ModelError("has convolutions that are not of two dimensions with square kernels")
    if len(fully_connected) not in (0, 3):
        raise ModelError(
            f"has {len(convolutions)} convolutions and {len(fully_connected)} FC layers; a VGG network has three "
            "of these, or none where it is features only"
        )
    column = _column([shape[2] for shape in convolutions], bool(has_lrn))
    fc6 = fully_connected[0] if fully_connected else None
    widths = [(shape[0], spec.channels) for shape, spec in zip(convolutions, _specs(column), strict=True)]
    width, hidden = _width_and_hidden(widths, [shape[0] for shape in fully_connected[:2]])
    try:
        architecture = Architecture(
            column.name,
            fully_connected[2][0] if fully_connected else 0,
            width,
            STRIDE * fc6_side(fc6, convolutions[-1][0]) if fc6 else 224,
            batch_norm,
            lrn or LocalResponseNorm(),
            hidden,
        )
    except UsageError as error:
        raise ModelError(f"does not have the shapes of a VGG network: {error}") from None
    for layer, shape in zip(_layers(architecture), [*convolutions, *fully_connected], strict=True):
        wanted = architecture.tensors[f"{layer.name}.weight"]
        if shape not in (wanted, (wanted[0], prod(wanted[1:]))):
            raise ModelError(
                f"has {layer.name} of shape {shape}, where configuration {column.name} at width "
                f"{architecture.width:g} has {wanted}: these weights belong to another network"
            )
    return architecture


def is_network(convolutions: Sequence[Shape]) -> bool:
    """Whether convolutions of these shapes are those of a VGG network."""
    try:
        architecture_of(convolutions, ())
    except ModelError:
        return False
    return True


def architecture_of_layers(layers: Layers) -> Architecture:
    """Find the architecture that has these layers.

    Raises:
        ModelError: these are no VGG network's.

    """
    if layers.problem:
        raise ModelError(layers.problem)
    norms = [bool(layer.norm) for layer in layers.convolutions]
    if any(norms) != all(norms):
        raise ModelError("has batch normalisation behind some convolutions alone")
    return architecture_of(
        [layer.weight.shape for layer in layers.convolutions],
        [layer.weight.shape for layer in layers.fully_connected],
        batch_norm=any(norms),
        has_lrn=layers.has_lrn,
        lrn=layers.lrn,
    )


def with_our_names(layers: Layers) -> tuple[Architecture, Tensors]:
    """Bring layers to our names, as float32; they are emptied on the way, so that memory holds no two copies.

    Raises:
        ModelError: these are no VGG network's.

    """
    architecture = architecture_of_layers(layers)
    tensors: Tensors = {}
    theirs = (layers.convolutions + layers.fully_connected)[::-1]
    layers.convolutions, layers.fully_connected = [], []
    for layer in _layers(architecture):
        their = theirs.pop()
        weight = f"{layer.name}.weight"
        tensors[weight] = as_float32(their.weight.reshape(architecture.tensors[weight]))
        tensors[f"{layer.name}.bias"] = as_float32(their.bias.reshape(-1))
        if isinstance(layer, Convolution) and layer.batch_norm:
            *floats, count = their.norm
            for part, tensor in zip(NORM_PARTS, floats, strict=False):
                tensors[f"bn{layer.place}.{part}"] = as_float32(tensor)
            tensors[f"bn{layer.place}.num_batches_tracked"] = np.asarray(count, np.int64)
    for name, shape in architecture.tensors.items():
        if tensors[name].shape != shape:
            raise ModelError(f"has {name} of shape {tensors[name].shape}, where it must be {shape}")
    return architecture, tensors


def norm_with_epsilon(norm: Sequence[NDArray[Any]], epsilon: float) -> tuple[NDArray[Any], ...]:
    """The same batch normalisation for our epsilon: the variance takes the difference, which is exact.

    Args:
        norm: scale, shift, mean and variance.
        epsilon: that the other library adds to the variance.

    Returns:
        Its `NORM_PARTS`.

    """
    scale, shift, mean, variance = norm
    if epsilon != BATCH_NORM_EPSILON:
        variance = variance.astype(np.float64) + (epsilon - BATCH_NORM_EPSILON)
    return scale, shift, mean, variance, np.array(0, np.int64)


def local_response_norm(size: int, alpha: float, beta: float, k: float) -> LocalResponseNorm:
    """What a file says of local response normalisation; its numbers are float32, and shown as people wrote them.

    Raises:
        ModelError: it cannot be computed here.

    """
    rounded = (float(f"{number:.6g}") for number in (alpha, beta, k))
    try:
        return LocalResponseNorm(size, *rounded)
    except UsageError as error:
        raise ModelError(f"has LRN that is not computed here: {error}") from None


def layer_of(tensors: Tensors, name: str, norm: str | None = None) -> Layer:
    """A layer of a state dict of PyTorch's.

    Args:
        tensors: the state dict.
        name: of the layer.
        norm: of the batch normalisation behind it, if there is one; old ones do not count batches.

    Raises:
        ModelError: a tensor is missing.

    """
    count = tensors.get(f"{norm}.num_batches_tracked", np.array(0, np.int64))
    try:
        parts = (*(tensors[f"{norm}.{part}"] for part in NORM_PARTS[:-1]), count) if norm else ()
        return Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], parts)
    except KeyError as missing:
        raise ModelError(f"lacks {missing}") from None


def layers_of(architecture: Architecture, tensors: Tensors) -> Layers:
    """The way back: tensors with our names -> layers in their order."""
    return Layers(
        [
            layer_of(tensors, layer.name, f"bn{layer.place}" if layer.batch_norm else None)
            for layer in architecture.convolutions
        ],
        [layer_of(tensors, layer.name) for layer in _layers(architecture) if isinstance(layer, FullyConnected)],
    )


def as_float32(tensor: NDArray[Any]) -> NDArray[np.float32]:
    """The same numbers as float32 in C order, in memory of its own; copied only if it must be.

    Raises:
        ModelError: they are integers, as quantized networks have them beside scales that are not known here.

    """
    if tensor.dtype.kind != "f":
        raise ModelError(
            f"has weights of type {tensor.dtype}, as quantized networks do; give the network's weights as floats"
        )
    return np.require(tensor, np.float32, ["C", "A", "W"])


def _layers(architecture: Architecture) -> list[Convolution | FullyConnected]:
    return [layer for layer in architecture.layers if isinstance(layer, Convolution | FullyConnected)]


def _specs(column: Configuration) -> list[Any]:
    return [spec for stage in column.stages for spec in stage]


def _column(kernels: list[int], has_lrn: bool) -> Configuration:
    for column in ALL_CONFIGURATIONS.values():
        specs = _specs(column)
        if [spec.kernel for spec in specs] == kernels and any(s.local_response_norm for s in specs) == has_lrn:
            return column
    what = "1x1" if set(kernels) == {1} else "3x3" if set(kernels) == {3} else "other"
    plain = [specs for specs in map(_specs, ALL_CONFIGURATIONS.values()) if {spec.kernel for spec in specs} == {3}]
    *fewer, most = sorted({len(specs) for specs in plain})
    raise ModelError(
        f"has {len(kernels)} convolutions ({what} kernels); the networks of Table 1 have "
        f"{', '.join(map(str, fewer))} or {most} of 3x3, and C three of 1x1 among 13"
    )


def _width_and_hidden(
    convolutions: list[tuple[int, int]], hidden: list[int]
) -> tuple[float, tuple[int, int] | None]:
    """The width of all layers; or that of the convolutions, and the channels of FC layers of another one."""
    if not hidden:
        return _width(convolutions), None
    try:
        return _width(convolutions + [(channels, FC_CHANNELS) for channels in hidden]), None
    except ModelError:
        return _width(convolutions), (hidden[0], hidden[1])


def _width(channels: list[tuple[int, int]]) -> float:
    """The roundest factor that turns the paper's numbers of channels into these."""
    least = max((seen - 0.5) / paper for seen, paper in channels)
    greatest = min((seen + 0.5) / paper for seen, paper in channels)
    if min(seen for seen, _ in channels) == 1:  # no layer has less than one channel, however narrow
        least = max([(seen - 0.5) / paper for seen, paper in channels if seen > 1] or [least])
        greatest = min((seen + 0.5) / paper for seen, paper in channels)
    middle = (least + greatest) / 2
    for parts in PARTS_OF_ONE:
        width = round(middle * parts) / parts
        if width > 0 and all(max(1, round(paper * width)) == seen for seen, paper in channels):
            return width
    seen = ", ".join(str(count) for count, _ in channels)
    raise ModelError(
        f"has layers of {seen} channels, which are not the paper's times one width: these weights belong to "
        "another network"
    )


def fc6_side(fc6: Shape, channels: int) -> int:
    """Side of fc6's kernel."""
    if len(fc6) == 4:
        return fc6[2]
    side = isqrt(fc6[1] // max(1, channels)) if len(fc6) == 2 else 0
    if side < 1 or channels * side**2 != fc6[1]:
        raise ModelError(
            f"has a first FC layer of shape {fc6}, which does not cover a square of {channels} channels"
        )
    return side


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
