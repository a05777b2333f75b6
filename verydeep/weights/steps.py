"""What a file says is computed, step by step -> the layers of a VGG network, or the sentence why it is none.

Files that hold a network's graph (ONNX, Caffe, MatConvNet, Keras with its configuration) say more than shapes:
strides, activations, poolings, the order of things. Their readers give `Step`s in the order of the data flow; here
they are compared with what the networks of Table 1 compute. A file that computes anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import ALL_CONFIGURATIONS, STRIDE, LocalResponseNorm
from verydeep.errors import ModelError, few
from verydeep.images.color import Preprocessing, are_shares
from verydeep.run_folder import TrainedOn
from verydeep.weights.metadata import Metadata
from verydeep.weights.recognize import Layer, Layers, fc6_side

Array = NDArray[Any]
Size = tuple[int | None, int | None]
CONVOLUTION, NORM, RELU, LRN, POOLING = "convolution", "batch norm", "ReLU", "LRN", "2x2 max pooling"
FLATTEN, DENSE, MEAN, SOFTMAX = "flatten", "FC layer", "mean over space", "softmax"
STAGES = 5
ROUNDING = 2.5e-7  # of float32, twice
MOST_NAMED = 9  # steps of a head in a message
HEAD = [DENSE, RELU, DENSE, RELU, DENSE]
NOT_VGG = ", which no VGG network has"


@dataclass
class Step:
    """One thing that a network computes.

    Attributes:
        kind: one of the words above, or the file's own for anything else.
        name: what a message calls it: kind and name in the file.
        layer: weights of a convolution or an FC layer.
        padding: of a convolution, the same on every side.
        parts: of a batch norm: scale, shift, mean and variance as they are with our epsilon, count.
        lrn: of local response normalisation.
        fault: how it differs from VGG's, to be said behind its name; empty where it does not.

    """

    kind: str
    name: str
    layer: Layer | None = None
    padding: int = 0
    parts: tuple[Array, ...] = ()
    lrn: LocalResponseNorm | None = None
    fault: str = ""

    @property
    def what(self) -> str:
        """Kind of the step in a stage, with the size of a convolution's kernel."""
        if self.kind != CONVOLUTION or self.layer is None:
            return self.kind
        kernel = int(self.layer.weight.shape[2])
        return _convolution(kernel) + f" with padding {self.padding}" * (self.padding != kernel // 2)


@dataclass
class Pixels:
    """What a file does to pixels before the first layer: `pixel * scale + offset`, channel by channel.

    Attributes:
        scale: of the channels, in the order that they have by then.
        offset: likewise.
        reversed: whether that order is BGR.

    """

    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    offset: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    reversed: bool = False

    def affine(self, scale: Any = 1.0, offset: Any = 0.0) -> None:
        """Multiply, then add; numbers, or three of them."""
        self.scale = self.scale * scale
        self.offset = self.offset * scale + offset

    def reverse(self) -> None:
        """Reverse the channels."""
        self.scale, self.offset, self.reversed = self.scale[::-1], self.offset[::-1], not self.reversed

    def preprocessing(self) -> Preprocessing | None:
        """The same as preprocessing of ours, to float32's precision; None where nothing is done.

        A file that normalises pixels of 0 to 1 takes those: on levels of 0 to 255 it is 255 times as much.

        Raises:
            ModelError: it is none that has an inverse.

        """
        if not self.reversed and (self.scale == 1).all() and (self.offset == 0).all():
            return None
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ModelError("multiplies pixels by a number that is not above 0; it cannot be read")
        exact = np.array([-self.offset / self.scale, 1 / self.scale])
        mean, deviation = map(_three, 255 * exact if are_shares(*exact) else exact)
        mean = (mean[0] + 0.0, mean[1] + 0.0, mean[2] + 0.0)  # not -0.0
        if self.reversed:
            mean, deviation = mean[::-1], deviation[::-1]
        return Preprocessing(mean, deviation, "BGR" if self.reversed else "RGB")


def channels_first(weight: Array, channels: int) -> Array:
    """Weights of a first FC layer, (out, rows x columns x channels) -> (out, channels, rows, columns).

    Raises:
        ModelError: the inputs are no square of so many channels.

    """
    side = fc6_side(weight.shape, channels)
    return np.moveaxis(weight.reshape(-1, side, side, channels), 3, 1)


def layers_of_steps(steps: Sequence[Step], size: Size = (None, None)) -> Layers:
    """Find the layers of a VGG network among the steps of a file.

    Args:
        steps: in the order of the data flow, without what does nothing in a test (dropout, say).
        size: height and width of the input in pixels, where the file says them.

    Returns:
        The layers; without FC layers and with a problem, where the head is not a VGG network's.

    Raises:
        ModelError: the stages compute something else than those of the networks of Table 1; the message names the
            first step that differs.

    """
    poolings = [at for at, step in enumerate(steps) if step.kind == POOLING]
    end = poolings[STAGES - 1] + 1 if len(poolings) >= STAGES else len(steps)
    stages, head = steps[:end], steps[end:]
    _check_stages(stages)
    lrn = next((step.lrn for step in stages if step.lrn), None)
    layers = Layers(has_lrn=lrn is not None, lrn=lrn, flattened=True)
    for step in stages:
        if step.layer:
            layers.convolutions.append(step.layer)
        elif step.parts:
            layers.convolutions[-1].norm = step.parts
    if _is_vgg_head(head):
        layers.fully_connected = [step.layer for step in head if step.layer]
        if not any(map(_is_recast, head)):
            _check_window(layers, size)
    elif any(step.kind != FLATTEN for step in head):
        layers.problem = head_problem(
            [step.kind if step.kind in (RELU, SOFTMAX) else step.name + step.fault for step in head]
        )
    return layers


def differing(settings: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The last setting that is not as wanted, to be said behind a step's name; nothing where all are.

    Args:
        settings: by name; one that is a list has a number for each direction.
        wanted: what VGG's are, for each direction.

    """
    fault = ""
    for name, value in wanted.items():
        seen = settings[name]
        if set(np.ravel(seen).tolist()) != {value}:
            fault = f" with {name} of {f'{seen:g}' if isinstance(seen, float) else seen}, where VGG's is {value}"
    return fault


def head_problem(seen: Sequence[str]) -> str:
    """Why a head is not a VGG network's, from what it has."""
    named = few(seen, MOST_NAMED, quoted=False)
    return (
        f"has a head of its own ({named}), where a VGG network has three FC layers on the flattened map, with "
        "ReLU between them"
    )


class Walk:
    """The nodes of a graph, one after the other, as steps of a network.

    Args:
        size: height and width of the image in pixels, where the file says them.

    Attributes:
        size: the same.
        steps: what it computes.
        pixels: what it does before the first layer.

    """

    def __init__(self, size: Size) -> None:
        self.size = size
        self.steps: list[Step] = []
        self.pixels = Pixels()
        self._padding = 0  # zeros around the map, which the convolution behind them takes for its own
        self._rows_first = False  # of a flattened map: rows, columns, channels

    def layers(self) -> Layers:
        """The layers of the network that it is, and what the graph does to pixels.

        Raises:
            ModelError: it is not a VGG network.

        """
        layers = layers_of_steps(self.steps, self.size)
        preprocessing = self.pixels.preprocessing()
        height, width = self.size
        # S is the image's side where that is no window.
        trained_on = TrainedOn((height, height)) if height and height == width and height % STRIDE else None
        layers.metadata = Metadata(preprocessing, trained_on=trained_on)
        layers.preprocesses = preprocessing is not None
        return layers

    _READERS: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {}
    """What reads a node, by its kind."""

    def _read(self, nodes: Sequence[Any]) -> None:
        for node in nodes:
            reader: Callable[[Any, Any], None] = self._READERS.get(node.kind, Walk._other)
            reader(self, node)

    def _add(self, node: Any, kind: str, **parts: Any) -> None:
        if self._padding and kind != CONVOLUTION:
            parts["fault"] = f" behind padding{NOT_VGG}"
        self._padding = 0
        self.steps.append(Step(kind, str(node), **parts))

    def _add_pooling(self, node: Any, fault: str, *, keeps_odd: bool) -> None:
        """Add a max pooling.

        Args:
            node: of the graph.
            fault: how it differs from VGG's.
            keeps_odd: whether it keeps an odd last row or column.

        """
        even = None not in self.size and not any(int(side or 0) % STRIDE for side in self.size)
        self._add(node, POOLING, fault=f" that keeps a last odd row{NOT_VGG}" if keeps_odd and not even else fault)

    def _add_dense(self, node: Any, weight: Array, bias: Array, fault: str = "") -> None:
        """Add an FC layer with a weight of shape (out, in)."""
        if self._rows_first:
            convolutions = [step.layer for step in self.steps if step.kind == CONVOLUTION and step.layer]
            channels = len(convolutions[-1].weight) if convolutions else 3
            weight, self._rows_first = channels_first(weight, channels), False
        self._add(node, DENSE, layer=Layer(weight, bias), fault=fault)

    def _other(self, node: Any) -> None:
        """Add what no VGG network has."""
        self._add(node, node.kind)


def _check_stages(steps: Sequence[Step]) -> None:
    """Compare the stages with those of every configuration, and name the first difference to the nearest."""
    seen = [step.what for step in steps]
    same = {
        tuple(wanted): len(list(takewhile(lambda pair: pair[0] == pair[1], zip(wanted, seen, strict=False))))
        for wanted in _stages()
    }
    nearest = max(same, key=lambda wanted: same[wanted])
    at = same[nearest]
    for step in steps[: at + 1]:
        if step.fault:
            raise ModelError(f"has {step.name}{step.fault}")
    if at == len(nearest) == len(seen):
        return
    behind = f" behind {steps[at - 1].name}" if at else ""
    if at == len(seen):
        raise ModelError(f"ends{behind}, where the networks of Table 1 have a {nearest[at]}")
    kind = f", a {steps[at].what}{',' * bool(behind)}" * (steps[at].kind == CONVOLUTION)
    raise ModelError(f"has {steps[at].name}{kind}{behind}, where the networks of Table 1 have a {nearest[at]}")


def _stages() -> Iterator[list[str]]:
    """What the five stages of every configuration compute, with and without batch norm."""
    for configuration in ALL_CONFIGURATIONS.values():
        for norm in ([], [NORM]):
            wanted: list[str] = []
            for stage in configuration.stages:
                for spec in stage:
                    wanted += [_convolution(spec.kernel), *norm, RELU, *[LRN] * spec.local_response_norm]
                wanted.append(POOLING)
            yield wanted


def _is_vgg_head(steps: Sequence[Step]) -> bool:
    """Whether it is three FC layers on a flattened map, or three convolutions and their mean over space."""
    kinds = [DENSE if _is_recast(step) else step.kind for step in steps if step.kind != FLATTEN]
    ends: list[list[str]] = [[], [SOFTMAX]] + [[MEAN], [MEAN, SOFTMAX]] * any(map(_is_recast, steps))
    return kinds in [HEAD + end for end in ends] and not any(step.fault for step in steps)


def _is_recast(step: Step) -> bool:
    return step.kind == CONVOLUTION and not step.padding


def _check_window(layers: Layers, size: Size) -> None:
    """Make sure that fc6's inputs are the square map that the input gives."""
    inputs, channels = prod(layers.fully_connected[0].weight.shape[1:]), len(layers.convolutions[-1].weight)
    if None not in size:
        height, width = (int(side or 0) // STRIDE for side in size)
        if height != width or height * width * channels != inputs:
            raise ModelError(
                f"has an input of {size[1]}x{size[0]} pixels and a first FC layer of {inputs} inputs, which is no "
                f"square window of {channels} channels"
            )


def _convolution(kernel: int) -> str:
    return f"{kernel}x{kernel} convolution"


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Three numbers, as people wrote them before they were rounded to float32."""
    first, second, third = (
        short if abs((short := float(f"{value:.6g}")) - value) <= ROUNDING * abs(value) else float(value)
        for value in values.tolist()
    )
    return first, second, third
