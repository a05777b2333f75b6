"""ONNX graphs as weights: each is read with onnxruntime's own answers, or refused with a sentence."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import close
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutants
from onnx import TensorProto, helper, numpy_helper
from peers import torchvision_network
from PIL import Image
from torch import nn

from verydeep.cli import main
from verydeep.configurations import Architecture, Convolution, LocalResponseNorm, Pooling
from verydeep.engines import scorer_of
from verydeep.errors import ModelError, UsageError, VerydeepError
from verydeep.export.graph import graph
from verydeep.images.color import Preprocessing
from verydeep.run_folder import ModelConfig, TrainedOn, read_config, write_model
from verydeep.weights.foreign import config_of, examine
from verydeep.weights.inspection import inspect
from verydeep.weights.opening import open_source
from verydeep.weights.source import Known, locate

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
    found = examine(locate(path), Known(preprocessing, NAMES))
    return scorer_of(config_of(found), found.tensors).score_maps(shown)[:, :, 0, 0]


def agrees(path: Path, preprocessing: Preprocessing | None = RAW, side: int = 64) -> bool:
    """Whether the scores are onnxruntime's, or differ by what the soft-max takes away where there is one."""
    shown = pixels(side)
    expected, scores = theirs(path, shown), ours(path, shown, preprocessing)
    if np.allclose(expected.sum(1), 1, atol=1e-4) and expected.min() >= 0:
        scores = np.exp(scores - scores.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)
        return bool(np.abs(scores - expected).max() < 2e-4)
    return close(scores, expected)


# PyTorch's exporter.


class Viewed(nn.Module):
    """A network that flattens by `view`, whose shape is computed within the graph."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.network.features(x)
        return self.network.classifier(x.view(x.size(0), -1)).softmax(1)


def from_torch(network: nn.Module, path: Path, side: int = 224, **settings: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(network.eval(), (torch.zeros(1, 3, side, side),), str(path), dynamo=False, **settings)
    return path


@pytest.mark.parametrize("opset", [9, 13, 17])
@pytest.mark.parametrize(("configuration", "batch_norm"), [("A", False), ("B", True), ("D", False)])
def test_pytorchs_exports(configuration, batch_norm, opset, tmp_path):
    network = torchvision_network(configuration, batch_norm)
    path = from_torch(network, tmp_path / "a.onnx", opset_version=opset)
    assert agrees(path, side=224)
    found = examine(locate(path))
    assert found.architecture == Architecture(configuration, 7, 1 / 16)  # the norm is part of the weights


def test_a_view_of_a_free_batch_is_a_flattened_map(tmp_path):
    network = Viewed(torchvision_network("A"))
    free = {"input_names": ["in"], "dynamic_axes": {"in": {0: "batch"}}}
    path = from_torch(network, tmp_path / "a.onnx", **free)
    assert any(node.op_type == "Concat" for node in onnx.load(path).graph.node)
    assert agrees(path, side=224)


def test_average_pooling_that_does_something_is_refused(tmp_path):
    network = torchvision_network("A")
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.classifier[0] = nn.Linear(32, 256)
    with pytest.raises(ModelError, match=r"GlobalAveragePool .*--features-only"):
        examine(locate(from_torch(network, tmp_path / "a.onnx")))
    network = torchvision_network("A")
    path = from_torch(network, tmp_path / "b.onnx", 448)  # pools 14x14 to 7x7
    with pytest.raises(ModelError, match="AveragePool"):
        examine(locate(path))
    found = examine(locate(path), Known(RAW, features_only=True))
    (maps,) = scorer_of(config_of(found), found.tensors).activations(pixels(64), ["pool5"])
    expected = network.features(torch.from_numpy(pixels(64)).permute(0, 3, 1, 2).float()).detach().numpy()
    assert close(maps, expected)


# Graphs as tf2onnx writes them.


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
    side = architecture.image_size

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


@pytest.mark.parametrize("flat", [(-1,), (1,), (0,)])
@pytest.mark.parametrize("bias_apart", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_graphs_of_tf2onnx(same, bias_apart, flat, tmp_path):
    tensors = weights(SMALL)
    path = saved(like_tf2onnx(tensors, same=same, bias_apart=bias_apart, flat=flat), tmp_path / "a.onnx")
    assert agrees(path)
    found = examine(locate(path))
    assert found.architecture == SMALL
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in tensors.items())


def test_the_data_flow_counts_and_not_the_order_in_the_file(tmp_path):
    """Convolutions of the same shape are stored in the reverse order, under each other's names."""
    tensors = weights(SMALL)
    model = like_tf2onnx(tensors)
    stored = list(model.graph.initializer)[::-1]
    del model.graph.initializer[:]
    model.graph.initializer.extend(stored)
    names = {"conv5_1.w": "conv5_2.w", "conv5_2.w": "conv5_1.w"}
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    path = saved(model, tmp_path / "a.onnx")
    assert agrees(path)
    assert np.array_equal(examine(locate(path)).tensors["conv5_1.weight"], tensors["conv5_1.weight"])


