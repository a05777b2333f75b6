"""Sizes, offsets and boxes against their definitions and against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torchvision.transforms import v2

from verydeep.images.geometry import box_in_original, centre_offset, random_offset, rescaled_size

SIDES = st.integers(1, 5000)
SCALES = st.integers(1, 1000)
UNIFORM = st.floats(0, 1, exclude_max=True)


@given(SIDES, SIDES, SCALES)
def test_rescaled_size_has_the_smaller_side_and_rounds_the_longer_down(width, height, scale):
    rescaled = rescaled_size(width, height, scale)
    short, long = sorted((width, height))
    assert min(rescaled) == scale
    assert max(rescaled) == int(long * scale / short)
    assert max(rescaled) == pytest.approx(long * scale / short, abs=1)
    # Upright stays upright.
    assert (rescaled[0] <= rescaled[1]) == (width <= height) or rescaled[0] == rescaled[1]


@given(SIDES, SIDES)
def test_an_image_that_has_the_scale_keeps_its_size(width, height):
    assert rescaled_size(width, height, min(width, height)) == (width, height)


@given(SIDES, SIDES, SCALES)
@example(640, 427, 256)
@example(500, 333, 384)
def test_rescaled_size_is_torchvisions(width, height, scale):
    image = torch.empty(1, height, width, dtype=torch.uint8, device="meta")
    resized = v2.functional.resize(image, [scale], antialias=False)
    assert rescaled_size(width, height, scale) == (resized.shape[2], resized.shape[1])


@given(st.integers(1, 1000), st.integers(0, 1000), UNIFORM)
def test_random_offset_keeps_the_window_inside(window, room, uniform):
    side = window + room
    assert 0 <= random_offset(side, window, uniform) <= room


@given(st.integers(1, 1000), st.integers(0, 1000))
def test_random_offset_reaches_both_ends(window, room):
    side = window + room
    assert random_offset(side, window, 0.0) == 0
    assert random_offset(side, window, float(np.nextafter(1, 0))) == room


def test_every_random_offset_is_equally_likely():
    offsets = [random_offset(10, 7, uniform) for uniform in (np.arange(4000) + 0.5) / 4000]
    assert np.bincount(offsets).tolist() == [1000, 1000, 1000, 1000]


@given(st.integers(1, 40), st.integers(0, 40))
def test_centre_offset_is_torchvisions(window, room):
    side = window + room
    places = torch.arange(side).expand(1, side, side)  # each pixel holds its column
    crop = v2.functional.center_crop(places, [window, window])
    assert centre_offset(side, window) == int(crop[0, 0, 0])


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 500), st.data())
def test_box_in_original_is_inside_and_of_the_windows_proportions(width, height, window, data):
    scale = data.draw(st.integers(window, 600))
    original, rescaled = (width, height), rescaled_size(width, height, scale)
    left = data.draw(st.integers(0, rescaled[0] - window))
    top = data.draw(st.integers(0, rescaled[1] - window))
    box = box_in_original(left, top, window, rescaled, original)
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height
    # The window's share of the rescaled image is the box's share of the original.
    assert (box[2] - box[0]) / width == pytest.approx(window / rescaled[0], rel=1e-6)
    assert (box[3] - box[1]) / height == pytest.approx(window / rescaled[1], rel=1e-6)
    assert box[0] / width == pytest.approx(left / rescaled[0], abs=1e-9)
    assert box[1] / height == pytest.approx(top / rescaled[1], abs=1e-9)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 600))
def test_the_box_of_the_last_window_ends_with_the_image(width, height, scale):
    rescaled = rescaled_size(width, height, scale)
    box = box_in_original(rescaled[0] - scale, rescaled[1] - scale, scale, rescaled, (width, height))
    assert box[2:] == pytest.approx((width, height), rel=1e-9)
