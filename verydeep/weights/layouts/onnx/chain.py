"""An ONNX graph -> the chain of its nodes from the image to the scores, and the values of its constants."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable
from verydeep.weights.files.onnx import Graph, Node

Array = NDArray[Any]
FIRST_ALONE = {"Reshape", "Squeeze", "Dropout", "ReduceMean"}  # other inputs say how, and may be computed
FLOATS = (1, 10, 11, 16)  # ONNX's types of float32, float16, float64, bfloat16
EITHER = {"Add", "Mul"}  # take the computed value in either place
MOST_AXES, MOST_CHANNELS = 8, 1 << 20
MOST_FILLED = 1 << 28  # numbers that nodes make of one; fc6 of the paper has 1 << 26
MOST_COPIED = 1 << 30  # bytes that nodes write anew; fc6 of the paper has 411 MB
MOST_OUTPUTS = 100


class Chain:
    """A graph that is followed from its last output back to the image.

    Args:
        graph: of the file; its constants get those that its nodes make of them.

    Attributes:
        nodes: from the image on.
        entry: name of the image.

    Raises:
        ModelError: its nodes are no chain.

    """

    def __init__(self, graph: Graph) -> None:
        fold_constants(graph)
        self._graph = graph
        self.producers = {name: node for node in graph.nodes for name in node.outputs if name}
        if len(graph.outputs) > MOST_OUTPUTS:
            raise ModelError(f"has {len(graph.outputs):,} outputs; give a graph with one")
        chains = [self._back_from(name) for name in graph.outputs]
        self.entry, self.nodes = max(chains, key=lambda chain: len(chain[1]), default=("", []))
        if not self.nodes:
            raise ModelError("has no output that is computed")
        if any(nodes != self.nodes[: len(nodes)] for _, nodes in chains):
            raise ModelError(f"has {len(chains)} outputs that are computed side by side; give a graph with one")
        if self.entry not in graph.inputs:
            raise ModelError(f"lacks {printable(self.entry)}, which its nodes need")

    def _back_from(self, name: str) -> tuple[str, list[Node]]:
        """What a value is computed from: the first value, and the nodes from there on."""
        nodes: list[Node] = []
        while name in self.producers and len(nodes) <= len(self._graph.nodes):
            node = self.producers[name]
            computed = [given for given in node.inputs if given and given not in self._graph.constants]
            if node.kind in FIRST_ALONE:
                computed = computed[:1]
            in_place = node.kind in EITHER or computed == node.inputs[:1]
            if len(computed) != 1 or not in_place or name != node.outputs[0]:
                makers = sorted({self.producers[one].kind for one in computed if one in self.producers})
                raise ModelError(
                    f"has {node} on {len(computed)} computed values ({', '.join(makers)}), where a VGG network is "
                    "one chain of layers with stored weights"
                )
            nodes.append(node)
            name = computed[0]
        return name, nodes[::-1]

    def gives_batch(self, name: str) -> bool:
        """Whether a value is the number of images: the first number of a shape."""
        node, seen = self.producers.get(name), 0
        while node is not None and node.kind in ("Unsqueeze", "Squeeze", "Cast") and node.inputs:
            node, seen = self.producers.get(node.inputs[0]), seen + 1
            if seen > MOST_AXES:  # a circle, or no exporter's work
                return False
        if node is None or node.kind != "Gather" or len(node.inputs) != 2:
            return False
        source, index = self.producers.get(node.inputs[0]), self._graph.constants.get(node.inputs[1])
        return source is not None and source.kind == "Shape" and index is not None and not index.any()


def rounds(node: Node) -> bool:
    """Whether a node is a Cast to integers, or to anything but common floats."""
    return node.kind == "Cast" and node.number("to", 0) not in FLOATS


def fold_constants(graph: Graph) -> None:
    """Give values to nodes that only bring constants into another form.

    Raises:
        ModelError: what they write anew would fill the memory.

    """
    copied = 0
    for node in graph.nodes:
        if node.kind in CONSTANT and node.outputs:
            needed, fold = CONSTANT[node.kind]
            inputs = [graph.constants[name] for name in node.inputs if name in graph.constants]
            if not len(inputs) == len(node.inputs) == needed:
                continue
            if node.kind == "Reshape" and not inputs[0].flags.c_contiguous and any(inputs[0].strides):
                copied += inputs[0].nbytes
                if copied > MOST_COPIED:
                    raise ModelError(f"has nodes up to {node} that rearrange more than {MOST_COPIED:,} bytes")
            value = fold(node, inputs)
            if value is not None:
                graph.constants[node.outputs[0]] = value


def _value(node: Node, inputs: list[Array]) -> Array | None:
    value = next(iter(node.attributes.values()), None)
    return None if value is None or isinstance(value, str) else np.asarray(value)


def _filled(node: Node, inputs: list[Array]) -> Array | None:
    """An array of one number everywhere, which takes no memory."""
    value, shape = (
        node.attributes.get("value", np.zeros(1, np.float32)),
        inputs[0].ravel()[: MOST_AXES + 1].tolist(),
    )
    most = MOST_FILLED if len(shape) > 1 else MOST_CHANNELS
    if (
        not isinstance(value, np.ndarray)
        or value.size != 1
        or inputs[0].dtype.kind != "i"
        or len(shape) > MOST_AXES
    ):
        return None
    return np.broadcast_to(value.reshape(1), shape) if min(shape, default=0) > 0 and prod(shape) <= most else None


def _turned(node: Node, inputs: list[Array]) -> Array | None:
    order = node.numbers("perm", list(range(inputs[0].ndim))[::-1])
    return inputs[0].transpose(list(map(int, order))) if sorted(order) == list(range(inputs[0].ndim)) else None


def _reshaped(node: Node, inputs: list[Array]) -> Array | None:
    try:
        return inputs[0].reshape(inputs[1].ravel()[: MOST_AXES + 1].tolist())
    except (ValueError, TypeError):
        return None


CONSTANT: dict[str, tuple[int, Callable[[Node, list[Array]], Array | None]]] = {
    "Constant": (0, _value),
    "ConstantOfShape": (1, _filled),
    "Identity": (1, lambda node, inputs: inputs[0]),
    "Cast": (1, lambda node, inputs: None if inputs[0].dtype.kind != "f" or rounds(node) else inputs[0]),
    "Transpose": (1, _turned),
    "Reshape": (2, _reshaped),
}
"""How many inputs a node has, and what gives its value where they are constants."""
