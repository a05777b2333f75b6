"""A configuration of one's own is a row of a table: it trains, grows, and is known again by its weights."""

from __future__ import annotations

import pytest
import torch
from sample_images import class_folders

import verydeep
from verydeep.accounting import num_parameters
from verydeep.configurations import (
    ALL_CONFIGURATIONS,
    CONFIGURATIONS,
    Architecture,
    Configuration,
    ConvolutionSpec,
)
from verydeep.errors import ModelError, UsageError
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
    grow(network, shallow.architecture, shallow.state_dict(), range(NARROW["num_classes"]))
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


def test_fc_layers_of_other_sizes_are_made_and_trained_on(tmp_path):
    made = verydeep.new("A", tmp_path / "start", **NARROW, hidden=(20, 30))
    architecture = verydeep.load(tmp_path / "start").config.architecture
    heads = [(layer.in_channels, layer.out_channels) for layer in architecture.layers[-3:]]
    assert heads == [(26, 20), (20, 30), (30, 3)]
    assert made.parameters == num_parameters(architecture)
    settings = {"epochs": 1, "rate_below": 1.0}
    class_folders(tmp_path / "photos", {"a": 9, "b": 9})
    verydeep.train(tmp_path / "photos", tmp_path / "run", start_from=tmp_path / "start", **settings)
    assert verydeep.load(tmp_path / "run").config.architecture.hidden == (20, 30)
    for wrong in ((20,), (20, 30, 40), (0, 30)):
        with pytest.raises(UsageError, match=r"`hidden` is \(.* (2 whole numbers|two numbers of at least 1)"):
            verydeep.new("A", tmp_path / "wrong", hidden=wrong)
    assert not (tmp_path / "wrong").exists()
