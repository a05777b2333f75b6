"""Local response normalisation as a file has it: read, kept and computed everywhere, or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import close
from formats import ALEXNETS, caffe_message, write_caffe, write_matconvnet
from torch import nn

import verydeep
from verydeep.api.features import features
from verydeep.api.inspect import inspect
from verydeep.benchmark.reference import class_scores
from verydeep.cli import main
from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import ModelError, UsageError
from verydeep.inference import open_engine
from verydeep.run_folder import ModelConfig, TrainedOn, read_config, write_model
from verydeep.weights.importing import import_weights
from verydeep.weights.published import PREPROCESSING
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")
SMALL = Architecture("A-LRN", 5, 0.1, 32)
TOLD = ("--preprocessing", "oxford", "--class-names", "numbers")


def weights(scale: float = 1.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    tensors = {}
    for name, shape in SMALL.tensors.items():
        deviation = scale * (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        tensors[name] = random.normal(0, deviation, shape).astype(np.float32)
    return tensors


def in_float64(tensors: dict[str, np.ndarray], pixels: np.ndarray, norm) -> np.ndarray:
    """The network in float64; `norm` takes the first layer's map as (channels, places)."""
    mean = np.array(PREPROCESSING["oxford"].mean)
    scores = []
    for image in pixels:
        x = torch.from_numpy((image - mean)[..., ::-1].copy()).permute(2, 0, 1)[None]
        for layer in SMALL.layers:
            if layer.name.startswith("pool"):
                x = nn.functional.max_pool2d(x, 2)
                continue
            parts = (tensors[f"{layer.name}.{part}"] for part in ("weight", "bias"))
            weight, bias = (torch.from_numpy(part).double() for part in parts)
            x = nn.functional.conv2d(x, weight, bias, padding=1 if layer.name.startswith("conv") else 0)
            x = x if layer.name == "fc8" else x.relu()
            if layer.name == "conv1_1":
                x = torch.from_numpy(norm(x[0].flatten(1).numpy())).view(x.shape)
        scores.append(x.flatten().numpy())
    return np.stack(scores)


