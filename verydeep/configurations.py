"""Table 1 as data, and the arithmetic that follows from it. Every room reads it; it reads none.

A `Configuration` is a column of Table 1. An `Architecture` is a configuration made definite (classes, width,
window, normalisation). Its `nodes` are the plan of the network: what is computed, in order, by name. The engines,
the ONNX graph, the accounting and the weights' names all go by them. Sections 2.1 to 2.3 of the paper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import Literal, get_args

from verydeep.arguments import check_fields
from verydeep.errors import UsageError, did_you_mean

STRIDE = 32  # five poolings of stride 2: one place of the score map for each 32 pixels
BATCH_NORM_EPSILON = 1e-5  # torch's
MOST_CHANNELS = 15  # in a sum of local response normalisation: as many as the native engine's kernels take

Start = Literal["he", "glorot", "normal", "normal-literal"]
STARTS: tuple[str, ...] = get_args(Start)  # how weights may be drawn: `network.initialize` says what each is


@dataclass(frozen=True)
class LocalResponseNorm:
    """Local response normalisation, by default AlexNet's: `x / (k + alpha * sum)^beta`.

    The sum is of the squares of `size` channels around x. It is not divided by their number, as in AlexNet's
    paper; where a library divides it, alpha is `size` times as large.

    Attributes:
        size: channels that are summed, an odd number.
        alpha: factor of the sum.
        beta: exponent.
        k: what is added to the sum.

    Raises:
        UsageError: a value is out of its range.

    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0

    def __str__(self) -> str:
        return f"LRN over {self.size} channels with alpha {self.alpha:g}, beta {self.beta:g}, k {self.k:g}"

    def __post_init__(self) -> None:
        numbers = (self.alpha, self.beta, self.k)
        if not (1 <= self.size <= MOST_CHANNELS and self.size % 2) or not all(map(isfinite, numbers)):
            raise UsageError(f"{self}: give an odd number of channels up to {MOST_CHANNELS}, and finite numbers")
        if self.alpha < 0 or self.k <= 0:
            raise UsageError(f"{self} may divide by zero; alpha must be 0 or more, k more than 0")


@dataclass(frozen=True)
class ConvolutionSpec:
    """One convolution of Table 1: conv<kernel>-<channels>, followed by a ReLU and, in A-LRN, by LRN."""

    channels: int
    kernel: int = 3
    local_response_norm: bool = False


@dataclass(frozen=True)
class Configuration:
    """One column of Table 1: five stages of convolutions, with a 2x2 max-pooling after each."""

    name: str
    stages: tuple[tuple[ConvolutionSpec, ...], ...]

    @property
    def weight_layers(self) -> int:
        """Number of layers with weights, the three FC layers included (Table 1's second row)."""
        return sum(len(stage) for stage in self.stages) + 3

    @property
    def grows_from_a(self) -> bool:
        """Whether net A's first four convolutions have their shapes here, so that it can start with them."""

        def shapes(stage: tuple[ConvolutionSpec, ...]) -> list[tuple[int, int]]:
            return [(one.channels, one.kernel) for one in stage]

        pairs = zip(CONFIGURATIONS["A"].stages[:3], self.stages, strict=False)
        return all(shapes(theirs) == shapes(ours[: len(theirs)]) for theirs, ours in pairs)


def _stages(*stages: str) -> tuple[tuple[ConvolutionSpec, ...], ...]:
    """Read `"256 256 256/1"` as three convolutions, the last 1x1; `"64+lrn"` has LRN after its ReLU."""

    def convolution(word: str) -> ConvolutionSpec:
        word, _, norm = word.partition("+")
        channels, _, kernel = word.partition("/")
        return ConvolutionSpec(int(channels), int(kernel or 3), norm == "lrn")

    return tuple(tuple(convolution(word) for word in stage.split()) for stage in stages)


