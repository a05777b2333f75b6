"""The size of images that fc6 is for: not assumed where weights do not tell, exact once it is told."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import close
from formats import write_caffe
from hypothesis import given
from hypothesis import strategies as st
from peers import NARROWER, fill, timm_network, torchvision_network
from torch import nn
from torch.nn import functional as F

from verydeep.cli import main
from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.inference import open_engine
from verydeep.weights.importing import import_weights
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import PREPROCESSING
from verydeep.weights.recognize import (
    BATCH_NORM_EPSILON,
    Layer,
    Layers,
    include_pooling,
    norm_with_epsilon,
    window_of,
    with_our_names,
)
from verydeep.weights.source import locate

pytestmark = pytest.mark.usefixtures("read_here")

TOLD = ("--preprocessing", "torchvision", "--class-names", "numbers")


def averaged(side: int) -> nn.Module:
    """Torchvision's network A, whose last map is averaged to `side` x `side` before its classifier."""
    network = torchvision_network("A", num_classes=5)
    network.avgpool = nn.AdaptiveAvgPool2d(side)
    network.classifier[0] = nn.Linear(512 // NARROWER * side**2, 4096 // NARROWER)
    return fill(network)


def theirs(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    mean, deviation = (
        torch.tensor(part).view(3, 1, 1)
        for part in (PREPROCESSING["torchvision"].mean, PREPROCESSING["torchvision"].deviation)
    )
    with torch.inference_mode():
        return network((torch.from_numpy(pixels).permute(0, 3, 1, 2) - mean) / deviation).numpy()


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_a_map_that_may_be_averaged_is_not_taken_for_a_window(side, tmp_path, capsys):
    torch.save(averaged(side).state_dict(), tmp_path / "a.pth")
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *TOLD])
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"takes a map of {side}x{side}: the last map of {32 * side}-pixel images, or an average-pooled" in said
    assert "--window PIXELS" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
    main(["inspect", str(tmp_path / "a.pth"), "--json"])
    assert any("--window" in note for note in json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.parametrize(("side", "window"), [(1, 32), (1, 224), (2, 224), (3, 96), (3, 224), (7, 32), (7, 96)])
def test_with_its_window_the_scores_are_the_same(side, window, tmp_path, crops):
    """The average is part of fc6's weights then; 7 of 32 is torchvision's network on CIFAR's images."""
    network, pixels = averaged(side), crops[:, :window, :window]
    torch.save(network.state_dict(), tmp_path / "a.pth")
    main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *TOLD, "--window", str(window)])
    for engine in ("torch", "native"):
        engine = open_engine(tmp_path / "run", device="cpu", engine=engine)
        assert engine.config.architecture == Architecture("A", 5, 1 / NARROWER, window)
        assert close(engine.score_maps(pixels)[:, :, 0, 0], theirs(network, pixels))


@pytest.mark.parametrize("window", [32, 64, 192])
def test_timm_averages_smaller_maps_too(window, tmp_path, crops):
    network, pixels = timm_network("A"), crops[:, :window, :window]
    torch.save(network.state_dict(), tmp_path / "a.pth")
    main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *TOLD, "--window", str(window)])
    engine = open_engine(tmp_path / "run", device="cpu", engine="native")
    assert close(engine.score_maps(pixels)[:, :, 0, 0], theirs(network, pixels))


@pytest.mark.parametrize("side", [224, 256, 288])
def test_timms_fc6_slides_over_larger_images(side, tmp_path, photographs, capsys):
    network, pixels = timm_network("A"), np.stack([photograph[:side, :side] for photograph in photographs])
    torch.save(network.state_dict(), tmp_path / "a.pth")
    if side > 224:
        with pytest.raises(SystemExit) as ended:
            main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *TOLD, "--window", str(side)])
        assert ended.value.code == 2
        assert f"the network's window is 224 pixels, not {side}" in capsys.readouterr().err
    main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "run"), *TOLD])
    maps = open_engine(tmp_path / "run", device="cpu", engine="native").score_maps(pixels)
    assert close(maps.mean((2, 3)), theirs(network, pixels))


