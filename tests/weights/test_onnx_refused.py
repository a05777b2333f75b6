"""ONNX graphs that compute something else than a VGG network, or are damaged; and preprocessing within them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutants import mutants
from onnx import helper
from onnx_graphs import RAW, SMALL, agrees, like_tf2onnx, ours, pixels, saved, theirs, weights

from verydeep.api.inspect import inspect
from verydeep.configurations import Architecture
from verydeep.errors import ModelError, UsageError, VerydeepError
from verydeep.images.color import Preprocessing
from verydeep.weights.importing import config_of, import_weights
from verydeep.weights.layouts.onnx import chain
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import locate


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
    assert import_weights(locate(path)).metadata.preprocessing == wanted
    assert "-0.0" not in str(import_weights(locate(path)).metadata.preprocessing)
    with pytest.raises(UsageError, match="preprocesses images inside the network"):
        import_weights(locate(path), Metadata(RAW))


def test_a_graph_that_normalises_pixels_of_0_to_1_is_taken_for_what_it_is(tmp_path):
    """torchvision's `Normalize` before a network, as people export it; levels are 255 times as much."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    path = saved(with_first(("Sub", {}, mean), ("Div", {}, deviation)), tmp_path / "a.onnx")
    found = import_weights(locate(path)).metadata.preprocessing
    assert found == Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    shown = pixels()
    scores = np.exp(ours(path, shown, None))
    np.testing.assert_allclose(
        scores / scores.sum(1, keepdims=True), theirs(path, shown / np.float32(255)), atol=2e-4
    )


CAST = onnx.TensorProto
NOT_BEFORE = {
    "Cast": [("Cast", {"to": CAST.INT32}, None), ("Cast", {"to": CAST.FLOAT}, None)],
    r"Cast .*first1": [("Mul", {}, 0.01), ("Cast", {"to": CAST.UINT8}, None), ("Cast", {"to": CAST.FLOAT}, None)],
    r"Cast .*first0": [("Cast", {"to": CAST.BOOL}, None), ("Cast", {"to": CAST.FLOAT16}, None)],
    "Cast ": [("Cast", {"to": CAST.FLOAT8E4M3FN}, None), ("Cast", {"to": CAST.FLOAT}, None)],
    "Mul": [("Mul", {}, np.ones((64, 64, 3)))],
    "Sub": [("Sub", {}, np.ones((64, 1)))],
    "above 0": [("Mul", {}, -1.0)],
    "not above 0": [("Div", {}, 0.0)],
    "Gather": [("Gather", {"axis": 3}, [0, 2, 1])],
    "Sqrt": [("Sqrt", {}, None)],
    "Relu": [("Relu", {}, None)],
    "NHWC": [("Transpose", {"perm": [0, 2, 1, 3]}, None)],
}


