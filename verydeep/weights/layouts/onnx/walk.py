"""ONNX graphs: the nodes from the image to the scores, one after the other, as steps of a network.

Names mean nothing here. What counts is the data flow, and that every node has the attributes of a VGG network's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError
from verydeep.weights.files.onnx import Graph, Node
from verydeep.weights.layouts.onnx.chain import MOST_CHANNELS, Chain, rounds
from verydeep.weights.recognize import Layer, local_response_norm, norm_with_epsilon
from verydeep.weights.steps import (
    CONVOLUTION,
    FLATTEN,
    LRN,
    MEAN,
    NORM,
    NOT_VGG,
    RELU,
    SOFTMAX,
    Walk,
    differing,
)

Array = NDArray[Any]
NCHW, NHWC, FLAT = "NCHW", "NHWC", "NF"  # what the axes are: images, channels, height, width; features
DEFAULT_EPSILON, LRN_THERE = 1e-5, {"alpha": 1e-4, "beta": 0.75, "bias": 1.0}
MOST_NUMBERS = 16  # of an option: twice the axes
SOFTMAX_CHANGED = 13  # the opset since which its axis is the last one by default


class OnnxWalk(Walk):
    """An ONNX graph as steps of a network.

    Args:
        graph: of the file.

    Raises:
        ModelError: it is no chain of layers.

    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._chain = Chain(graph)
        self._axes = self._entry_axes()
        shape = graph.inputs[self._chain.entry]
        height, width = (shape[self._axes.index(axis)] if len(shape) == len(NCHW) else None for axis in "HW")
        super().__init__((height, width))
        self._read(self._chain.nodes)

    @property
    def made_by_nodes(self) -> bool:
        """Whether weights are one number everywhere, made by nodes of the graph and not stored."""
        return any(step.layer is not None and not any(step.layer.weight.strides) for step in self.steps)

    def _entry_axes(self) -> str:
        """What each axis of the image is: channels first or last, as the first convolution takes them."""
        turned = list(range(len(NCHW)))
        for node in self._chain.nodes:
            if node.kind == "Conv":
                axes = "".join(NCHW[turned.index(axis)] for axis in range(len(NCHW)))
                if axes not in (NCHW, NHWC):
                    raise ModelError(f"takes images with axes in the order {axes}; they must be NCHW or NHWC")
                return axes
            if node.kind == "Transpose":
                turned = [turned[axis] for axis in _permutation(node, len(NCHW))]
        raise ModelError("has no convolution: it is not a VGG network")

    def _constant(self, node: Node, place: int) -> Array:
        value = self.graph.constants.get(node.inputs[place]) if place < len(node.inputs) else None
        if value is None or value.dtype.kind not in "fiub":
            raise ModelError(f"has {node} without its numbers")
        return value

    def _option(self, node: Node, name: str, place: int) -> list[Any]:
        """Numbers that are an attribute in old opsets, and an input in new ones."""
        if name in node.attributes or place >= len(node.inputs) or not node.inputs[place]:
            return node.numbers(name, [])
        return list(self._constant(node, place).ravel()[:MOST_NUMBERS].tolist())

    def _nothing(self, node: Node) -> None:
        """What does nothing in a test. A Cast to integers rounds."""
        mode = node.inputs[2] if node.kind == "Dropout" and len(node.inputs) > 2 else ""
        if rounds(node) or (mode and self.graph.constants.get(mode, np.array(True)).any()):
            self._other(node)

    def _convolution(self, node: Node) -> None:
        weight = self._constant(node, 1)
        if weight.ndim != len(NCHW) or self._axes != NCHW:
            raise ModelError(f"has {node} that is not of two dimensions, on a map with channels first")
        kernel = weight.shape[2]
        pads = node.numbers("pads", [0] * 4)
        if node.text("auto_pad").startswith("SAME"):
            pads = [kernel // 2] * 4  # of an odd kernel with stride 1
        wanted = dict.fromkeys(("strides", "dilations", "group"), 1)
        fault = differing({name: node.numbers(name, [1]) for name in wanted}, wanted)
        if weight.shape[3] != kernel or set(pads) != {pads[0]}:
            fault = f" with a kernel of {kernel}x{weight.shape[3]} and pads of {pads}{NOT_VGG}"
        bias = self._constant(node, 2) if any(node.inputs[2:]) else np.zeros(len(weight), np.float32)
        padding = pads[0] + self._padding
        self._add(node, CONVOLUTION, layer=Layer(weight, bias), padding=padding, fault=fault)

    def _pad(self, node: Node) -> None:
        """Zeros around the map, which the convolution behind them takes for its own padding."""
        pads = self._option(node, "pads", 1)
        value = any(self._option(node, "value", 2))
        wanted = [max(pads, default=0) * (axis in "HW") for axis in self._axes * 2]
        if pads != wanted or value or len(node.inputs) > 3 or node.text("mode") not in ("", "constant"):
            self._other(node)
        else:
            self._padding += max(pads)

    def _norm(self, node: Node) -> None:
        norm = [self._constant(node, place) for place in range(1, 5)]
        epsilon = float(f"{node.number('epsilon', DEFAULT_EPSILON):.6g}")  # it is float32
        fault = f" in its training form{NOT_VGG}" if node.number("training_mode", 0) else ""
        self._add(node, NORM, parts=norm_with_epsilon(norm, epsilon), fault=fault)

    def _max_pooling(self, node: Node) -> None:
        usual = {"kernel_shape": 0, "strides": 1, "dilations": 1, "pads": 0}
        settings = {name: node.numbers(name, [default]) for name, default in usual.items()}
        fault = differing(settings, {"kernel_shape": 2, "strides": 2, "dilations": 1, "pads": 0})
        keeps_odd = bool(node.number("ceil_mode", 0)) or node.text("auto_pad").startswith("SAME")
        self._add_pooling(node, fault, keeps_odd=keeps_odd)

    def _average_pooling(self, node: Node) -> None:
        """What PyTorch exports adaptive pooling as, at a size where it does nothing."""
        if {*node.numbers("kernel_shape", [0]), *node.numbers("strides", [1])} != {1}:
            self._other(node)

    def _lrn(self, node: Node) -> None:
        size = max(1, int(np.nan_to_num(node.number("size", 0))))  # the sum is divided by it
        alpha, beta, k = (node.number(name, usual) for name, usual in LRN_THERE.items())
        self._add(node, LRN, lrn=local_response_norm(size, alpha / size, beta, k))

    def _flatten(self, node: Node) -> None:
        self._make_flat(node, usual=node.number("axis", 1) in (1, 1 - len(self._axes)))

    def _reshape(self, node: Node) -> None:
        self._make_flat(node, usual=self._keeps_images_apart(node))

    def _squeeze(self, node: Node) -> None:
        self._make_flat(node, usual=self._named(self._option(node, "axes", 1)) == {"H", "W"})

    def _make_flat(self, node: Node, *, usual: bool = True) -> None:
        if not usual:
            self._other(node)
        if self._axes in (NCHW, NHWC):
            self._rows_first, self._axes = self._axes == NHWC, FLAT
            self._add(node, FLATTEN)

    def _keeps_images_apart(self, node: Node) -> bool:
        """Whether a reshape's answer has a row for each image, and no more."""
        name = node.inputs[1] if len(node.inputs) > 1 else ""
        if not name or name in self.graph.constants:
            shape = self._option(node, "shape", 1)
            return len(shape) == 2 and bool(shape[0] >= 0 or None not in self.size)
        made = self._chain.producers.get(name)
        if made is None or made.kind != "Concat" or len(made.inputs) != 2:
            return False
        rest = self.graph.constants.get(made.inputs[1])
        return rest is not None and rest.size == 1 and self._chain.gives_batch(made.inputs[0])

    def _named(self, axes: list[Any]) -> set[str]:
        """What axes are; an empty word for what is none."""
        places = range(-len(self._axes), len(self._axes))
        return {self._axes[axis] if isinstance(axis, int) and axis in places else "" for axis in axes}

    def _transpose(self, node: Node) -> None:
        self._axes = "".join(self._axes[axis] for axis in _permutation(node, len(self._axes)))

    def _gather(self, node: Node) -> None:
        """Channels in the reverse order, before the first layer."""
        if self.steps or self._named([node.number("axis", 0)]) != {"C"} or self._option(node, "", 1) != [2, 1, 0]:
            self._other(node)
        else:
            self.pixels.reverse()

    def _arithmetic(self, node: Node) -> None:
        """A constant that pixels are changed by; or the bias of the layer before."""
        place = 1 if len(node.inputs) > 1 and node.inputs[1] in self.graph.constants else 0
        value = self._along_channels(self._constant(node, place))
        layer = self.steps[-1].layer if self.steps else None
        # Padding that is still to come into a convolution has zeros, which would be changed too.
        if value is None or self._padding or (self.steps and (layer is None or node.kind != "Add")):
            self._other(node)
        elif layer is not None:
            layer.bias = layer.bias + value
        elif node.kind in ("Add", "Sub"):
            self.pixels.affine(offset=value if node.kind == "Add" else -value)
        else:
            self.pixels.affine(scale=value if node.kind == "Mul" else 1 / np.where(value == 0, np.nan, value))

    def _along_channels(self, value: Array) -> NDArray[np.float64] | None:
        """Floats that differ along the channels alone; None where they are others."""
        shape = (1,) * (len(self._axes) - value.ndim) + value.shape
        channels = len(self.steps[-1].layer.weight) if self.steps and self.steps[-1].layer else 3
        place = self._axes.find("C") if "C" in self._axes else 1
        if (
            len(shape) != len(self._axes)
            or value.dtype.kind != "f"  # integers round and overflow
            or value.size > MOST_CHANNELS
            or value.size not in (1, channels)
            or shape[place] != value.size
        ):
            return None
        return value.reshape(-1).astype(np.float64)

    def _gemm(self, node: Node) -> None:
        weight, fault = self._constant(node, 1), ""
        if node.number("alpha", 1) != 1 or node.number("beta", 1) != 1 or node.number("transA", 0):
            fault = f" with factors or a turned input{NOT_VGG}"
        bias = self._constant(node, 2) if any(node.inputs[2:]) else np.zeros(1, np.float32)
        self._dense(node, weight if node.number("transB", 0) else weight.T, bias, fault)

    def _product(self, node: Node) -> None:
        self._dense(node, self._constant(node, 1).T, np.zeros(1, np.float32))

    def _dense(self, node: Node, weight: Array, bias: Array, fault: str = "") -> None:
        if weight.ndim != 2 or bias.size not in (1, len(weight)) or self._axes != FLAT:
            self._other(node)  # whatever it is, no FC layer
        else:
            self._add_dense(node, weight, np.broadcast_to(bias.reshape(-1), len(weight)), fault)

    def _reduce_mean(self, node: Node) -> None:
        over_space = self._named(self._option(node, "axes", 1)) == {"H", "W"}
        self._add(node, MEAN if over_space else node.kind)
        if not node.number("keepdims", 1):
            self._make_flat(node)

    def _softmax(self, node: Node) -> None:
        usual = -1 if (self.graph.opset or 0) >= SOFTMAX_CHANGED else 1
        over_classes = self._named([node.number("axis", usual)]) <= {"C", "F"}
        self._add(node, SOFTMAX if over_classes else node.kind)

    _READERS: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {
        **dict.fromkeys(("Identity", "Dropout", "Cast"), _nothing),
        "Conv": _convolution,
        "Pad": _pad,
        "BatchNormalization": _norm,
        "Relu": lambda walk, node: walk._add(node, RELU),
        "MaxPool": _max_pooling,
        "AveragePool": _average_pooling,
        "LRN": _lrn,
        "Flatten": _flatten,
        "Reshape": _reshape,
        "Squeeze": _squeeze,
        "Transpose": _transpose,
        "Gather": _gather,
        **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
        "Gemm": _gemm,
        "MatMul": _product,
        "GlobalAveragePool": lambda walk, node: walk._add(node, MEAN),
        "ReduceMean": _reduce_mean,
        **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    }


def _permutation(node: Node, count: int) -> list[int]:
    """Where each axis comes from.

    Raises:
        ModelError: it is none of so many axes.

    """
    order = node.numbers("perm", list(range(count))[::-1])
    if sorted(order) != list(range(count)):
        raise ModelError(f"has {node} of {len(order)} axes, where there are {count}")
    return [int(axis) for axis in order]