# What `verydeep export` writes.


EXPORTS = {
    "D": (Architecture("D", 7, 1 / 32, 64), Preprocessing()),
    "C with norm": (Architecture("C", 7, 1 / 32, 32, batch_norm=True), Preprocessing((1, 2, 3), (4, 5, 6), "BGR")),
    "A-LRN": (Architecture("A-LRN", 7, 1 / 32, 32), Preprocessing((0.1, 2, 3), (255, 255, 255), "BGR")),
    "another LRN": (
        Architecture("A-LRN", 7, 1 / 32, 32, local_response_norm=LocalResponseNorm(3, 0.02, 0.5, 1.5)),
        Preprocessing((123.68, 116.779, 103.939), (58.393, 57.12, 57.375)),
    ),
    "nothing before": (Architecture("B-5x5", 7, 1 / 32, 32), RAW),
}


def exported(name: str, path: Path, *, within: bool = False) -> tuple[ModelConfig, dict[str, np.ndarray]]:
    architecture, preprocessing = EXPORTS[name]
    config = ModelConfig(architecture, preprocessing, NAMES, TrainedOn((40, 60), mirror=False))
    tensors = weights(architecture)
    saved(graph(config, tensors, pixels=within), path)
    return config, tensors


@pytest.mark.parametrize("within", [False, True], ids=["outside", "within"])
@pytest.mark.parametrize("name", EXPORTS)
def test_our_own_exports_come_back(name, within, tmp_path):
    config, tensors = exported(name, tmp_path / "a.onnx", within=within)
    opened, back = open_source(tmp_path / "a.onnx")
    assert opened.architecture == config.architecture
    assert opened.preprocessing == config.preprocessing
    assert (opened.class_names, opened.trained_on) == (config.class_names, config.trained_on)
    for part, tensor in tensors.items():
        if not part.endswith("tracked"):
            np.testing.assert_allclose(back[part], tensor, rtol=1e-6)
    side = config.architecture.image_size
    if within:
        expected = theirs(tmp_path / "a.onnx", pixels(side))[:, :, 0, 0]
        assert close(scorer_of(opened, back).score_maps(pixels(side))[:, :, 0, 0], expected)
    else:
        np.testing.assert_array_equal(
            scorer_of(opened, back).score_maps(pixels(side)), scorer_of(config, back).score_maps(pixels(side))
        )


def test_every_command_takes_onnx(tmp_path, capsys):
    config, tensors = exported("C with norm", tmp_path / "a.onnx", within=True)
    write_model(tmp_path / "model", config, tensors)
    for label, name in enumerate(NAMES[:2]):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(pixels(48, 4)[2 * label + number]).save(tmp_path / "data" / name / f"{number}.png")
    images = [str(path) for path in sorted((tmp_path / "data").rglob("*.png"))]
    said = []
    for model in ("a.onnx", "model"):
        main(["predict", str(tmp_path / model), *images, "--json", "--top", "7"])
        said.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
        main(["evaluate", str(tmp_path / model), str(tmp_path / "data"), "--part", "all", "--json"])
        said.append(json.loads(capsys.readouterr().out)["top1_error"])
    for one, other in zip(said[0], said[2], strict=True):
        for mine, other_one in zip(one["predictions"], other["predictions"], strict=True):
            assert mine["class"] == other_one["class"]
            assert mine["probability"] == pytest.approx(other_one["probability"], abs=1e-5)
    assert said[1] == said[3]
    main(["convert", str(tmp_path / "a.onnx"), str(tmp_path / "run")])
    assert replace(read_config(tmp_path / "run"), provenance={}) == config
    capsys.readouterr()
    main(["inspect", str(tmp_path / "a.onnx"), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["configuration"], facts["batch_norm"], facts["opset"]) == ("C", True, 17)
    assert facts["preprocessing"]["channels"] == "BGR"
    assert any("preprocesses images itself" in note for note in facts["notes"])
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(tmp_path / "a.onnx"), str(tmp_path / "other"), "--preprocessing", "oxford"])
    assert ended.value.code == 2
    assert "preprocesses images itself" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


