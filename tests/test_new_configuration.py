"""A configuration of one's own is a row of a table: it trains, grows, and is known again by its weights."""

from __future__ import annotations

import pytest
import torch

import verydeep
from verydeep.configurations import (
    ALL_CONFIGURATIONS,
    CONFIGURATIONS,
    Architecture,
    Configuration,
    ConvolutionSpec,
)
from verydeep.errors import ModelError
from verydeep.network.initialize import grow, initialize
from verydeep.network.vgg import VGG

NARROW = {"num_classes": 3, "width": 0.05, "window": 32}


@pytest.fixture
def deeper(monkeypatch) -> str:
    """E with one more convolution in its last stage."""
    *stages, last = CONFIGURATIONS["E"].stages
    column = Configuration("F", (*stages, (*last, ConvolutionSpec(512))))
    monkeypatch.setitem(ALL_CONFIGURATIONS, "F", column)
    return "F"


def test_it_is_made_described_and_known_by_its_weights_alone(deeper, tmp_path, photographs):
    verydeep.new(deeper, tmp_path / "run", **NARROW)
    assert verydeep.load(tmp_path / "run").posterior([photographs[0][:64, :64]]).shape == (1, 3)
    weights = (tmp_path / "run" / "model.safetensors").rename(tmp_path / "weights.safetensors")
    facts = verydeep.inspect(weights).to_dict()
    assert (facts["configuration"], facts["parameters"]) == ("F", verydeep.describe("F", **NARROW).parameters)
    assert "conv5_5" in str(verydeep.describe(deeper))


def test_it_grows_from_net_a(deeper):
    shallow, network = VGG(Architecture("A", **NARROW)), VGG(Architecture(deeper, **NARROW))
    initialize(shallow, "he", 0)
    initialize(network, "he", 1)
    grow(network, shallow.architecture, shallow.state_dict())
    for name in ("conv1_1.weight", "conv3_2.weight", "fc8.bias"):
        torch.testing.assert_close(network.state_dict()[name], shallow.state_dict()[name])
    assert [name for name, one in ALL_CONFIGURATIONS.items() if not one.grows_from_a] == ["B-5x5"]


def test_a_deeper_network_than_those_of_the_table_is_refused(tmp_path, deeper, monkeypatch):
    """Not taken for the shallower one that is left without its last convolution."""
    verydeep.new(deeper, tmp_path / "run", **NARROW)
    monkeypatch.delitem(ALL_CONFIGURATIONS, deeper)
    weights = (tmp_path / "run" / "model.safetensors").rename(tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=r"has 17 convolutions .* have 8, 10, 13 or 16 of 3x3"):
        verydeep.inspect(weights)
