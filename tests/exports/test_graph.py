"""Exported graphs against torch's network, which had no part in them, on real photographs and in other engines."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from verydeep.cli import main
from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import UsageError, VerydeepError
from verydeep.exports import graph
from verydeep.exports.check import blocks
from verydeep.exports.runtimes import onnxruntime_with, write_onnx
from verydeep.images.color import Preprocessing
from verydeep.inference import engine_of
from verydeep.network.initialize import initialize
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig, TrainedOn, read_model, write_model

BGR = Preprocessing((123.68, 116.779, 103.939), (58.395, 57.12, 57.375), "BGR")
DIVIDED = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


def model(configuration, batch_norm=False, preprocessing=DIVIDED, **options):
    """A configuration, its weights, and torch's network with them."""
    architecture = Architecture(configuration, 5, 0.1, 64, batch_norm, **options)
    network = VGG(architecture).eval()
    initialize(network, "he", seed=1)
    random = torch.Generator().manual_seed(2)
    for name, tensor in network.state_dict().items():  # so that no normalisation is the identity
        if name.startswith("bn") and tensor.ndim:
            tensor.copy_(torch.rand(tensor.shape, generator=random) + 0.5)
    names = tuple(f"class {number} ü" for number in range(5))
    config = ModelConfig(architecture, preprocessing, names, TrainedOn((73, 73)), {"licence": "CC-BY-4.0"})
    return config, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, network


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    config, tensors, _ = model("A")
    path = tmp_path_factory.mktemp("run") / "A"
    write_model(path, config, tensors)
    return path