# Numbers in every form.


def raw(array: np.ndarray, name: str, kind: int) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True)


def bfloat16(array: np.ndarray) -> np.ndarray:
    return (array.view(np.uint32) >> 16).astype(np.uint16)


NUMBERS = {
    "float32 in fields": lambda a, name: helper.make_tensor(name, TensorProto.FLOAT, a.shape, a.ravel()),
    "float16": lambda a, name: raw(a.astype(np.float16), name, TensorProto.FLOAT16),
    "float16 in fields": lambda a, name: helper.make_tensor(name, TensorProto.FLOAT16, a.shape, a.ravel()),
    "bfloat16": lambda a, name: raw(bfloat16(a), name, TensorProto.BFLOAT16),
    "bfloat16 in fields": lambda a, name: helper.make_tensor(name, TensorProto.BFLOAT16, a.shape, a.ravel()),
    "float64": lambda a, name: raw(a.astype(np.float64), name, TensorProto.DOUBLE),
    "float64 in fields": lambda a, name: helper.make_tensor(name, TensorProto.DOUBLE, a.shape, a.ravel()),
}


@pytest.mark.parametrize("form", NUMBERS)
def test_numbers_of_every_type(form, tmp_path):
    """As onnx's own helper reads them."""
    model = like_tf2onnx(weights(SMALL), change=None)
    wanted = {}
    for number, tensor in enumerate(list(model.graph.initializer)):
        if tensor.data_type == TensorProto.FLOAT:
            made = NUMBERS[form](numpy_helper.to_array(tensor), tensor.name)
            model.graph.initializer[number].CopyFrom(made)
            wanted[tensor.name] = np.asarray(numpy_helper.to_array(made), np.float32)
    found = examine(locate(saved(model, tmp_path / "a.onnx")))
    assert found.dtypes == (form.split()[0],)
    assert np.array_equal(found.tensors["conv3_1.weight"], wanted["conv3_1.w"])
    assert np.array_equal(found.tensors["fc8.bias"], wanted["fc8.b"])


def beside(tmp_path: Path) -> Path:
    model = like_tf2onnx(weights(SMALL))
    onnx.save_model(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.data", size_threshold=100)
    assert (tmp_path / "a.onnx").stat().st_size < 20_000
    return tmp_path / "a.onnx"


def test_weights_in_a_file_beside_the_graph(tmp_path):
    path = beside(tmp_path)
    assert agrees(path)
    (tmp_path / "a.data").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"are in a\.data, which is not beside it"):
        examine(locate(path))
    (tmp_path / "a.data").write_bytes((tmp_path / "elsewhere").read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"a\.data ends before"):
        examine(locate(path))
    (tmp_path / "a.data").unlink()
    os.mkfifo(tmp_path / "a.data")
    with pytest.raises(ModelError, match="not beside it"):
        examine(locate(path))


@pytest.mark.parametrize("location", ["../a.data", "/etc/passwd", "sub/a.data", "..", "", ".", "sub\\a.data"])
def test_weights_elsewhere_are_not_read(location, tmp_path):
    path = beside(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.data").write_bytes((tmp_path / "a.data").read_bytes())
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    with pytest.raises(ModelError, match=r"only a file in the same folder|not beside it"):
        examine(locate(saved(model, path)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "-4"), ("offset", "9" * 30), ("length", "3"), ("length", "1" * 40), ("offset", "x")],
)
def test_places_that_are_not_in_the_file_beside_are_refused(key, value, tmp_path):
    path = beside(tmp_path)
    model = onnx.load(path, load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "conv1_1.w")
    del tensor.external_data[:]
    for name, told in ({"location": "a.data", "offset": "0", "length": "432"} | {key: value}).items():
        tensor.external_data.add(key=name, value=told)
    with pytest.raises(ModelError, match=r"bytes of a\.data|ends before"):
        examine(locate(saved(model, path)))


