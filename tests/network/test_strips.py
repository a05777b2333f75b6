"""Strips give the map of the whole picture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.network.initialize import initialize
from verydeep.network.strips import margin_places, score_map_in_strips
from verydeep.network.vgg import VGG


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@settings(max_examples=6)
@given(st.integers(64, 700), st.integers(64, 200), st.sampled_from([1, 40_000, 100_000]), st.booleans())
def test_the_map_in_strips_is_the_map(configuration, long, short, most_pixels, upright):
    network = VGG(Architecture(configuration, num_classes=4, width=0.03, image_size=64)).double().eval()
    initialize(network, "he", 0)
    height, width = (long, short) if upright else (short, long)
    pictures = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.inference_mode():
        whole = network.score_map(pictures)
        strips = score_map_in_strips(network, pictures, most_pixels)
    torch.testing.assert_close(strips, whole, rtol=1e-12, atol=1e-12)


def test_the_margin_is_what_the_receptive_field_asks_for():
    assert margin_places(Architecture("D")) == 3  # (212 - 32) / 2 = 90 pixels
    assert margin_places(Architecture("A")) == 2


def test_strips_show_no_more_than_allowed(monkeypatch):
    network = VGG(Architecture("D", num_classes=2, width=0.02, image_size=32)).eval()
    initialize(network, "he", 0)
    seen = []
    score_map = network.score_map
    monkeypatch.setattr(network, "score_map", lambda x: (seen.append(x.shape[2] * x.shape[3]), score_map(x))[1])
    with torch.inference_mode():
        score_map_in_strips(network, torch.zeros(1, 3, 2000, 300), 150_000)
    assert len(seen) > 4
    assert max(seen) <= 150_000
