"""ONNX graphs, as far as `inspect` needs them: shapes of the weights of every layer, in the graph's order.

The messages and numbers of onnx.proto that this takes:

    ModelProto      ir_version = 1, producer_name = 2, producer_version = 3, graph = 7, opset_import = 8,
                    metadata_props = 14
    GraphProto      node = 1, name = 2, initializer = 5
    NodeProto       input = 1, output = 2, op_type = 4, attribute = 5
    AttributeProto  name = 1, i = 3
    TensorProto     dims = 1, data_type = 2, int64_data = 7, name = 8, raw_data = 9
    OperatorSetId   domain = 1, version = 2
    StringStringEntryProto  key = 1, value = 2
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.errors import ModelError, printable
from verydeep.weights.files.protobuf import Message, WireError

INT64 = 7
DTYPES = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16", INT64: "int64"}
MOST_AXES = 8


@dataclass
class Graph:
    """What an ONNX file says about a network's layers.

    Attributes:
        convolutions: shape of the weights of each convolution, (out, in, rows, columns).
        products: shape of the weights of each matrix product, (out, in).
        has_norm: whether there are normalisations between them.
        has_lrn: whether there are local response normalisations.
        made_by_nodes: whether weights are made by nodes of the graph, not stored.
        facts: producer, version, opset, and the metadata, texts by their keys.

    """

    convolutions: list[tuple[int, ...]] = field(default_factory=list)
    products: list[tuple[int, ...]] = field(default_factory=list)
    has_norm: bool = False
    has_lrn: bool = False
    made_by_nodes: bool = False
    dtype: str = "float32"
    facts: dict[str, Any] = field(default_factory=dict)


def read_graph(path: Path) -> Graph:
    """Read the shapes of an ONNX file's layers.

    Raises:
        ModelError: it is no ONNX file, or damaged.

    """
    try:
        model = Message(memoryview(path.read_bytes()))
        graphs = list(model.messages(7))
        if not graphs:
            raise WireError("it has no graph")
        graph = _read(graphs[-1])
        opsets = {opset.text(1): opset.integer(2) for opset in model.messages(8)}
        graph.facts = {
            "producer": f"{model.text(2)} {model.text(3)}".strip(),
            "ir_version": model.integer(1),
            "opset": opsets.get("", opsets.get("ai.onnx")),
            "metadata": {entry.text(1): entry.text(2) for entry in model.messages(14)},
        }
    except (WireError, ValueError) as error:
        raise ModelError(f"{path} is not a whole ONNX file: {printable(error)}") from None
    return graph


def _read(content: Message) -> Graph:
    graph = Graph()
    shapes: dict[str, tuple[int, ...]] = {}
    values: dict[str, Message] = {}
    for tensor in content.messages(5):
        name, dims = tensor.text(8), tuple(tensor.integers(1))
        if len(dims) > MOST_AXES:
            raise WireError(f"{name} has {len(dims)} axes")
        shapes[name] = dims
        if tensor.integer(2) == INT64:
            values[name] = tensor
        elif len(dims) == 4:
            graph.dtype = DTYPES.get(tensor.integer(2), f"type {tensor.integer(2)}")
    for node in content.messages(1):
        kind = node.text(4)
        inputs = [bytes(name).decode("utf-8", "replace") for name in node.contents(1)]
        outputs = [bytes(name).decode("utf-8", "replace") for name in node.contents(2)]
        if kind == "ConstantOfShape" and inputs and outputs and inputs[0] in values:
            shapes[outputs[0]] = _integers(values[inputs[0]])
            graph.made_by_nodes = True
        elif kind in ("Conv", "Gemm", "MatMul") and len(inputs) > 1:
            if inputs[1] not in shapes:
                raise WireError(f"the weights {inputs[1]} are not in it")
            shape = shapes[inputs[1]]
            if kind == "Conv":
                graph.convolutions.append(shape)
            else:
                graph.products.append(shape if _is_transposed(node) else shape[::-1])
        elif kind == "BatchNormalization":
            graph.has_norm = True
        elif kind == "LRN":
            graph.has_lrn = True
    return graph


def _is_transposed(node: Message) -> bool:
    """Whether a product takes its weights as (out, in)."""
    return any(attribute.text(1) == "transB" and attribute.integer(3) for attribute in node.messages(5))


def _integers(tensor: Message) -> tuple[int, ...]:
    raw = tensor.contents(9)
    if raw:
        if len(raw[-1]) % 8 or len(raw[-1]) > 8 * MOST_AXES:
            raise WireError("a shape that is none")
        numbers = np.frombuffer(raw[-1], "<i8").tolist()
    else:
        numbers = tensor.integers(7)
    if len(numbers) > MOST_AXES:
        raise WireError("a shape that is none")
    return tuple(numbers)