CONFIGURATIONS: dict[str, Configuration] = {
    name: Configuration(name, stages)
    for name, stages in {
        "A": _stages("64", "128", "256 256", "512 512", "512 512"),
        "A-LRN": _stages("64+lrn", "128", "256 256", "512 512", "512 512"),
        "B": _stages("64 64", "128 128", "256 256", "512 512", "512 512"),
        "C": _stages("64 64", "128 128", "256 256 256/1", "512 512 512/1", "512 512 512/1"),
        "D": _stages("64 64", "128 128", "256 256 256", "512 512 512", "512 512 512"),
        "E": _stages("64 64", "128 128", "256 256 256 256", "512 512 512 512", "512 512 512 512"),
    }.items()
}
"""The six networks of Table 1 by name."""

BESIDE_TABLE_1: dict[str, Configuration] = {
    name: Configuration(name, stages)
    for name, stages in {
        "B-5x5": _stages("64/5", "128/5", "256/5", "512/5", "512/5"),
    }.items()
}
"""Networks outside of Table 1: B with one 5x5 layer for each pair of 3x3 layers (Section 4.1); and one's own."""

ALL_CONFIGURATIONS = CONFIGURATIONS | BESIDE_TABLE_1

ELSEWHERE = {"vgg11": "A", "vgg13": "B", "vgg16": "D", "vgg19": "E"}
"""Configurations by the names that other libraries give their networks, by the number of weight layers."""

FC_CHANNELS = 4096


def configuration(name: str) -> Configuration:
    """Find a column of Table 1, or a network beside it, by its name.

    Raises:
        UsageError: there is no such configuration; the message names the near ones.

    """
    if name in ALL_CONFIGURATIONS:
        return ALL_CONFIGURATIONS[name]
    hint = did_you_mean(name.upper().replace("X", "x"), ALL_CONFIGURATIONS)
    if elsewhere := name_elsewhere(name):
        norm = ", with `batch_norm=True`" if elsewhere.endswith("bn") else ""
        hint = f"; {elsewhere.removesuffix('_bn').upper()} is configuration {meant_by(name)}{norm}"
    raise UsageError(
        f"no configuration is called {name!r}; Table 1 has {', '.join(CONFIGURATIONS)}, and beside it there is "
        f"{', '.join(BESIDE_TABLE_1)}{hint}"
    )


def name_elsewhere(word: str) -> str | None:
    """What torchvision and timm call the network that is meant by `VGG-16`, `vgg16_bn` or the like, if one is."""
    match = re.fullmatch(r"(vgg)[-_ ]?(11|13|16|19)(?:[-_ ]?(bn))?", word, re.IGNORECASE)
    return match and "_".join(filter(None, (match[1] + match[2], match[3]))).lower()


def meant_by(word: str) -> str | None:
    """The configuration that a word means: its own name, or as other libraries call it; None for others."""
    elsewhere = name_elsewhere(word)
    return ELSEWHERE[elsewhere.partition("_")[0]] if elsewhere else word if word in ALL_CONFIGURATIONS else None


def refuse_settings(model: object, settings: Iterable[str]) -> None:
    """Refuse arguments of `Architecture` beside a model or an architecture, which has its own.

    Raises:
        UsageError: there is one.

    """
    first = next(iter(settings), None)
    if first is not None:
        what = "an architecture" if isinstance(model, Architecture) else f"{model} is a model, and"
        raise UsageError(f"{what} has its own `{first}`; leave it out")


@dataclass(frozen=True)
class Convolution:
    """A convolution of stride 1 that keeps the map's size, with its ReLU."""

    name: str  # conv3_2
    in_channels: int
    out_channels: int
    kernel: int
    batch_norm: bool
    local_response_norm: LocalResponseNorm | None

    @property
    def place(self) -> str:
        """Stage and number within it, `3_2`, shared by the names `conv3_2`, `relu3_2` and `bn3_2`."""
        return self.name.removeprefix("conv")


@dataclass(frozen=True)
class Pooling:
    """Max-pooling over 2x2 with stride 2; an odd last row or column is dropped."""

    name: str  # pool3
    out_channels: int


