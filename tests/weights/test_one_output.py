"""A network with one output answers by a sigmoid: as two classes, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import scores
from formats import write_caffe, write_matconvnet
from peers import NARROWER, keras_network, timm_network, torchvision_network
from torch import nn

from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import PREPROCESSING
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")
ONE = Architecture("A", 1, 1 / 64, 32)


def ours() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in ONE.tensors.items()}


def onnx(path) -> None:
    network = nn.Sequential(*(torchvision_network("A", num_classes=1).children()))
    network[1] = nn.Flatten()
    torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=False)


WRITTEN = {
    "torchvision.pth": lambda path: torch.save(torchvision_network("A", num_classes=1).state_dict(), path),
    "timm.pth": lambda path: torch.save(timm_network("A", num_classes=1).state_dict(), path),
    "keras.weights.h5": lambda path: keras_network("D", num_classes=1).save_weights(path),
    "ours.pth": lambda path: torch.save({name: torch.from_numpy(x) for name, x in ours().items()}, path),
    "a.caffemodel": lambda path: write_caffe(path, ONE, ours(), "net"),
    "a.mat": lambda path: write_matconvnet(path, ONE, ours()),
    "a.onnx": onnx,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_refused_in_every_layout(name, tmp_path):
    WRITTEN[name](tmp_path / name)
    with pytest.raises(ModelError, match=r"has one output, .*one class is always 1.*--features-only"):
        import_weights(locate(tmp_path / name))
    assert import_weights(locate(tmp_path / name), Metadata(features_only=True)).architecture.num_classes == 0


@torch.inference_mode()
def test_with_two_outputs_as_the_message_says_it_is_the_sigmoid(tmp_path, crops):
    network = torchvision_network("A", num_classes=1)
    state = network.state_dict()
    for name in ("classifier.6.weight", "classifier.6.bias"):
        state[name] = torch.cat([torch.zeros_like(state[name]), state[name]])
    torch.save(state, tmp_path / "a.pth")
    told = ["--preprocessing", "amdegroot", "--class-names", "numbers"]
    main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *told])
    images = torch.from_numpy(crops).permute(0, 3, 1, 2) - torch.tensor(PREPROCESSING["amdegroot"].mean).view(
        3, 1, 1
    )
    ours = torch.from_numpy(scores(tmp_path / "run", crops, "native")).softmax(1)[:, 1]
    torch.testing.assert_close(ours, network(images).sigmoid()[:, 0], atol=1e-5, rtol=1e-4)
    assert Architecture("A", 2, 1 / NARROWER) == import_weights(locate(tmp_path / "a.pth")).architecture
