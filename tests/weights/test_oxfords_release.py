"""Oxford's networks in Caffe's and MatConvNet's files, and ONNX graphs: made here, in their formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import close, gives, scores
from formats import caffe_message, prototxt, write_caffe, write_matconvnet
from google.protobuf import message_factory
from hypothesis import given
from hypothesis import strategies as st

from verydeep.api.inspect import inspect
from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.images import imagenet
from verydeep.run_folder import TrainedOn
from verydeep.weights.files import read
from verydeep.weights.files.protobuf import Message, WireError
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import open_source
from verydeep.weights.published import OXFORD_MEAN, PREPROCESSING
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")


def weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    tensors = {}
    for name, shape in architecture.tensors.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        tensors[name] = random.normal(0, deviation, shape).astype(np.float32)
    return tensors


OXFORDS = Architecture("D", 1000, 1 / 32)
FORMS = {
    "Oxford's": {},
    "not packed": {"packed": False},
    "new": {"old": False},
    "new, in float64": {"old": False, "double": True},
    "recast for dense testing": {"old": False, "recast": True},
}


@pytest.mark.parametrize("form", FORMS)
def test_caffe(form, tmp_path):
    tensors = weights(OXFORDS)
    path = write_caffe(tmp_path / "a.caffemodel", OXFORDS, tensors, **FORMS[form])
    config, ours = open_source(path)
    assert config.architecture == OXFORDS
    assert ours.keys() == tensors.keys()
    assert all(np.array_equal(ours[name], tensors[name]) for name in tensors)
    assert config.preprocessing == PREPROCESSING["oxford"]
    assert config.class_names == imagenet.class_names()
    assert config.trained_on == TrainedOn((256, 512))
    assert config.provenance["licence"] == "CC-BY-4.0"


def test_a_fine_tuned_caffe_network_is_not_taken_for_oxfords(tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", OXFORDS, weights(OXFORDS), last="fc8_flickr")
    assert import_weights(locate(path)).metadata == Metadata()
    with pytest.raises(ModelError, match="does not say how images are preprocessed"):
        open_source(path)


def test_caffe_tells_lrn(tmp_path):
    architecture = Architecture("A-LRN", 4, 0.05, 64)
    path = write_caffe(tmp_path / "a.caffemodel", architecture, weights(architecture), "net")
    found = import_weights(locate(path))
    assert found.architecture == architecture
    assert not found.notes


def test_opencv_gives_our_scores(tmp_path, crops):
    """An independent reader of Caffe's files; where it is installed."""
    cv2 = pytest.importorskip("cv2", reason="an independent reader, not one of the peers")
    architecture = Architecture("D", 1000, 1 / 8)
    path = write_caffe(tmp_path / "a.caffemodel", architecture, weights(architecture), old=False)
    (tmp_path / "a.prototxt").write_text(prototxt(architecture))
    network = cv2.dnn.readNetFromCaffe(str(tmp_path / "a.prototxt"), str(path))
    theirs = []
    for crop in crops:
        network.setInput(cv2.dnn.blobFromImage(crop[:, :, ::-1], 1.0, (224, 224), OXFORD_MEAN[::-1]))
        theirs.append(network.forward()[0])
    assert gives(path, crops, np.stack(theirs))


@pytest.mark.parametrize(("old", "compressed"), [(False, False), (False, True), (True, False)])
def test_matconvnet(old, compressed, tmp_path, crops):
    tensors = weights(OXFORDS)
    names = [f"class {number}, a kind of thing" for number in range(1000)]
    mean = np.array(OXFORD_MEAN).reshape(1, 1, 3)
    path = write_matconvnet(tmp_path / "a.mat", OXFORDS, tensors, names, mean, old=old, compressed=compressed)
    config, ours = open_source(path)
    assert config.architecture == OXFORDS
    assert all(np.array_equal(ours[name], tensors[name]) for name in tensors)
    assert config.preprocessing == PREPROCESSING["matconvnet"]
    assert config.class_names == tuple(names)
    caffe = dict(tensors) | {"conv1_1.weight": np.ascontiguousarray(tensors["conv1_1.weight"][:, ::-1])}
    twin = write_caffe(tmp_path / "a.caffemodel", OXFORDS, caffe)
    assert close(scores(path, crops, "native"), scores(twin, crops, "native"))


def test_matconvnets_wordnet_numbers_become_names(tmp_path):
    path = write_matconvnet(
        tmp_path / "a.mat",
        OXFORDS,
        weights(OXFORDS),
        ["x"] * 1000,
        np.array(OXFORD_MEAN, np.float32),
        wordnet_numbers=imagenet.wordnet_numbers(),
    )
    assert open_source(path)[0].class_names == imagenet.class_names()