@dataclass(frozen=True)
class FullyConnected:
    """An FC layer as the convolution that it is on a whole image (Section 3.2), without padding."""

    name: str  # fc6
    in_channels: int
    out_channels: int
    kernel: int
    last: bool = False  # fc8 gives class scores: no ReLU, no dropout


Layer = Convolution | Pooling | FullyConnected
Kind = Literal["convolution", "batch_norm", "relu", "local_response_norm", "pooling", "fully_connected"]


@dataclass(frozen=True)
class Node:
    """One step of the network's computation, where its output can be tapped.

    Nodes of a layer, in order: `conv1_1 bn1_1 relu1_1 norm1_1`, `pool1`, `fc6 relu6`; `bn` in batch-normalised
    networks alone, `norm`, which is LRN, in A-LRN alone, and no ReLU after fc8.

    Attributes:
        name: as the literature writes it.
        kind: what is computed.
        layer: the layer that it is part of, with its channels and kernel.

    """

    name: str
    kind: Kind
    layer: Layer

    @property
    def channels(self) -> int:
        """Channels of its output."""
        return self.layer.out_channels

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of its tensors in the state dict."""
        out = (self.channels,)
        if self.kind == "batch_norm":
            parts = ("weight", "bias", "running_mean", "running_var")
            return {f"{self.name}.{part}": out for part in parts} | {f"{self.name}.num_batches_tracked": ()}
        if self.kind in ("convolution", "fully_connected") and not isinstance(self.layer, Pooling):
            kernel = (self.layer.kernel, self.layer.kernel)
            return {f"{self.name}.weight": (*out, self.layer.in_channels, *kernel), f"{self.name}.bias": out}
        return {}

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of its output, for an input of `height` x `width`."""
        if self.kind == "pooling":
            return height // 2, width // 2
        if self.kind == "fully_connected" and isinstance(self.layer, FullyConnected):
            return height - self.layer.kernel + 1, width - self.layer.kernel + 1
        return height, width


