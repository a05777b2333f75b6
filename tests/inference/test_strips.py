"""Strips give the map of the whole image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.inference.strips import margin_places, score_map_in_strips
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@settings(max_examples=6)
@given(st.integers(64, 700), st.integers(64, 200), st.sampled_from([1, 40_000, 100_000]), st.booleans())
def test_the_map_in_strips_is_the_map(configuration, long, short, most_pixels, upright):
    network = VGG(Architecture(configuration, num_classes=4, width=0.03, window=64)).double().eval()
    initialize(network, "he", 0)
    height, width = (long, short) if upright else (short, long)
    images = np.random.default_rng(0).standard_normal((1, height, width, 3))

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        return network.score_map(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    strips = score_map_in_strips(score, network.architecture, images, most_pixels)
    np.testing.assert_allclose(strips, score(images), rtol=1e-12, atol=1e-12)


def test_the_margin_is_what_the_receptive_field_asks_for():
    assert margin_places(Architecture("D")) == 3  # (212 - 32) / 2 = 90 pixels
    assert margin_places(Architecture("A")) == 2


def test_squares_are_the_map_too_where_strips_would_be_margins():
    network = VGG(Architecture("D", num_classes=4, width=0.02, window=32)).double().eval()
    initialize(network, "he", 0)
    images = np.random.default_rng(0).standard_normal((1, 470, 450, 3))
    shown = []

    @torch.inference_mode()
    def score(images: np.ndarray) -> np.ndarray:
        shown.append(images.shape[1:3])
        return network.score_map(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()

    found = score_map_in_strips(score, network.architecture, images, 110_000)
    assert len(shown) == 16 and max(height * width for height, width in shown) <= 110_000 * 1.1
    np.testing.assert_allclose(found, score(images), rtol=1e-12, atol=1e-12)


def test_strips_show_no_more_than_allowed():
    architecture = Architecture("D", num_classes=2, width=0.02, window=32)
    seen = []

    def score(images: np.ndarray) -> np.ndarray:
        seen.append(images.shape[1] * images.shape[2])
        return np.zeros((len(images), 2, *architecture.score_map_size(*images.shape[1:3])))

    maps = score_map_in_strips(score, architecture, np.zeros((1, 2000, 300, 3), np.uint8), 150_000)
    assert maps.shape == (1, 2, *architecture.score_map_size(2000, 300))
    assert len(seen) > 4
    assert max(seen) <= 150_000
