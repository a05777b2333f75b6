"""Starts, and growing from net A."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.network.initialize import GROWN_LAYERS, STARTS, grow, initialize
from verydeep.network.vgg import VGG


def drawn(start: str, seed: int = 0, configuration: str = "A", width: float = 0.25) -> VGG:
    network = VGG(Architecture(configuration, num_classes=10, width=width, window=64))
    initialize(network, start, seed)
    return network


@pytest.mark.parametrize("start", STARTS)
def test_spread_of_the_weights(start):
    network = drawn(start)
    for name in ("conv4_2", "fc6"):
        weight = network.get_submodule(name).weight
        fan_in, fan_out = weight[0].numel(), weight.shape[0] * weight[0, 0].numel()
        expected = {
            "he": sqrt(2 / fan_in),
            "glorot": sqrt(2 / (fan_in + fan_out)),
            "normal": 0.01 / sqrt(0.25),
            "normal-literal": 0.1,
        }[start]
        assert weight.std().item() == pytest.approx(expected, rel=0.02)
        assert abs(weight.mean().item()) < expected / 50
    assert all(not parameter.any() for name, parameter in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("start", STARTS)
def test_a_seed_means_the_same_every_time(start):
    first, again, other = drawn(start, 3), drawn(start, 3), drawn(start, 4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.fc7.weight, other.fc7.weight)


def test_he_keeps_the_size_of_activations_through_sixteen_layers():
    network = drawn("he", configuration="E", width=0.5).eval()
    with torch.inference_mode():
        scores = network(torch.randn(4, 3, 64, 64))
    assert 0.05 < scores.std() < 5


@pytest.mark.parametrize("configuration", ["B", "C", "D", "E"])
def test_growing_copies_four_convolutions_and_the_fc_layers(configuration):
    shallow, deep = drawn("he", 1), drawn("he", 2, configuration)
    before = {name: tensor.clone() for name, tensor in deep.state_dict().items()}
    same = range(shallow.architecture.num_classes)
    assert grow(deep, shallow.architecture, shallow.state_dict(), same) == GROWN_LAYERS
    for name, tensor in deep.state_dict().items():
        layer = name.partition(".")[0]
        source = shallow.state_dict() if layer in GROWN_LAYERS else before
        assert torch.equal(tensor, source[name])
    bias = torch.arange(shallow.architecture.num_classes).float()
    shallow.fc8.bias.data.copy_(bias)
    grow(deep, shallow.architecture, shallow.state_dict(), same[::-1])
    assert torch.equal(deep.fc8.bias, bias.flip(0))
    assert grow(deep, shallow.architecture, shallow.state_dict(), None) == GROWN_LAYERS[:-1]


@pytest.mark.parametrize(("width", "configuration", "words"), [(0.5, "A", "width"), (0.25, "B", "net A")])
def test_growing_from_another_net_is_refused(width, configuration, words):
    shallow = drawn("he", 1, configuration, width)
    with pytest.raises(UsageError, match=words):
        grow(drawn("he", 2, "D"), shallow.architecture, shallow.state_dict(), None)


def test_unknown_start():
    with pytest.raises(UsageError, match="there are he, glorot, normal, normal-literal"):
        drawn("xavier")