# What is before the first layer.


def with_first(*first: tuple[str, dict[str, Any], Any]) -> onnx.ModelProto:
    """The graph of a network of Keras's, with nodes of its own before all others: kind, attributes, constant."""

    def change(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> None:
        name, made = "pixels", []
        for number, (kind, attributes, value) in enumerate(first):
            inputs = [name]
            if value is not None:
                constants[f"c{number}"] = np.asarray(value, np.int64 if kind == "Gather" else np.float32)
                inputs.append(f"c{number}")
            name = f"first{number}" if number < len(first) - 1 else "images"
            made.append(helper.make_node(kind, inputs, [name], name=f"first{number}", **attributes))
        nodes[:0] = made

    return like_tf2onnx(weights(SMALL), change=change)


BEFORE = {
    "a 255th": ([("Div", {}, 255.0)], Preprocessing((0, 0, 0), (255, 255, 255))),
    "a factor": ([("Mul", {}, [1 / 255])], Preprocessing((0, 0, 0), (255, 255, 255))),
    "minus one to one": ([("Mul", {}, 2 / 255), ("Sub", {}, 1.0)], Preprocessing((127.5,) * 3, (127.5,) * 3)),
    "Oxford's": (
        [("Gather", {"axis": 3}, [2, 1, 0]), ("Add", {}, [-103.939, -116.779, -123.68])],
        Preprocessing((123.68, 116.779, 103.939), (1, 1, 1), "BGR"),
    ),
    "turned afterwards": (
        [("Sub", {}, [[[[1, 2, 3]]]]), ("Gather", {"axis": -1}, [2, 1, 0])],
        Preprocessing((1, 2, 3), (1, 1, 1), "BGR"),
    ),
}


@pytest.mark.parametrize("what", BEFORE)
def test_preprocessing_within_the_graph_is_read(what, tmp_path):
    first, wanted = BEFORE[what]
    path = saved(with_first(*first), tmp_path / "a.onnx")
    assert agrees(path, None)
    assert examine(locate(path)).known.preprocessing == wanted
    with pytest.raises(UsageError, match="preprocesses images itself"):
        examine(locate(path), Known(RAW))


NOT_BEFORE = {
    "Mul": [("Mul", {}, np.ones((64, 64, 3)))],
    "Sub": [("Sub", {}, np.ones((64, 1)))],
    "above 0": [("Mul", {}, -1.0)],
    "not above 0": [("Div", {}, 0.0)],
    "Gather": [("Gather", {"axis": 3}, [0, 2, 1])],
    "Sqrt": [("Sqrt", {}, None)],
    "Relu": [("Relu", {}, None)],
    "NHWC": [("Transpose", {"perm": [0, 2, 1, 3]}, None)],
}


@pytest.mark.parametrize("what", NOT_BEFORE)
def test_what_cannot_be_preprocessing_is_refused(what, tmp_path):
    with pytest.raises(ModelError, match=what):
        examine(locate(saved(with_first(*NOT_BEFORE[what]), tmp_path / "a.onnx")))


# Other networks.


def node_of(nodes: list[onnx.NodeProto], name: str) -> onnx.NodeProto:
    return next(node for node in nodes if node.name == name)


def attribute(name: str, key: str, value: Any):
    def change(nodes, constants):
        node = node_of(nodes, name)
        kept = [one for one in node.attribute if one.name not in (key, "auto_pad")]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(key, value)])

    return change


def kind(name: str, other: str, **attributes: Any):
    def change(nodes, constants):
        node = node_of(nodes, name)
        node.op_type = other
        del node.attribute[:]
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())

    return change


def residual(nodes, constants):
    nodes.insert(9, helper.make_node("Add", ["conv3_1/relu:0", "conv3_2/relu:0"], ["sum"], name="sum"))
    node_of(nodes, "pool3").input[0] = "sum"