@pytest.mark.parametrize("kind", ["Sub", "Div", "Add"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_integers_are_not_subtracted_as_floats_are(kind, dtype, tmp_path):
    """Of uint8 128 - 200 is 184, and 5 / 2 is 2."""

    def change(nodes, constants):
        constants["c"] = np.array(200, dtype)
        first = helper.make_node(kind, ["pixels", "c"], ["whole"], name="first")
        nodes[:0] = [first, helper.make_node("Cast", ["whole"], ["images"], name="cast", to=CAST.FLOAT)]

    with pytest.raises(ModelError, match=rf"{kind} \(first\)"):
        import_weights(locate(saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")))


@pytest.mark.parametrize("to", [CAST.FLOAT, CAST.DOUBLE])
def test_a_cast_to_floats_does_nothing(to, tmp_path):
    model = with_first(("Cast", {"to": to}, None), ("Cast", {"to": CAST.FLOAT}, None), ("Div", {}, 255.0))
    path = saved(model, tmp_path / "a.onnx")
    assert agrees(path, None)
    assert import_weights(locate(path)).metadata.preprocessing == Preprocessing((0, 0, 0), (255, 255, 255))


def test_a_constant_that_is_rounded_is_no_constant(tmp_path):
    def change(nodes, constants):
        constants["c"] = np.array(1.5, np.float32)
        nodes[:0] = [
            helper.make_node("Cast", ["c"], ["whole"], name="round", to=CAST.INT32),
            helper.make_node("Cast", ["whole"], ["rounded"], name="back", to=CAST.FLOAT),
            helper.make_node("Mul", ["pixels", "rounded"], ["images"], name="first"),
        ]

    with pytest.raises(ModelError, match="Mul"):
        import_weights(locate(saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")))


@pytest.mark.parametrize("what", NOT_BEFORE)
def test_what_cannot_be_preprocessing_is_refused(what, tmp_path):
    with pytest.raises(ModelError, match=what):
        import_weights(locate(saved(with_first(*NOT_BEFORE[what]), tmp_path / "a.onnx")))


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
    "weights of one number": (one_number, "no trained weights"),
    "scores through a sigmoid": (kind("scores", "Sigmoid"), r"head of its own .*Sigmoid"),
    "no ReLU between FC layers": (without("fc6/relu"), "head of its own"),
    "a soft-max over images": (kind("scores", "Softmax", axis=0), "head of its own"),
    "a map that is not turned back": (without("back"), None),
    "a residual of a constant": (scale_of("fc6"), "head of its own"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_no_vgg_network_computes_is_refused(what, tmp_path):
    change, said = OTHERS[what]
    folder = tmp_path / ("a long name " * 18)
    folder.mkdir()
    path = saved(like_tf2onnx(weights(SMALL), change=change), folder / "a.onnx")
    if said is None:  # it is another network, but a VGG
        assert agrees(path)
        return
    with pytest.raises(ModelError, match=said) as refused:
        config_of(import_weights(locate(path)))
    if change is one_number:
        assert inspect(path).to_dict()["shapes"][-1] == [SMALL.num_classes, len(weights(SMALL)["fc7.weight"])]
        return
    with pytest.raises(VerydeepError) as inspected:
        inspect(path)
    assert str(inspected.value) == str(refused.value)


def test_rows_that_are_kept_are_refused_where_there_are_any(tmp_path):
    model = like_tf2onnx(weights(SMALL), change=attribute("pool1", "ceil_mode", 1))
    assert agrees(saved(model, tmp_path / "a.onnx"))
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    sizes[1].dim_value = sizes[2].dim_value = 66
    with pytest.raises(ModelError, match="last odd row"):
        import_weights(locate(saved(model, tmp_path / "a.onnx")))


def test_rows_and_images_that_are_mixed_are_refused(tmp_path):
    """A free size of images, and a reshape to so many numbers: there may be several rows for an image."""
    model = like_tf2onnx(weights(Architecture("A", 7, 1 / 16, 32)), Architecture("A", 7, 1 / 16, 32))
    assert agrees(saved(model, tmp_path / "a.onnx"), side=32)
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for size in sizes[1:3]:
        size.dim_param = "side"
    with pytest.raises(ModelError, match="Reshape"):
        import_weights(locate(saved(model, tmp_path / "a.onnx")))
    for size in sizes[1:3]:
        size.dim_value = 64
    with pytest.raises(ModelError, match="64x64 pixels"):
        import_weights(locate(saved(model, tmp_path / "a.onnx")))
    sizes[1].dim_value, sizes[2].dim_value = 32, 128
    with pytest.raises(ModelError, match="128x32 pixels"):
        import_weights(locate(saved(model, tmp_path / "a.onnx")))


@cache
def whole() -> bytes:
    architecture = Architecture("A", 3, 1 / 64, 32)
    return like_tf2onnx(weights(architecture), architecture).SerializeToString()


def survives(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        import_weights(locate(path))
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
        import_weights(locate(saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")))


@pytest.mark.parametrize("copies", [1, 40])
def test_constants_that_are_rearranged_again_and_again_are_refused(copies, tmp_path, monkeypatch):
    """Each copy takes memory that the file does not."""
    monkeypatch.setattr(chain, "MOST_COPIED", 10 * weights(SMALL)["fc6.weight"].nbytes)

    def change(nodes, constants):
        constants["flat"] = np.array([-1], np.int64)
        for number in range(copies):
            nodes[:0] = [
                helper.make_node("Transpose", ["fc6.w"], [f"turned {number}"], perm=[1, 0]),
                helper.make_node("Reshape", [f"turned {number}", "flat"], [f"copy {number}"]),
            ]

    model = like_tf2onnx(weights(SMALL), change=change)
    del model.graph.output[: len(model.graph.output) - 1]
    path = saved(model, tmp_path / "a.onnx")
    if copies == 1:
        assert agrees(path)
    else:
        with pytest.raises(ModelError, match=r"has nodes up to Reshape .* that rearrange more than [\d,]+ bytes"):
            ours(path, pixels())


def test_a_shape_that_is_computed_of_itself_is_refused(tmp_path):
    def change(nodes, constants):
        flatten = next(node for node in nodes if node.name == "flatten")
        constants["rest"] = np.array([-1], np.int64)
        flatten.input[1] = "size"
        nodes.append(helper.make_node("Cast", ["around"], ["once"], to=7))
        nodes.append(helper.make_node("Cast", ["once"], ["around"], to=7))
        nodes.append(helper.make_node("Concat", ["around", "rest"], ["size"], axis=0))

    with pytest.raises(ModelError):
        import_weights(locate(saved(like_tf2onnx(weights(SMALL), change=change), tmp_path / "a.onnx")))


def test_many_outputs_are_refused(tmp_path):
    model = like_tf2onnx(weights(SMALL))
    model.graph.output.extend([model.graph.output[0]] * 200)
    with pytest.raises(ModelError, match="has 201 outputs; give a graph with one"):
        import_weights(locate(saved(model, tmp_path / "a.onnx")))


def test_a_window_that_is_told_has_to_be_the_graphs(tmp_path):
    path = saved(like_tf2onnx(weights(SMALL)), tmp_path / "a.onnx")
    assert import_weights(locate(path), Metadata(RAW, window=64)).architecture == SMALL
    with pytest.raises(UsageError, match="window is 64"):
        import_weights(locate(path), Metadata(RAW, window=224))