@pytest.mark.parametrize("mean", [None, np.random.default_rng(0).normal(120, 9, (224, 224, 3))])
def test_a_mean_that_is_no_color_is_asked_for(mean, tmp_path):
    architecture = Architecture("A", 3, 0.05, 32)
    path = write_matconvnet(tmp_path / "a.mat", architecture, weights(architecture), ["a", "b", "c"], mean)
    with pytest.raises(ModelError, match="does not say how images are preprocessed"):
        open_source(path)


@pytest.mark.parametrize("configuration", ["B", "C", "E"])
@pytest.mark.parametrize("classes", [0, 3])
def test_matconvnets_fc_layers_are_told_from_convolutions(configuration, classes, tmp_path):
    architecture = Architecture(configuration, classes, 0.05, 96 if classes else 224)
    path = write_matconvnet(tmp_path / "a.mat", architecture, weights(architecture))
    assert import_weights(locate(path)).architecture == architecture


@given(
    configuration=st.sampled_from(["A", "B", "C", "D", "E"]),
    width=st.sampled_from([0.03, 0.05, 0.1, 1 / 12, 1 / 3, 0.25, 1.0, 0.7071]),
    num_classes=st.integers(1, 1100),
    window=st.integers(1, 8),
    has_head=st.booleans(),
)
def test_every_architecture_is_recognized_from_its_shapes(configuration, width, num_classes, window, has_head):
    from verydeep.weights.recognize import architecture_of

    architecture = Architecture(configuration, num_classes if has_head else 0, width, 32 * window)
    shapes = [shape for name, shape in architecture.tensors.items() if name.endswith("weight")]
    convolutions = shapes[:-3] if has_head else shapes
    found = architecture_of(convolutions, shapes[-3:] if has_head else [])
    assert found.tensors == architecture.tensors
    assert found.configuration == configuration
    if width in (0.05, 0.1, 0.25, 1.0):
        assert found.width == width


LIGHT = Path("backend") / "test" / "data" / "light" / "light_vgg19.onnx"


def test_onnxs_light_vgg_19(capsys):
    import onnx

    path = Path(onnx.__file__).parent / LIGHT
    main(["inspect", str(path), "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert (facts["configuration"], facts["num_classes"], facts["width"]) == ("E", 1000, 1)
    assert facts["parameters"] == 143_667_240
    assert any("ConstantOfShape" in note for note in facts["notes"])
    graph = onnx.load(path).graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {
        node.output[0]: tensors[node.input[0]].tolist() for node in graph.node if node.op_type == "ConstantOfShape"
    }
    theirs = [shapes[node.input[1]] for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert facts["shapes"] == theirs
    with pytest.raises(ModelError, match="no trained weights"):
        open_source(path)
    with pytest.raises(ModelError, match=r"strides of \[4, 4\], where VGG's is 1"):
        inspect(path.with_name("light_bvlc_alexnet.onnx"))


def test_the_reader_of_messages_is_googles(tmp_path):
    """Whatever Google's implementation writes, this reads: numbers, texts, nested and packed."""
    network = caffe_message()(name="näme")
    blob = network.layer.add(name="a", type="b").blobs.add(num=-3, channels=1 << 30)
    blob.data.extend([1.5, -2.0, float("inf")])
    blob.shape.dim.extend([1, 1 << 40, 300])
    message = Message(memoryview(network.SerializeToString()))
    assert message.text(1) == "näme"
    (layer,) = message.messages(100)
    (read,) = layer.messages(7)
    assert (layer.text(1), layer.text(2)) == ("a", "b")
    assert read.integer(1) == (1 << 64) - 3
    assert read.integer(2) == 1 << 30
    assert read.floats(5, "<f4").tolist() == [1.5, -2.0, float("inf")]
    assert next(iter(read.messages(7))).integers(1) == [1, 1 << 40, 300]


@given(
    st.binary(max_size=60) | st.lists(st.sampled_from([b"\x08\x96\x01", b"\x12\x02ab", b"\x1d1234"])).map(b"".join)
)
def test_what_is_read_as_a_message_is_one(content):
    """Google's implementation reads all that this reads, as fields that it does not know."""
    try:
        Message(memoryview(content))
    except WireError:
        return
    empty = caffe_message().DESCRIPTOR.file.pool.FindMessageTypeByName("caffeTrue.Empty")
    message_factory.GetMessageClass(empty)().MergeFromString(content)


@pytest.mark.parametrize("name", ["a.caffemodel", "a.onnx"])
@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x00"])
def test_what_is_no_message_is_refused(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelError):
        read(path)