@pytest.mark.parametrize("side", [3, 5])
def test_a_sliding_fc6_of_another_size(side):
    layers = narrow(Architecture("A", 3, 1 / 64, 32 * side), np.zeros((64, 8 * side**2)))
    layers.slides = True
    assert window_of(layers) is None
    assert window_of(layers, 32) == 32
    with pytest.raises(UsageError, match=rf"window is {32 * side} pixels, not 224"):
        window_of(layers, 224)


def test_the_published_size_is_taken(tmp_path):
    torch.save(averaged(7).state_dict(), tmp_path / "a.pth")
    assert import_weights(locate(tmp_path / "a.pth")).architecture.window == 224


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**31))
def test_any_average_becomes_part_of_fc6(side, map_side, seed):
    random = np.random.default_rng(seed)
    maps, weight = random.normal(size=(2, 1, map_side, map_side)), random.normal(size=(64, side**2))
    wanted = F.adaptive_avg_pool2d(torch.from_numpy(maps), side).flatten(1).numpy() @ weight.T
    layers = narrow(Architecture("A", 3, 1 / 512, 32 * side), weight[:8])
    include_pooling(layers, 32 * map_side)
    _, tensors = with_our_names(layers)
    kernels = tensors["fc6.weight"]
    assert kernels.shape == (8, 1, map_side, map_side)
    found = maps.reshape(2, -1) @ kernels.reshape(8, -1).T.astype(float)
    np.testing.assert_allclose(found, wanted[:, :8], atol=1e-5)


def narrow(architecture: Architecture, fc6: np.ndarray) -> Layers:
    random, layers = np.random.default_rng(0), Layers()
    for name, shape in architecture.tensors.items():
        if name.endswith("weight"):
            weight = fc6 if name == "fc6.weight" else random.normal(size=shape)
            to = layers.fully_connected if name.startswith("fc") else layers.convolutions
            to.append(Layer(weight, np.zeros(shape[0])))
    return layers


@pytest.mark.parametrize(
    ("flattened", "told", "known"), [(False, None, None), (False, 224, 224), (True, None, 32), (True, 32, 32)]
)
def test_what_a_file_says_decides(flattened, told, known):
    layers = narrow(Architecture("A", 3, 1 / 64, 32), np.zeros((64, 8)))
    layers.flattened = flattened
    assert window_of(layers, told) == known


def test_what_a_file_says_is_not_overruled(tmp_path):
    architecture = Architecture("A", 3, 0.05, 64)
    path = write_caffe(tmp_path / "a.caffemodel", architecture, zeros(architecture), "net")
    assert import_weights(locate(path)).architecture == architecture
    with pytest.raises(UsageError, match="window is 64 pixels, not 224"):
        import_weights(locate(path), Metadata(window=224))


def test_a_window_is_a_multiple_of_32(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["convert", "a.pth", str(tmp_path / "run"), "--window", "100"])
    assert (ended.value.code, "multiple of 32" in capsys.readouterr().err) == (2, True)


def zeros(architecture: Architecture) -> dict[str, np.ndarray]:
    return {name: np.zeros(shape, np.float32) for name, shape in architecture.tensors.items()}


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 2e-6])
def test_another_epsilon_is_made_ours(epsilon):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand((2, 4, 3, 3), generator=generator, dtype=torch.float64)
    scale, shift, mean, variance = torch.rand((4, 4), generator=generator, dtype=torch.float64) * 1e-2
    wanted = F.batch_norm(maps, mean, variance, scale, shift, eps=epsilon)
    ours = norm_with_epsilon(tuple(part.numpy() for part in (scale, shift, mean, variance)), epsilon)
    scale, shift, mean, variance = map(torch.from_numpy, ours[:4])
    found = F.batch_norm(maps, mean, variance, scale, shift, eps=BATCH_NORM_EPSILON)
    assert torch.allclose(found, wanted, rtol=1e-9)