def answers_of_torch(config, network, pixels):
    preprocessing = config.preprocessing
    entry = Preprocess(preprocessing)
    with torch.inference_mode():
        x = entry(torch.from_numpy(pixels))
        score_map = network.score_map(x)
        return score_map.numpy(), network(x).softmax(1).numpy()


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_every_configuration_answers_as_torch_does(configuration, batch_norm, photographs, tmp_path):
    config, tensors, network = model(configuration, batch_norm, BGR if configuration == "D" else DIVIDED)
    for pixels in (False, True):
        path = tmp_path / f"{pixels}.onnx"
        differences = write_onnx(path, engine_of(config, tensors), tensors, pixels=pixels)
        assert len({(one.height, one.width) for one in differences}) == 3
        assert max(max(one.score_map, one.posterior) for one in differences) < 1e-5
        onnx.checker.check_model(path, full_check=True)
        run = onnxruntime_with(str(path))
        for height, width, count in ((64, 64, 3), (200, 101, 1), (97, 320, 2)):
            shown = np.stack([photographs[0][:height, :width], photographs[1][:height, :width]] * 2)[:count]
            score_map, posterior = run(shown if pixels else config.preprocessing.apply(shown))
            expected_map, expected = answers_of_torch(config, network, shown)
            np.testing.assert_allclose(score_map, expected_map, atol=1e-5 * np.abs(expected_map).max(), rtol=0)
            np.testing.assert_allclose(posterior, expected, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_onnx_own_reference_agrees(batch_norm):
    """Not for A-LRN: the reference normalises as many channels as there are images (onnx 1.23)."""
    config, tensors, network = model("C", batch_norm, BGR)
    reference = ReferenceEvaluator(graph.graph(config, tensors, pixels=True))
    shown = blocks(64, 70, count=1)
    for ours, theirs in zip(
        reference.run(["score_map", "posterior"], {"pixels": shown}),
        answers_of_torch(config, network, shown),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


def test_openvino_agrees(run_folder, tmp_path, capsys):
    openvino = pytest.importorskip("openvino")
    main(["export", str(run_folder), "--out", str(tmp_path / "net.xml"), "--to", "openvino", "--pixels"])
    assert capsys.readouterr().out.count("OpenVINO's score map differs by ") == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.bin", "net.xml"]
    config, tensors = read_model(run_folder)
    network = VGG(config.architecture).eval()
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    compiled = openvino.Core().compile_model(tmp_path / "net.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    shown = blocks(80, 200, count=3)
    expected_map, expected = answers_of_torch(config, network, shown)
    answer = compiled(shown)
    np.testing.assert_allclose(answer["score_map"], expected_map, atol=1e-5 * np.abs(expected_map).max(), rtol=0)
    np.testing.assert_allclose(answer["posterior"], expected, atol=1e-5)
    told = openvino.Core().read_model(tmp_path / "net.xml").get_rt_info(["verydeep", "configuration"])
    assert told.astype(str) == "A"


def test_names_and_metadata(tmp_path, run_folder):
    main(["export", str(run_folder), "--out", str(tmp_path / "a.onnx")])
    exported = onnx.load(tmp_path / "a.onnx")
    config, tensors = read_model(run_folder)
    assert {weight.name for weight in exported.graph.initializer} == set(config.architecture.tensors)
    for weight in exported.graph.initializer:
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), tensors[weight.name])
    names = [node.name for node in exported.graph.node]
    assert names[:3] == ["conv1_1", "relu1_1", "pool1"]
    assert names[-8:-4] == ["fc6", "relu6", "fc7", "relu7"]
    facts = {entry.key: entry.value for entry in exported.metadata_props}
    assert json.loads(facts["class_names"]) == list(config.class_names)
    assert json.loads(facts["mean"]) == list(config.preprocessing.mean)
    assert (facts["channels"], facts["licence"]) == ("RGB", "CC-BY-4.0")
    assert int(facts["opset"]) == exported.opset_import[0].version
    assert exported.producer_name == "verydeep"
    assert "(pixel - mean) / deviation" in exported.doc_string
    shape = exported.graph.input[0].type.tensor_type.shape
    sizes = [dimension.dim_param or dimension.dim_value for dimension in shape.dim]
    assert sizes == ["batch", 3, "height", "width"]


@pytest.mark.parametrize("pixels", [False, True])
def test_inspect_tells_what_export_wrote(pixels, tmp_path, run_folder, capsys):
    main(["export", str(run_folder), "--out", str(tmp_path / "a.onnx"), *["--pixels"] * pixels])
    capsys.readouterr()
    main(["inspect", str(tmp_path / "a.onnx"), "--json"])
    facts = json.loads(capsys.readouterr().out)
    config = read_model(run_folder)[0]
    assert facts["preprocessing"]["mean"] == list(config.preprocessing.mean)
    assert facts["class_names"] == list(config.class_names)
    assert facts["licence"] == "CC-BY-4.0"
    assert any("itself preprocesses images" in note for note in facts["notes"]) == pixels


@pytest.mark.parametrize(("name", "to"), [("a.onnx", "onnx"), ("a.xml", "openvino"), ("a.pth", "torchvision")])
def test_a_file_that_is_there_is_kept(name, to, tmp_path, run_folder, capsys):
    present = tmp_path / ("a.bin" if to == "openvino" else name)
    present.write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run_folder), "--out", str(tmp_path / name), "--to", to])
    assert ended.value.code == 2
    assert f"{present} exists; choose another name" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_a_graph_that_answers_otherwise_is_not_written(tmp_path):
    config, tensors, _ = model("A")
    engine = engine_of(config, tensors)
    wrong = {**tensors, "conv3_1.bias": tensors["conv3_1.bias"] + 1}
    with pytest.raises(VerydeepError, match=r"in onnxruntime for an image of 64x64 differ .* nothing was"):
        write_onnx(tmp_path / "a.onnx", engine, wrong)
    spoilt = {**tensors, "fc8.bias": tensors["fc8.bias"] * np.float32("nan")}
    with pytest.raises(VerydeepError, match="nothing was written"):
        write_onnx(tmp_path / "a.onnx", engine, spoilt)
    assert list(tmp_path.iterdir()) == []


def test_what_onnx_cannot_hold():
    config, tensors, _ = model("A")
    large = ModelConfig(
        Architecture("E", 5, 2.0, 224), config.preprocessing, config.class_names, config.trained_on
    )
    with pytest.raises(UsageError, match="holds at most 2 GB"):
        graph.graph(large, tensors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.pb"], "net.pb has to end with .onnx for --to onnx"),
        (["net.onnx", "--to", "openvino"], "net.onnx has to end with .xml"),
        (["net.onnx", "--licence", "MIT"], "are of a folder for the Hub; use --to hub"),
        (["net", "--to", "hub", "--pixels"], "--pixels is of onnx and openvino"),
        (["net.txt", "--to", "torchvision"], "its name has to end with .pth, .pt, .safetensors"),
    ],
)
def test_what_does_not_go_together(run_folder, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run_folder), "--out", *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_former_words_of_export_get_one_sentence(run_folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run_folder), "net.onnx", "--pixels"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"verydeep: net.onnx is said by --out: `verydeep export {run_folder} --out net.onnx --pixels`\n"
    )


def test_without_onnxruntime_it_says_what_to_install(run_folder, tmp_path, monkeypatch, capsys):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else found(name, *rest)
    )
    with pytest.raises(SystemExit) as ended:
        main(["export", str(run_folder), "--out", str(tmp_path / "a.onnx")])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "needs onnxruntime, which is not installed; run: pip install 'verydeep[export]'" in told
