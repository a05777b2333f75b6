"""Small networks as ONNX graphs, onnxruntime's answers for them, and ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from conftest import close
from onnx import TensorProto, helper, numpy_helper

from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.images.color import Preprocessing
from verydeep.inference import engine_of
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import locate

RAW = Preprocessing((0.0, 0.0, 0.0))


NAMES = tuple("abcdefg")


SMALL = Architecture("A", 7, 1 / 16, 64)


def weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights that keep the signal's size, and statistics of a used normalisation."""
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in architecture.tensors.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        values = random.normal(0, deviation, shape)
        if name.startswith("bn") and name.endswith(("weight", "var")):
            values = random.uniform(0.2, 1.5, shape)
        tensors[name] = np.asarray(values, np.int64 if name.endswith("tracked") else np.float32)
    return tensors


def pixels(side: int = 64, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), np.uint8)


def theirs(path: Path, shown: np.ndarray, output: int = 0) -> np.ndarray:
    """onnxruntime's answer, an image at a time."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    taken = shown if entry.type == "tensor(uint8)" else shown.astype(np.float32)
    taken = taken if entry.shape[3] == 3 else taken.transpose(0, 3, 1, 2)
    answers = [session.run(None, {entry.name: np.ascontiguousarray(image[None])})[output] for image in taken]
    return np.concatenate(answers)


def ours(path: Path, shown: np.ndarray, preprocessing: Preprocessing | None = RAW) -> np.ndarray:
    found = import_weights(locate(path), Metadata(preprocessing, NAMES))
    return engine_of(config_of(found), found.tensors).score_maps(shown)[:, :, 0, 0]


def agrees(path: Path, preprocessing: Preprocessing | None = RAW, side: int = 64) -> bool:
    """Whether the scores are onnxruntime's, or differ by what the soft-max takes away where there is one."""
    shown = pixels(side)
    expected, scores = theirs(path, shown), ours(path, shown, preprocessing)
    if np.allclose(expected.sum(1), 1, atol=1e-4) and expected.min() >= 0:
        scores = np.exp(scores - scores.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        return bool(np.abs(scores - expected).max() < 2e-4)
    return close(scores, expected)


def like_tf2onnx(
    tensors: dict[str, np.ndarray],
    architecture: Architecture = SMALL,
    *,
    bias_apart: bool = False,
    same: bool = True,
    flat: Any = (-1,),
    change: Callable[[list[onnx.NodeProto], dict[str, np.ndarray]], None] | None = None,
) -> onnx.ModelProto:
    """A network of Keras's: images with channels last are turned, the last map is turned back and flattened."""
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, np.ndarray] = {}
    below = "turned"
    side = architecture.window

    def add(kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{name}:0"], name=name, **attributes))
        return f"{name}:0"

    def constant(name: str, values: np.ndarray) -> str:
        constants[name] = values
        return name

    below = add("Transpose", "turn", "images", perm=[0, 3, 1, 2])
    for layer in architecture.layers:
        name = layer.name
        if isinstance(layer, Pooling):
            below = add("MaxPool", name, below, kernel_shape=[2, 2], strides=[2, 2], auto_pad="VALID")
            continue
        weight, bias = tensors[f"{name}.weight"], constant(f"{name}.b", tensors[f"{name}.bias"])
        if isinstance(layer, Convolution):
            weight = constant(f"{name}.w", weight)
            how: dict[str, Any] = {"auto_pad": "SAME_UPPER"} if same else {"pads": [1, 1, 1, 1]}
            if bias_apart:
                below = add("Conv", name, below, weight, kernel_shape=[3, 3], strides=[1, 1], **how)
                constants[f"{name}.b"] = constants[f"{name}.b"].reshape(1, -1, 1, 1)
                below = add("Add", f"{name}/add", below, bias)
            else:
                below = add("Conv", name, below, weight, bias, kernel_shape=[3, 3], strides=[1, 1], **how)
        else:
            if name == "fc6":
                below = add("Transpose", "back", below, perm=[0, 2, 3, 1])
                size = side // 32 * (side // 32) * weight.shape[1]
                below = add("Reshape", "flatten", below, constant("shape", np.array([*flat, size], np.int64)))
            matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
            below = add("MatMul", name, below, constant(f"{name}.w", matrix))
            below = add("Add", f"{name}/bias", below, bias)
        if name != "fc8":
            below = add("Relu", f"{name}/relu", below)
    add("Softmax", "scores", below)
    if change:
        change(nodes, constants)
    return model_of(nodes, constants, [1, side, side, 3])


def model_of(nodes, constants, shape, entry: int = TensorProto.FLOAT, opset: int = 13) -> onnx.ModelProto:
    initializers = [
        numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()
    ]
    given = {name for node in nodes for name in node.output}
    taken = {name for node in nodes for name in node.input} | set(constants)
    first = next(name for node in nodes for name in node.input if name not in given and name not in constants)
    last = [name for node in nodes for name in node.output if name not in taken]
    made = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(first, entry, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in last],
        initializers,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def saved(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
