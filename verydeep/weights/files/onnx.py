"""ONNX files: the nodes of the graph, and its constants. Weights may lie in a file beside it.

The messages and numbers of onnx.proto that this takes:

    ModelProto      producer_name = 2, producer_version = 3, graph = 7, opset_import = 8, metadata_props = 14
    GraphProto      node = 1, name = 2, initializer = 5, input = 11, output = 12
    NodeProto       input = 1, output = 2, name = 3, op_type = 4, attribute = 5, domain = 7
    AttributeProto  name = 1, f = 2, i = 3, s = 4, t = 5, floats = 7, ints = 8
    TensorProto     dims = 1, data_type = 2, float_data = 4, int32_data = 5, int64_data = 7, name = 8,
                    raw_data = 9, double_data = 10, external_data = 13, data_location = 14
    ValueInfoProto  name = 1, type = 2; TypeProto: tensor_type = 1; Tensor: shape = 2; TensorShapeProto: dim = 1;
                    Dimension: dim_value = 1
    OperatorSetId   domain = 1, version = 2
    StringStringEntryProto  key = 1, value = 2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable
from verydeep.safetensors_file import widened
from verydeep.weights.checkpoint import NotWeightsError, Tensor
from verydeep.weights.files.protobuf import Message, WireError

FLOAT_TYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
OTHER_TYPES = {2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool"}
STORED = FLOAT_TYPES | OTHER_TYPES | {16: "uint16"}  # what numbers lie as; NumPy has no bfloat16
FIELDS = {1: (4, "<f4"), 11: (10, "<f8")}  # of floating-point numbers that are not raw
MOST_AXES, MOST_NAME = 8, 80


@dataclass(eq=False)
class Node:
    """A node of a graph.

    Attributes:
        kind: its operator, with the domain where that is not ONNX's own.
        name: its own, or that of what it gives.
        inputs: names of values; an empty one is left out.
        outputs: likewise.
        attributes: numbers, lists of them, texts, arrays.

    """

    kind: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} ({printable(self.name, MOST_NAME)})"

    def numbers(self, name: str, default: list[Any]) -> list[Any]:
        """An attribute that is a list of numbers, or one of them.

        Raises:
            ModelError: it is something else.

        """
        value = self.attributes.get(name, default)
        if isinstance(value, int | float):
            return [value]
        if not isinstance(value, list):
            raise ModelError(f"has {self} with {name} that are no numbers")
        return value

    def number(self, name: str, default: float) -> Any:
        """An attribute that is a number.

        Raises:
            ModelError: it is something else.

        """
        return self.numbers(name, [default])[0]

    def text(self, name: str) -> str:
        """An attribute that is a text; empty where it is not there."""
        return str(self.attributes.get(name, ""))


@dataclass(eq=False)
class Graph:
    """What an ONNX file holds.

    Attributes:
        producer: name and version of the program that wrote it.
        opset: version of ONNX's operators; None where the file does not tell.
        metadata: texts by their keys.
        nodes: in the file's order.
        constants: stored arrays by name; bfloat16 as float32.
        inputs: shape of each input, by name; None where a side is free.
        outputs: names.

    """

    producer: str
    opset: int | None
    metadata: dict[str, str]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)


class Beside:
    """Files in the folder of an ONNX file that hold its weights.

    Args:
        path: of the ONNX file.

    """

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._taken: Counter[str] = Counter()

    def stored(self, tensor: Message, size: int) -> bytes:
        """So many bytes of a tensor.

        Raises:
            WireError: they are not there, or tensors share them: a small file could then fill the memory.

        """
        place = {entry.text(1): entry.text(2) for entry in tensor.messages(13)}
        location = place.get("location", "")
        if not location or Path(location).name != location or "\\" in location:
            raise WireError(f"its weights would be in {location!r}, and only a file in the same folder is read")
        other = self._folder / location
        if not other.is_file():
            raise WireError(f"its weights are in {location}, which is not beside it; put it there")
        offset, length = place.get("offset", "0"), place.get("length", str(size))
        if not (offset.isascii() and offset.isdigit() and length == str(size)) or len(offset) > 18:
            raise WireError(f"{tensor.text(8)} takes {size} bytes of {location}, not {length} from {offset} on")
        there = other.stat().st_size
        if int(offset) + size > there:
            raise WireError(f"{location} ends before {tensor.text(8)} does; it is incomplete")
        self._taken[location] += size
        if self._taken[location] > there:
            raise WireError(f"its tensors up to {tensor.text(8)} take more bytes of {location} than it has")
        with other.open("rb") as file:
            file.seek(int(offset))
            return file.read(size)


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the stored arrays of floats; `facts["graph"]` is the file's `Graph`, with all stored arrays."""
    try:
        model = Message(memoryview(path.read_bytes()))
        graphs = list(model.messages(7))
        if not graphs:
            raise WireError("it has no graph")
        opsets = {opset.text(1): opset.integer(2) for opset in model.messages(8)}
        graph = facts["graph"] = Graph(
            producer=f"{model.text(2)} {model.text(3)}".strip(),
            opset=opsets.get("", opsets.get("ai.onnx")),
            metadata={entry.text(1): entry.text(2) for entry in model.messages(14)},
        )
        beside = Beside(path)
        for tensor in graphs[-1].messages(5):
            name = tensor.text(8)
            graph.constants[name] = _array(tensor, beside)
            if tensor.integer(2) in FLOAT_TYPES:
                yield name, graph.constants[name], FLOAT_TYPES[tensor.integer(2)]
        _read_nodes(graphs[-1], graph, beside)
    except (WireError, ValueError) as error:
        raise NotWeightsError(f"is not a complete ONNX file: {printable(error)}") from None