@dataclass(frozen=True)
class Architecture:
    """A configuration made definite: everything that decides the shapes of its weights.

        net = verydeep.Architecture("D")  # the paper's, known as VGG-16
        small = verydeep.Architecture("A", num_classes=10, width=0.25, window=32)
        small.tensors["fc8.weight"]       # (10, 1024, 1, 1)
        verydeep.VGG(small)               # the network on torch

    Attributes:
        configuration: a name of Table 1, or of `BESIDE_TABLE_1`.
        num_classes: number of classes, 1000 in the paper; 0 for the five stages alone, without FC layers, as
            weights for features have it.
        width: factor on the number of channels of every layer but the last; 1 in the paper.
        window: side of the square window that gives one class score, in pixels; a multiple of 32, 224 in
            the paper. fc6's kernel is a thirty-second of it.
        batch_norm: batch normalisation after each convolution; not in the paper.
        local_response_norm: of A-LRN.
        hidden: channels of fc6 and fc7, where they are not the paper's 4096 times the width, as in heads that
            people have trained themselves.

    Raises:
        UsageError: a value is out of its range.

    """

    configuration: str = "D"
    num_classes: int = 1000
    width: float = 1.0
    window: int = 224
    batch_norm: bool = False
    local_response_norm: LocalResponseNorm = field(default=LocalResponseNorm(), repr=False)
    hidden: tuple[int, int] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_fields(self)
        configuration(self.configuration)
        if self.num_classes < 0:
            raise UsageError(
                f"`num_classes` is {self.num_classes}; a classifier needs at least 1; 0 makes a network "
                "without one"
            )
        if not 0 < self.width <= 16:
            raise UsageError(f"`width` is {self.width}; give a factor above 0 and at most 16, 1 for the paper's")
        if self.window < STRIDE or self.window % STRIDE:
            near = max(STRIDE, round(self.window / STRIDE) * STRIDE)
            raise UsageError(f"`window` is {self.window}; it must be a multiple of {STRIDE}: use {near}")

        if self.hidden is not None and (len(self.hidden) != 2 or min(self.hidden) < 1):
            raise UsageError(
                f"`hidden` is {self.hidden}; give the channels of fc6 and of fc7, two numbers of at least 1"
            )

    @property
    def weight_layers(self) -> int:
        """Number of layers with weights: 16 of D, 13 of its five stages alone."""
        return configuration(self.configuration).weight_layers - 3 * (not self.num_classes)

    def channels(self, paper: int) -> int:
        """Turn the paper's number of channels into this architecture's."""
        return max(1, round(paper * self.width))

    def frozen_layers(self, last: str) -> tuple[str, ...]:
        """Names of the convolutions and FC layers from the first to `last`, which is not the network's last one.

        Raises:
            UsageError: there is no such layer.

        """
        names = tuple(layer.name for layer in self.layers if not isinstance(layer, Pooling))
        if last not in names[:-1]:
            raise UsageError(f"no layer to freeze up to is called {last!r}; there are {', '.join(names[:-1])}")
        return names[: names.index(last) + 1]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer with weights and every pooling, from the image to the class scores."""
        layers: list[Layer] = []
        channels = 3
        for number, stage in enumerate(configuration(self.configuration).stages, 1):
            for position, spec in enumerate(stage, 1):
                out = self.channels(spec.channels)
                layers.append(
                    Convolution(
                        f"conv{number}_{position}",
                        channels,
                        out,
                        spec.kernel,
                        self.batch_norm,
                        self.local_response_norm if spec.local_response_norm else None,
                    )
                )
                channels = out
            layers.append(Pooling(f"pool{number}", channels))
        if self.num_classes:
            first, second = self.hidden or 2 * (self.channels(FC_CHANNELS),)
            layers += [
                FullyConnected("fc6", channels, first, self.window // STRIDE),
                FullyConnected("fc7", first, second, 1),
                FullyConnected("fc8", second, self.num_classes, 1, last=True),
            ]
        return tuple(layers)

    @cached_property
    def convolutions(self) -> tuple[Convolution, ...]:
        """The convolutions alone."""
        return tuple(layer for layer in self.layers if isinstance(layer, Convolution))

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The plan of the network, which is every node in order of computation."""
        return tuple(node for layer in self.layers for node in _nodes_of(layer))

    @cached_property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every tensor in the state dict, batch normalisation's statistics included."""
        return {name: shape for node in self.nodes for name, shape in node.tensors.items()}

    def check_classes(self) -> None:
        """Make sure that the network can name classes.

        Raises:
            UsageError: it is features only.

        """
        if not self.num_classes:
            raise UsageError(
                "this network is features only: it has no FC layers and cannot name classes; add and train them "
                "with `verydeep train DATA RUN --from MODEL`"
            )

    def score_map_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the class score map of an image of `height` x `width` pixels.

        Raises:
            UsageError: the image is smaller than one window, or the network has no classes.

        """
        self.check_classes()
        if min(height, width) < self.window:
            raise UsageError(
                f"image is {width}x{height} pixels; this network needs both sides to be at least "
                f"{self.window}: rescale its smaller side to {self.window} or more"
            )
        window = self.window // STRIDE - 1
        return height // STRIDE - window, width // STRIDE - window


def _nodes_of(layer: Layer) -> Iterator[Node]:
    """What is computed for a layer, in order."""
    if isinstance(layer, Pooling):
        yield Node(layer.name, "pooling", layer)
    elif isinstance(layer, FullyConnected):
        yield Node(layer.name, "fully_connected", layer)
        if not layer.last:
            yield Node(layer.name.replace("fc", "relu"), "relu", layer)
    else:
        yield Node(layer.name, "convolution", layer)
        if layer.batch_norm:
            yield Node(f"bn{layer.place}", "batch_norm", layer)
        yield Node(f"relu{layer.place}", "relu", layer)
        if layer.local_response_norm:
            yield Node(f"norm{layer.place}", "local_response_norm", layer)
