"""ONNX graphs as weights: each is read with onnxruntime's own answers, or refused with a sentence."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import close
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import NAMES, RAW, SMALL, agrees, like_tf2onnx, ours, pixels, saved, theirs, weights
from peers import torchvision_network
from PIL import Image
from torch import nn

from verydeep.cli import main
from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import ModelError
from verydeep.exports.graph import graph
from verydeep.images.color import Preprocessing
from verydeep.inference import engine_of
from verydeep.run_folder import ModelConfig, TrainedOn, read_config, write_model
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate

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
    found = import_weights(locate(path))
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
        import_weights(locate(from_torch(network, tmp_path / "a.onnx")))
    network = torchvision_network("A")
    path = from_torch(network, tmp_path / "b.onnx", 448)  # pools 14x14 to 7x7
    with pytest.raises(ModelError, match="AveragePool"):
        import_weights(locate(path))
    found = import_weights(locate(path), Metadata(RAW, features_only=True))
    maps = engine_of(config_of(found), found.tensors).run(pixels(64), ["pool5"])["pool5"]
    expected = network.features(torch.from_numpy(pixels(64)).permute(0, 3, 1, 2).float()).detach().numpy()
    assert close(maps, expected)


# Graphs as tf2onnx writes them.


@pytest.mark.parametrize("flat", [(-1,), (1,), (0,)])
@pytest.mark.parametrize("bias_apart", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_graphs_of_tf2onnx(same, bias_apart, flat, tmp_path):
    tensors = weights(SMALL)
    path = saved(like_tf2onnx(tensors, same=same, bias_apart=bias_apart, flat=flat), tmp_path / "a.onnx")
    assert agrees(path)
    found = import_weights(locate(path))
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
    assert np.array_equal(import_weights(locate(path)).tensors["conv5_1.weight"], tensors["conv5_1.weight"])


def test_an_onnx_files_metadata_with_names_that_are_no_texts_is_not_used(tmp_path):
    architecture, preprocessing = EXPORTS["nothing before"]
    config = ModelConfig(architecture, preprocessing, NAMES, TrainedOn((40, 60)))
    model = graph(config, weights(architecture), pixels=False)
    odd = ("x  y", "x y", "z\u00a0z", "é", "<b> ", "a" * 400 + "b", "a" * 400 + "c")
    for names, known in ((NAMES, NAMES), (odd, odd), (("a",) * len(NAMES), None), ([["a"]] * len(NAMES), None)):
        for entry in model.metadata_props:
            if entry.key == "class_names":
                entry.value = json.dumps(names)
        saved(model, tmp_path / "a.onnx")
        assert import_weights(locate(tmp_path / "a.onnx")).metadata.class_names == known


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
    "as small as shares": (Architecture("A", 7, 1 / 32, 32), Preprocessing((0.8, 0.7, 0.9), (0.9, 0.5, 1.5))),
    "a half": (Architecture("A", 7, 1 / 32, 32), Preprocessing((0, 0, 0), (0.5, 0.5, 0.5), "BGR")),
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
    side = config.architecture.window
    if within:
        expected = theirs(tmp_path / "a.onnx", pixels(side))[:, :, 0, 0]
        assert close(engine_of(opened, back).score_maps(pixels(side))[:, :, 0, 0], expected)
    else:
        np.testing.assert_array_equal(
            engine_of(opened, back).score_maps(pixels(side)), engine_of(config, back).score_maps(pixels(side))
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
    assert any("the network itself preprocesses images" in note for note in facts["notes"])
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(tmp_path / "a.onnx"), str(tmp_path / "other"), "--preprocessing", "oxford"])
    assert ended.value.code == 2
    assert "preprocesses images inside the network" in capsys.readouterr().err
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
    found = import_weights(locate(saved(model, tmp_path / "a.onnx")))
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
        import_weights(locate(path))
    (tmp_path / "a.data").write_bytes((tmp_path / "elsewhere").read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"a\.data ends before"):
        import_weights(locate(path))
    (tmp_path / "a.data").unlink()
    os.mkfifo(tmp_path / "a.data")
    with pytest.raises(ModelError, match="not beside it"):
        import_weights(locate(path))


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
        import_weights(locate(saved(model, path)))


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
        import_weights(locate(saved(model, path)))


def test_tensors_that_share_bytes_beside_the_graph_are_refused(tmp_path):
    """A graph of kilobytes could name one region a thousand times."""
    path = beside(tmp_path)
    model = onnx.load(path, load_external_data=False)
    largest = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    for number in range(3):
        again = model.graph.initializer.add()
        again.CopyFrom(largest)
        again.name = f"again {number}"
    with pytest.raises(ModelError, match=r"take more bytes of a\.data than it has"):
        import_weights(locate(saved(model, path)))


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
        import_weights(locate(saved(model, path)))