def _read_nodes(content: Message, graph: Graph, beside: Beside) -> None:
    given = set(graph.constants)
    for message in content.messages(1):
        node = _node(message, beside)
        graph.nodes.append(node)
        if given & set(node.outputs) - {""}:
            raise WireError(f"{node} gives what another node gives too")
        given |= set(node.outputs)
    graph.inputs = {
        value.text(1): _shape(value)
        for value in content.messages(11)
        if value.text(1) not in graph.constants  # old files list stored arrays among the inputs
    }
    graph.outputs = [value.text(1) for value in content.messages(12)]


def _node(message: Message, beside: Beside) -> Node:
    inputs, outputs = (
        [bytes(name).decode("utf-8", "replace") for name in message.contents(number)] for number in (1, 2)
    )
    domain = message.text(7)
    kind = message.text(4) if domain in ("", "ai.onnx") else f"{domain}.{message.text(4)}"
    name = message.text(3) or next(iter(outputs), "")
    values = {attribute.text(1): _value(attribute, beside) for attribute in message.messages(5)}
    attributes = {key: value for key, value in values.items() if value is not None}
    return Node(printable(kind, MOST_NAME), name, inputs, outputs, attributes)


def _value(attribute: Message, beside: Beside) -> Any:
    """Value of an attribute; None where it is of a kind that no network here needs."""
    if attribute.all(2):
        numbers = attribute.floats(2, "<f4")
        if not len(numbers):
            raise WireError("an attribute holds no number")
        return float(numbers[-1])
    if attribute.all(3):
        return _signed(attribute.integer(3))
    if attribute.all(4):
        return attribute.text(4)
    if attribute.all(5):
        return _array(list(attribute.messages(5))[-1], beside)
    if attribute.all(7):
        return attribute.floats(7, "<f4").tolist()
    return [_signed(number) for number in attribute.integers(8)] or None


def _shape(value: Message) -> tuple[int | None, ...]:
    """Shape of an input; empty where it has none."""
    for kind in value.messages(2):
        for tensor in kind.messages(1):
            for shape in tensor.messages(2):
                return tuple(_signed(dim.integer(1)) or None for dim in shape.messages(1))[: MOST_AXES + 1]
    return ()


def _array(tensor: Message, beside: Beside) -> NDArray[Any]:
    """The numbers of a tensor; nothing is copied but bfloat16."""
    name, dims, kind = tensor.text(8), tuple(tensor.integers(1)), tensor.integer(2)
    if len(dims) > MOST_AXES:
        raise WireError(f"{name} has {len(dims)} axes")
    if kind not in STORED:
        return np.empty(0, object)  # texts, say: no weights, and whoever needs them says so
    dtype = np.dtype(STORED[kind]).newbyteorder("<")
    content: NDArray[Any]
    if tensor.integer(14) == 1:
        content = np.frombuffer(beside.stored(tensor, prod(dims) * dtype.itemsize), dtype)
    elif raw := tensor.contents(9):
        content = np.frombuffer(raw[-1], dtype) if len(raw[-1]) % dtype.itemsize == 0 else np.empty(0, dtype)
    elif kind in FIELDS:
        content = tensor.floats(*FIELDS[kind])
    else:
        numbers = tensor.integers(7) if STORED[kind] == "int64" else tensor.integers(5)
        content = _integers(numbers, dtype)
    if prod(dims) != content.size:
        raise WireError(f"{name} would have shape {dims}, but has {content.size:,} numbers")
    if FLOAT_TYPES.get(kind) == "bfloat16":
        content = widened(content)
    return content.reshape(dims)


def _integers(numbers: list[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Whole numbers as their lowest bits say; 16-bit floats lie among them as bits, too."""
    bits = np.array([number & (1 << 64) - 1 for number in numbers], "<u8")
    return bits.astype(f"<u{dtype.itemsize}").view(dtype)


def _signed(number: int) -> int:
    """A number of 64 bits, which may be negative."""
    number &= (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number
