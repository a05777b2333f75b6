"""LPIPS as ONNX, in onnxruntime and in ONNX's own reference, beside the loss on torch."""

from __future__ import annotations

import json
import math

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torchvision_peer import networks

from verydeep import perceptual
from verydeep.cli import main
from verydeep.errors import VerydeepError
from verydeep.exports.check import compare_distances
from verydeep.exports.lpips_graph import lpips_graph
from verydeep.images.color import Preprocessing
from verydeep.run_folder import ModelConfig, TrainedOn, write_model

IMAGENET = Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Preprocessing((123.68, 116.779, 103.939), (2.0, 3.0, 4.0), "BGR")


@pytest.fixture(scope="module")
def network():
    return networks("D", batch_norm=False, width=1.0, with_fc=False)[1]


@pytest.fixture(scope="module", params=[IMAGENET, BGR], ids=["rgb", "bgr"])
def model(request, network, tmp_path_factory):
    """A run folder, and the same network with its preprocessing."""
    folder = tmp_path_factory.mktemp("models") / "vgg16"
    config = ModelConfig(network.architecture, request.param, (), TrainedOn((256, 256)))
    write_model(folder, config, {name: tensor.numpy() for name, tensor in network.state_dict().items()})
    return folder, config


@pytest.mark.parametrize("pixels", [False, True])
def test_it_answers_as_the_loss_does(pixels, model, network, photographs, tmp_path, capsys):
    folder, config = model
    out = tmp_path / "lpips.onnx"
    main(["export", str(folder), "--metric", "lpips", "--out", str(out), *["--pixels"] * pixels, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["differences"]) == 3
    assert max(one["distance"] for one in answer["differences"]) < 1e-5
    onnx.checker.check_model(out, full_check=True)
    properties = {one.key: one.value for one in onnx.load(out).metadata_props}
    assert "Copyright (c) 2018, Richard Zhang" in properties["licence_of_linear_weights"]
    cuts = [np.stack([one[top : top + 41, 50:103] for one in photographs]) for top in (60, 90)]
    images = [torch.from_numpy(cut).permute(0, 3, 1, 2).float() / 255 for cut in cuts]
    options = {"preprocessing": config.preprocessing, "range": (0, 1), "reduction": "none", "engine": "torch"}
    wanted = perceptual.LPIPS(network, **options)(*images)
    maps = perceptual.LPIPS(network, spatial=True, **options)(*images)
    given = cuts if pixels else [image.numpy() for image in images]
    import onnxruntime

    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    inputs = dict(zip(("first", "second"), given, strict=True))
    distances, drawn = session.run(["distance", "map"], inputs)
    np.testing.assert_allclose(distances, wanted, atol=1e-5)
    np.testing.assert_allclose(drawn, maps, atol=1e-5)
    same, _ = session.run(["distance", "map"], inputs | {"second": given[0]})
    assert same.tolist() == [0, 0]


def test_another_reader_understands_it(model, network):
    _, config = model
    tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    reference = ReferenceEvaluator(lpips_graph(config, tensors))
    images = torch.rand(2, 1, 3, 16, 17, generator=torch.Generator().manual_seed(0))
    found, drawn = reference.run(None, {"first": images[0].numpy(), "second": images[1].numpy()})
    options = {"preprocessing": config.preprocessing, "range": (0, 1), "reduction": "none", "engine": "torch"}
    np.testing.assert_allclose(found, perceptual.LPIPS(network, **options)(*images), atol=1e-5)
    assert drawn.shape == (1, 1, 16, 17)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cifar10", "--metric", "lpips", "--out", "x.onnx"], "at full width"),
        (["cifar10", "--metric", "lpips", "--to", "openvino", "--out", "x.xml"], "--metric is written as ONNX"),
        (["cifar10", "--metric", "style", "--out", "x.onnx"], "must be one of lpips"),
    ],
)
def test_what_cannot_be_written_is_one_sentence(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["export", *words])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and not list(tmp_path.glob("x.*"))


def test_a_graph_whose_answers_differ_is_not_written(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("verydeep.exports.lpips_graph.LPIPS_EPSILON", 0.5)
    with pytest.raises(SystemExit):
        main(["export", str(model[0]), "--metric", "lpips", "--out", str(tmp_path / "x.onnx")])
    assert "differ from LPIPS by" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("wrong", ["distances", "maps"])
@pytest.mark.parametrize("value", [1.0, math.nan])
def test_another_answer_at_one_pixel_or_none_at_all_is_refused(wrong, value):
    class Metric:
        def pairs(self, first, second, *, maps):
            return np.zeros(len(first), np.float32), [np.zeros(image.shape[:2], np.float32) for image in first]

    def run(first, second):
        distances, maps = np.zeros(2, np.float32), np.zeros((2, 1, *first.shape[2:]), np.float32)
        answers = {"distances": distances, "maps": maps}
        answers[wrong].flat[-1] = value
        return distances, maps

    with pytest.raises(VerydeepError, match=r"answers in other for images of 64x64 differ from LPIPS"):
        compare_distances(Metric(), run, "other")
