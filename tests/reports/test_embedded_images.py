"""Small images: what is drawn, and where."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from verydeep.evaluation.score_map import ScoreMap
from verydeep.images.drawing import colored
from verydeep.reports.embedded import Embedded, confusion_image, filter_sheet, overlay, thumbnail


def decode(image: Embedded) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(base64.b64decode(image.uri.partition(",")[2]))))


def test_filters_span_the_whole_range_and_stand_apart():
    weights = np.random.default_rng(0).normal(0, 0.1, (20, 3, 3, 3))
    weights[3] = 1.0
    sheet = decode(filter_sheet(weights, "RGB"))
    assert sheet.shape == (11, 31, 4)
    assert (sheet[:3, :3, :3].min(), sheet[:3, :3, :3].max()) == (0, 255)
    assert not sheet[:, 3, 3].any() and not sheet[3, :, 3].any()


def test_filters_of_bgr_networks_are_shown_in_their_colors():
    weights = np.zeros((1, 3, 3, 3))
    weights[0, 2] = 1
    assert decode(filter_sheet(weights, "BGR"))[0, 0].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (70, 95), (32, 40)])
def test_map_lies_over_the_centres_of_its_windows(height: int, width: int):
    rows, columns = (height - 32) // 4 + 1, (width - 32) // 4 + 1
    values = np.tile(np.arange(columns, dtype=float), (rows, 1))
    mapped = ScoreMap(np.zeros((height, width, 3), np.uint8), values[None] / 100, 32, 4, ("one",))
    heat = mapped.spread(values, (width, height), 1.0)
    assert heat.shape == (height, width)
    first, last = 16 - 2, 16 + 4 * np.array([rows - 1, columns - 1]) + 2  # half a stride around the outer centres
    known = ~np.isnan(heat)
    assert known[first : last[0], first : last[1]].all()
    assert known.sum() == (last[0] - first) * (last[1] - first)
    assert heat[16, 15:17].mean() == pytest.approx(0, abs=0.2)
    assert heat[16, 15 + 4 * (columns - 1)] == pytest.approx(columns - 1, abs=0.2)
    assert overlay(mapped, 0).width >= width


def test_where_no_window_is_centred_nothing_is_coloured():
    """A class that is everywhere is seen by every window, but its colour ends half a window from the edges."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    mapped = ScoreMap(pixels, np.ones((1, 9, 17)), 32, 4, ("one",))
    panel = np.asarray(colored(pixels, mapped.spread(mapped.posteriors[0], (96, 64), 1.0))).astype(int)
    coloured = np.ptp(panel, axis=2) > 0
    assert coloured[14:50, 14:82].all()
    assert coloured.sum() == 36 * 68


def test_thumbnails_are_small_and_coarse_images_stay_so():
    assert thumbnail(Image.new("RGB", (1000, 500))).width == 160
    assert thumbnail(Image.new("RGB", (8, 8))).coarse
    assert not thumbnail(Image.new("RGB", (1000, 500))).coarse


def test_confusion_without_images_of_a_class():
    assert decode(confusion_image(np.array([[0, 0], [1, 3]]))).shape == (2, 2, 3)