def scale_of(name: str, kind: str = "Mul"):
    def change(nodes, constants):
        at = next(number for number, node in enumerate(nodes) if node.name == name)
        constants["two"] = np.array(2, np.float32)
        nodes.insert(at + 1, helper.make_node(kind, [f"{name}:0", "two"], ["scaled"], name="scaled"))
        nodes[at + 2].input[0] = "scaled"

    return change


def without(name: str):
    def change(nodes, constants):
        at = next(number for number, node in enumerate(nodes) if node.name == name)
        nodes[at + 1].input[0] = nodes[at].input[0]
        del nodes[at]

    return change


def constants_gone(nodes, constants):
    del constants["conv4_1.w"]
    nodes.insert(0, helper.make_node("DequantizeLinear", ["q", "s"], ["conv4_1.w"], name="dequantize"))
    constants["q"], constants["s"] = np.zeros((32, 16, 3, 3), np.int8), np.array(1, np.float32)


def second_output(nodes, constants):
    nodes.append(helper.make_node("Relu", ["conv3_1:0"], ["other"], name="other"))


def one_number(nodes, constants):
    shape = constants.pop("conv2_1.w").shape
    constants["shape of it"] = np.array(shape, np.int64)
    nodes.insert(0, helper.make_node("ConstantOfShape", ["shape of it"], ["conv2_1.w"], name="made"))