def caffes(size: int, alpha: float, beta: float, k: float):
    """Caffe's formula, channel by channel."""

    def norm(maps: np.ndarray) -> np.ndarray:
        normalized = np.empty_like(maps)
        for channel, values in enumerate(maps):
            near = maps[max(0, channel - (size - 1) // 2) : channel + (size - 1) // 2 + 1]
            normalized[channel] = values / (k + alpha / size * (near**2).sum(0)) ** beta
        return normalized

    return norm


CAFFES = {
    "its defaults": ({}, (5, 1.0, 0.75, 1.0)),
    "CaffeNet's": ({"local_size": 5, "alpha": 1e-4, "beta": 0.75}, (5, 1e-4, 0.75, 1.0)),
    "GoogLeNet's size": ({"local_size": 3, "alpha": 0.02, "beta": 0.5, "k": 3.0}, (3, 0.02, 0.5, 3.0)),
    "the widest": ({"local_size": 15, "alpha": 0.5, "beta": 0.75, "k": 1.0}, (15, 0.5, 0.75, 1.0)),
    "AlexNet's": (ALEXNETS, (5, 5e-4, 0.75, 2.0)),
}


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("name", CAFFES)
def test_caffes_parameters_are_computed_by_every_engine(name, old, tmp_path, crops):
    pytest.importorskip("onnxruntime")
    fields, numbers = CAFFES[name]
    tensors, pixels, run = weights(), crops[:, :32, :32], tmp_path / "run"
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, tensors, "net", old=old, lrn=fields)
    main(["convert", str(path), str(run), *TOLD])
    wanted = in_float64(tensors, pixels, caffes(*numbers))
    alexnets = in_float64(tensors, pixels, caffes(5, 5e-4, 0.75, 2.0))
    assert (np.abs(wanted - alexnets).max() > 1e-3 * np.abs(wanted).max()) == (fields is not ALEXNETS)
    for engine in ("torch", "native"):
        assert close(open_engine(run, device="cpu", engine=engine).score_maps(pixels)[:, :, 0, 0], wanted), engine
    config = read_config(run)
    reference = class_scores(config.architecture, tensors, config.preprocessing, pixels)
    np.testing.assert_allclose(reference, wanted, rtol=1e-5, atol=1e-9)
    main(["export", str(run), "--out", str(tmp_path / "a.onnx")])
    assert close(of_onnx(tmp_path / "a.onnx", pixels), wanted)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        assert close(features(run, ["fc8"], range=(0, 255))(batch)["fc8"].numpy()[:, :, 0, 0], wanted)
    assert close(features(run, ["fc8"], engine="native")(pixels)["fc8"][:, :, 0, 0], wanted)


def of_onnx(path, pixels):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    mean = np.array(PREPROCESSING["oxford"].mean)
    x = (pixels - mean)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return session.run([session.get_outputs()[0].name], {session.get_inputs()[0].name: x})[0][:, :, 0, 0]


@pytest.mark.parametrize("param", [(5, 2, 1e-4, 0.75), (5, 1, 1e-4, 0.75), (3, 1.5, 0.01, 0.6)])
def test_matconvnets_parameters(param, tmp_path, crops):
    """Its alpha is not divided."""
    tensors, pixels, run = weights(), crops[:, :32, :32], tmp_path / "run"
    path = write_matconvnet(tmp_path / "a.mat", SMALL, tensors, param=param)
    main(["convert", str(path), str(run), *TOLD])
    size, k, alpha, beta = param
    wanted = in_float64(tensors, pixels, caffes(size, alpha * size, beta, k))
    assert close(open_engine(run, device="cpu", engine="native").score_maps(pixels)[:, :, 0, 0], wanted)


def test_what_is_not_alexnets_is_told(tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", lrn={})
    assert any(
        "it has LRN over 5 channels with alpha 0.2, beta 0.75, k 1, not" in note
        for note in inspect(path).to_dict()["notes"]
    )


def config(**fields: float) -> ModelConfig:
    architecture = Architecture("A-LRN", 2, 0.1, 32, local_response_norm=LocalResponseNorm(**fields))
    return ModelConfig(architecture, PREPROCESSING["oxford"], ("a", "b"), TrainedOn((32, 32)))


def test_a_configuration_on_disk_has_it_where_it_is_not_alexnets(tmp_path):
    assert "local_response_norm" not in config().to_json()["architecture"]
    other = config(size=3, alpha=0.25, beta=0.5, k=1)
    assert json.loads(json.dumps(other.to_json()))["architecture"]["local_response_norm"]["size"] == 3
    for each in (config(), other):
        assert ModelConfig.from_json(json.loads(json.dumps(each.to_json())), tmp_path) == each


@pytest.mark.parametrize(
    "fields",
    [{"size": 4}, {"size": "5"}, {"k": 0}, {"alpha": -1}, {"beta": True}, {"size": 99}, {"more": 1}],
)
def test_a_strange_one_on_disk_is_an_error(fields, tmp_path):
    card = config().to_json()
    card["architecture"]["local_response_norm"] = fields
    with pytest.raises(ModelError, match="not a model's config"):
        ModelConfig.from_json(card, tmp_path / "config.json")


REFUSED = {
    "within channels": {"lrn": {"norm_region": 1}},
    "even": {"lrn": {"local_size": 4}},
    "nothing to divide by": {"lrn": {"k": 0.0}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_caffes_that_cannot_be_computed_are_refused(name, tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", **REFUSED[name])
    with pytest.raises(ModelError, match=r"a\.caffemodel has (the )?LRN") as refused:
        import_weights(locate(path))
    assert "LocalResponseNorm(" not in str(refused.value)


@pytest.mark.parametrize("at", [2, 3, 4, 9])
@pytest.mark.parametrize("old", [True, False])
def test_elsewhere_it_is_another_network(at, old, tmp_path):
    """Before the ReLU (2), behind the pooling as in CaffeNet (4), or later."""
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", old=old)
    network = caffe_message()()
    network.ParseFromString(path.read_bytes())
    layers = network.layers if old else network.layer
    order = list(layers)
    (number,) = [number for number, layer in enumerate(order) if layer.name.startswith("LRN")]
    order.insert(at - 1 if at <= number else at, order.pop(number))
    rebuilt = caffe_message()()
    (rebuilt.layers if old else rebuilt.layer).extend(order)
    path.write_bytes(rebuilt.SerializeToString())
    if [layer.name for layer in order[:3]] == ["conv1_1", "ReLU conv1_1", "LRN conv1_1"]:
        assert import_weights(locate(path)).architecture == SMALL
        return
    with pytest.raises(ModelError, match=r"\(LRN conv1_1\)"):
        import_weights(locate(path))


def test_training_does_not_go_on_with_another(tmp_path):
    other = config(k=1)
    tensors = {name: np.ones(shape, np.float32) for name, shape in other.architecture.tensors.items()}
    write_model(tmp_path / "run", other, tensors)
    with pytest.raises(UsageError, match=r"`start_from` .* has LRN over 5 channels with alpha"):
        verydeep.train("digits", tmp_path / "new", start_from=tmp_path / "run")
    assert not (tmp_path / "new").exists()


SETTINGS = {
    "average pooling": ({"pool5": {"pool": 1}}, {"pool5": {"method": "avg"}}),
    "global pooling": ({"pool5": {"global_pooling": True}}, None),
    "overlapping pooling": ({"pool2": {"kernel_size": 3}}, {"pool2": {"pool": [3.0, 3.0]}}),
    "a stride": ({"conv1_1": {"stride": [2]}}, {"conv1_1": {"stride": [2.0, 2.0]}}),
    "no padding": ({"conv3_1": {"pad": [0]}}, {"conv3_1": {"pad": [0.0, 0.0, 0.0, 0.0]}}),
    "dilation": ({"conv5_1": {"dilation": [2]}}, {"conv5_1": {"dilate": 2.0}}),
    "a leak": ({"ReLU conv1_1": {"negative_slope": 0.1}}, {"relu1_1": {"leak": 0.1}}),
    "another layer": ({"ReLU conv2_1": {"type": 19}}, {"relu2_1": {"type": "sigmoid"}}),
    "BNLL": ({"ReLU conv1_1": {"type": 2}}, {"relu1_1": {"type": "bnorm"}}),
    "a type that nobody knows": ({"ReLU conv5_2": {"type": 77}}, {"relu5_2": {"type": "gelu"}}),
    "no type": ({"ReLU fc6": {"type": 0}}, {"relu6": {"type": ""}}),
    "an FC layer over another axis": ({"fc7": {"axis": 2}}, None),
    "turned weights": ({"fc7": {"transpose": True}}, None),
    "padding before the map": (None, {"pool1": {"pad": [1.0, 0.0, 1.0, 0.0]}}),
    "uneven padding": ({"conv2_1": {"pad": [1, 0]}}, {"conv2_1": {"pad": [1.0, 1.0, 1.0, 0.0]}}),
    "padding of fc6": (None, {"fc6": {"pad": [1.0, 1.0, 1.0, 1.0]}}),
}


@pytest.mark.parametrize("library", [0, 1], ids=["caffe", "matconvnet"])
@pytest.mark.parametrize("name", SETTINGS)
def test_layers_with_other_settings_than_vggs_are_refused(name, library, tmp_path):
    """The same tensors, and another network: it would give wrong scores."""
    settings = SETTINGS[name][library]
    if settings is None:
        pytest.skip("the library has no such layer")
    if library == 0:
        path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", settings=settings)
    else:
        path = write_matconvnet(tmp_path / "a.mat", SMALL, weights(), settings=settings)
    (layer,) = settings
    with pytest.raises(ModelError, match=rf"has .*\({layer}\)"):
        import_weights(locate(path))


NO_RELU = "where (the networks of Table 1 have a ReLU|a VGG network has three FC)"


@pytest.mark.parametrize("kind", ["", "Mish", "PReLU", "SoftmaxWithLoss", "Dropout"])
@pytest.mark.parametrize("at", ["conv1_1", "conv4_2", "fc7"])
def test_another_activation_in_caffes_new_form_is_another_network(kind, at, tmp_path):
    """A loss and dropout stand for any layer that does nothing: no ReLU is left there."""
    settings = {f"ReLU {at}": {"type": kind}}
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", old=False, settings=settings)
    with pytest.raises(ModelError, match=NO_RELU):
        import_weights(locate(path))


@pytest.mark.parametrize("kind", ["", "softmax", "dropout", "loss", "normalize", "pool", "tanh", "ReLU"])
@pytest.mark.parametrize("at", ["relu1_1", "relu5_2", "relu7"])
def test_another_activation_of_matconvnets_is_another_network(kind, at, tmp_path):
    """A layer of a kind that VGG has, too, where it has a ReLU."""
    settings = {at: {"type": kind, "param": [5.0, 2.0, 1e-4, 0.75], "pool": 2.0, "stride": 2.0}}
    path = write_matconvnet(tmp_path / "a.mat", SMALL, weights(), settings=settings)
    with pytest.raises(ModelError, match=NO_RELU):
        import_weights(locate(path))


@pytest.mark.parametrize("old", [True, False])
def test_a_caffe_network_without_activations_is_another_one(old, tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", old=old, without=["ReLU", "LRN"])
    with pytest.raises(ModelError, match=r"behind Convolution \(conv1_1\), where .* have a ReLU"):
        import_weights(locate(path))


@pytest.mark.parametrize("old", [True, False])
def test_a_caffe_layer_on_another_than_the_one_before_is_another_network(old, tmp_path):
    """The ReLU is there, and nothing takes what it gives."""
    settings = {"ReLU conv2_1": {"top": "unused"}}
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", old=old, settings=settings)
    network = caffe_message()()
    network.ParseFromString(path.read_bytes())
    (pooling,) = (layer for layer in (network.layers if old else network.layer) if layer.name == "pool2")
    assert list(pooling.bottom) == ["unused"]
    assert import_weights(locate(path)).architecture == SMALL
    pooling.bottom[:] = ["conv2_1"]
    path.write_bytes(network.SerializeToString())
    with pytest.raises(ModelError, match=r"has Pooling \(pool2\) on another layer than the one before it"):
        import_weights(locate(path))


def test_two_caffe_layers_of_one_name_are_told(tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net")
    network = caffe_message()()
    network.ParseFromString(path.read_bytes())
    for layer in network.layers:
        if layer.name.startswith("ReLU"):
            layer.name = "relu"
    path.write_bytes(network.SerializeToString())
    assert import_weights(locate(path)).architecture == SMALL
    for layer in network.layers:
        layer.name = layer.name.replace("conv5_2", "conv5_1")
    path.write_bytes(network.SerializeToString())
    with pytest.raises(ModelError, match="two layers with weights are called conv5_1"):
        import_weights(locate(path))


def test_two_matconvnet_layers_of_one_name_keep_their_weights(tmp_path):
    """Names mean nothing there."""
    tensors, settings = weights(), {name: {"name": "conv"} for name in ("conv5_1", "conv5_2", "conv4_2")}
    found = import_weights(locate(write_matconvnet(tmp_path / "a.mat", SMALL, tensors, settings=settings)))
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in tensors.items())


STRANGE_NUMBERS = {
    "an endless pad": {"settings": {"conv1_1": {"pad": np.inf}}},
    "a pad of nothing": {"settings": {"conv1_1": {"pad": np.array([])}}},
    "a pad in words": {"settings": {"conv1_1": {"pad": "same"}}},
    "a stride that is none": {"settings": {"pool1": {"stride": np.nan}}},
    "an endless LRN": {"param": (np.inf, 2, 1e-4, 0.75)},
    "an LRN without numbers": {"param": (5, np.nan, 1e-4, 0.75)},
}


@pytest.mark.parametrize("what", STRANGE_NUMBERS)
def test_strange_numbers_of_matconvnets_are_refused(what, tmp_path):
    with pytest.raises(ModelError, match=r"a\.mat has "):
        import_weights(locate(write_matconvnet(tmp_path / "a.mat", SMALL, weights(), **STRANGE_NUMBERS[what])))


def test_what_caffe_trains_with_is_no_part_of_the_network(tmp_path):
    """Data, dropout, a loss, and the copies that Caffe itself puts in for two layers on one."""
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", old=False)
    network, whole = caffe_message()(), caffe_message()()
    network.ParseFromString(path.read_bytes())
    whole.layer.add(name="data", type="Data", top=["data", "label"])
    for layer in network.layer:
        whole.layer.add().CopyFrom(layer)
        if layer.name in ("ReLU fc6", "ReLU fc7"):
            whole.layer.add(name="drop", type="Dropout", bottom=layer.top, top=layer.top)
    whole.layer.add(name="split", type="Split", bottom=["fc8"], top=["fc8_0", "fc8_1"])
    whole.layer.add(name="loss", type="SoftmaxWithLoss", bottom=["fc8_0", "label"], top=["loss"])
    whole.layer.add(name="right", type="Accuracy", bottom=["fc8_1", "label"], top=["right"])
    path.write_bytes(whole.SerializeToString())
    assert import_weights(locate(path)).architecture == SMALL


def test_matconvnets_padding_for_caffes_rounding_is_nothing_to_even_maps(tmp_path):
    settings = {f"pool{stage}": {"pad": [0.0, 1.0, 0.0, 1.0]} for stage in range(1, 6)}
    path = write_matconvnet(tmp_path / "a.mat", SMALL, weights(), settings=settings)
    assert import_weights(locate(path)).architecture == SMALL


def test_another_pooling_of_caffes_is_named(tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net", settings={"pool2": {"pool": 1}})
    with pytest.raises(ModelError, match=r"has Pooling \(pool2\) with method of AVE, where VGG's is MAX"):
        import_weights(locate(path))


def test_poolings_elsewhere_are_another_network(tmp_path):
    path = write_caffe(tmp_path / "a.caffemodel", SMALL, weights(), "net")
    network = caffe_message()()
    network.ParseFromString(path.read_bytes())
    for number, layer in enumerate(network.layers):
        if layer.name == "pool3":
            network.layers[number + 1].bottom[:] = layer.bottom
            del network.layers[number]
            break
    path.write_bytes(network.SerializeToString())
    with pytest.raises(
        ModelError, match=r"has Convolution \(conv4_1\).* where the networks of Table 1 have a 2x2 max pooling"
    ):
        import_weights(locate(path))