OTHERS = {
    "strides": (attribute("conv2_1", "strides", [2, 2]), r"Conv \(conv2_1\) with strides"),
    "dilations": (attribute("conv2_1", "dilations", [2, 2]), r"Conv \(conv2_1\) with dilations"),
    "groups": (attribute("conv2_1", "group", 2), r"Conv \(conv2_1\) with group"),
    "no padding": (attribute("conv2_1", "pads", [0, 0, 0, 0]), "with padding 0"),
    "uneven padding": (attribute("conv2_1", "pads", [0, 0, 2, 2]), r"Conv \(conv2_1\) .*pads"),
    "a pooling of 3x3": (attribute("pool2", "kernel_shape", [3, 3]), r"MaxPool \(pool2\) with kernel_shape"),
    "a pooling of stride 1": (attribute("pool2", "strides", [1, 1]), r"MaxPool \(pool2\) with strides"),
    "an average pooling": (kind("pool2", "AveragePool", kernel_shape=[2, 2], strides=[2, 2]), "AveragePool"),
    "a leaky ReLU": (kind("conv3_2/relu", "LeakyRelu", alpha=0.1), r"LeakyRelu \(conv3_2/relu\)"),
    "a sigmoid": (kind("conv3_2/relu", "Sigmoid"), "Sigmoid"),
    "no ReLU": (without("conv3_2/relu"), "have a ReLU"),
    "no pooling": (without("pool3"), "have a 2x2 max pooling"),
    "a residual": (residual, "2 computed values"),
    "a factor": (scale_of("conv3_1"), "Mul"),
    "a factor behind ReLU": (scale_of("conv3_1/relu"), "Mul"),
    "an addition behind ReLU": (scale_of("conv3_1/relu", "Add"), "Add"),
    "weights that are computed": (constants_gone, "DequantizeLinear"),
    "outputs side by side": (second_output, "2 outputs"),
    "weights of one number": (one_number, "no trained numbers"),
    "scores through a sigmoid": (kind("scores", "Sigmoid"), r"head of its own .*Sigmoid"),
    "no ReLU between FC layers": (without("fc6/relu"), "head of its own"),
    "a soft-max over images": (kind("scores", "Softmax", axis=0), "head of its own"),
    "a map that is not turned back": (without("back"), None),
    "a residual of a constant": (scale_of("fc6"), "head of its own"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_no_vgg_network_computes_is_refused(what, tmp_path):
    change, said = OTHERS[what]
    path = saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")
    if said is None:  # it is another network, but a VGG
        assert agrees(path)
        return
    with pytest.raises(ModelError, match=said):
        examine(locate(path))
    if change is not one_number:  # of which there are shapes to tell
        with pytest.raises(VerydeepError, match=said):
            inspect(path)


def test_rows_that_are_kept_are_refused_where_there_are_any(tmp_path):
    model = like_tf2onnx(weights(SMALL), change=attribute("pool1", "ceil_mode", 1))
    assert agrees(saved(model, tmp_path / "a.onnx"))
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    sizes[1].dim_value = sizes[2].dim_value = 66
    with pytest.raises(ModelError, match="last odd row"):
        examine(locate(saved(model, tmp_path / "a.onnx")))


def test_rows_and_images_that_are_mixed_are_refused(tmp_path):
    """A free size of images, and a reshape to so many numbers: there may be several rows for an image."""
    model = like_tf2onnx(weights(Architecture("A", 7, 1 / 16, 32)), Architecture("A", 7, 1 / 16, 32))
    assert agrees(saved(model, tmp_path / "a.onnx"), side=32)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for size in sizes[1:3]:
        size.dim_param = "side"
    with pytest.raises(ModelError, match="Reshape"):
        examine(locate(saved(model, tmp_path / "a.onnx")))
    for size in sizes[1:3]:
        size.dim_value = 64
    with pytest.raises(ModelError, match="64x64 pixels"):
        examine(locate(saved(model, tmp_path / "a.onnx")))
    sizes[1].dim_value, sizes[2].dim_value = 32, 128
    with pytest.raises(ModelError, match="128x32 pixels"):
        examine(locate(saved(model, tmp_path / "a.onnx")))


def test_batch_norms_epsilon_is_the_nodes(tmp_path):
    architecture = Architecture("A", 7, 1 / 16, 32, batch_norm=True)
    config = ModelConfig(architecture, RAW, NAMES, TrainedOn((32, 32)))
    model = graph(config, weights(architecture))
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute[0].f = 0.01
    path = saved(model, tmp_path / "a.onnx")
    expected = theirs(path, pixels(32))[:, :, 0, 0]
    assert close(ours(path, pixels(32)), expected)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.append(helper.make_attribute("training_mode", 1))
    with pytest.raises(ModelError, match="training form"):
        examine(locate(saved(model, path)))


# Files from strangers.


@cache
def whole() -> bytes:
    architecture = Architecture("A", 3, 1 / 64, 32)
    return like_tf2onnx(weights(architecture), architecture).SerializeToString()


def survives(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        examine(locate(path))
    except VerydeepError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


def test_damaged_graphs(tmp_path):
    """The structure is in a small part of the file; it is damaged there."""
    for _, damaged in mutants(whole(), 200, seed=1):
        survives(damaged, tmp_path / "a.onnx")


KEYS = ("strides", "pads", "axis", "perm", "epsilon", "value", "auto_pad", "kernel_shape", "axes", "transB")
KINDS = ("Conv", "Gemm", "Squeeze", "Pad", "Reshape", "Gather", "LRN", "Sub", "ReduceMean", "Constant")
VALUES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.integers(-9, 9), min_size=1, max_size=5),
    st.floats(width=32),
    st.text(max_size=5),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.sampled_from(KEYS + KINDS), VALUES), max_size=3)
)
def test_graphs_with_other_attributes(tmp_path, changes):
    """Attributes of any kind, other operators, and values in others' places: a sentence, or a network."""
    model = onnx.load_from_string(whole())
    nodes = model.graph.node
    names = [name for node in nodes for name in node.input]
    for place, other, word, value in changes:
        node = nodes[place % len(nodes)]
        if other < 20:
            node.input[other % len(node.input)] = names[other % len(names)]
        elif word in KINDS:
            node.op_type = word
        else:
            node.attribute.append(helper.make_attribute(word, value))
    survives(model.SerializeToString(), tmp_path / "a.onnx")


def test_constants_that_would_fill_the_memory_are_none(tmp_path):
    def change(nodes, constants):
        for name in ("conv1_1.w", "conv1_1.b", "fc6.b", "shape"):
            del constants[name]
            constants[f"shape of {name}"] = np.array([1 << 20, 1 << 20, 1 << 20], np.int64)
            nodes.insert(0, helper.make_node("ConstantOfShape", [f"shape of {name}"], [name], name=name))

    with pytest.raises(ModelError, match="computed values"):
        examine(locate(saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")))


def test_a_window_that_is_told_has_to_be_the_graphs(tmp_path):
    path = saved(like_tf2onnx(weights(SMALL)), tmp_path / "a.onnx")
    assert examine(locate(path), Known(RAW, window=64)).architecture == SMALL
    with pytest.raises(UsageError, match="window is 64"):
        examine(locate(path), Known(RAW, window=224))
