"""Arrays -> small pictures inside the page: thumbnails, first-layer filters, score maps laid over pictures."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.evaluation.score_map import ScoreMap, heat_colors

THUMBNAIL = 160  # longer side, in pixels
COARSE = 64  # a picture whose longer side is below this is shown with its pixels visible
FILTER_COLUMNS = 8
GAP = 1  # between filters, in pixels


@dataclass(frozen=True)
class Embedded:
    """A picture as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def coarse(self) -> bool:
        """Whether it is so small that its pixels are to be seen."""
        return max(self.width, self.height) < COARSE


def embed(pixels: NDArray[np.uint8] | Image.Image) -> Embedded:
    """Encode a picture as PNG within a data URI."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Embedded(uri, *picture.size)


def thumbnail(picture: Image.Image) -> Embedded:
    """Embed a picture, made smaller if it is large."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return embed(small)


def filter_sheet(weights: NDArray[Any], channels: str) -> Embedded:
    """Lay the filters of the first layer side by side, each spread over the whole range of brightness.

    Args:
        weights: of shape (filters, 3, rows, columns).
        channels: their order: `RGB` or `BGR`.

    """
    filters = np.asarray(weights, np.float64)[:, :: 1 if channels == "RGB" else -1]
    least, greatest = filters.min((1, 2, 3), keepdims=True), filters.max((1, 2, 3), keepdims=True)
    levels = (255 * (filters - least) / np.maximum(greatest - least, 1e-12)).round().astype(np.uint8)
    count, _, height, width = levels.shape
    columns = min(FILTER_COLUMNS, count)
    sheet = np.zeros((ceil(count / columns) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for number, level in enumerate(levels):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        sheet[top : top + height, left : left + width, :3] = level.transpose(1, 2, 0)
        sheet[top : top + height, left : left + width, 3] = 255
    return embed(sheet)


def shown_pixels(mapped: ScoreMap) -> Image.Image:
    """Give the picture that was mapped, enlarged smoothly where it is small."""
    return _enlarge(Image.fromarray(mapped.pixels))


def overlay(mapped: ScoreMap, label: int) -> Image.Image:
    """Lay a class's posterior as colour over the greyed picture, each window's value at the window's centre."""
    heat = _enlarge(Image.fromarray(spread(mapped, mapped.posteriors[label]).astype(np.float32)))
    values = np.clip(np.asarray(heat), 0, 1)
    grey = np.asarray(shown_pixels(mapped)).mean(-1, keepdims=True) * 0.75 + 48
    strength = 0.25 + 0.5 * values[..., None]
    blended = grey * (1 - strength) + heat_colors(values) * strength
    return Image.fromarray(blended.round().astype(np.uint8))


def _enlarge(picture: Image.Image) -> Image.Image:
    factor = THUMBNAIL / max(picture.size)
    if factor <= 1:
        return picture
    width, height = (round(side * factor) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def spread(mapped: ScoreMap, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring a map to its picture's size; beyond the outermost windows' centres it stays the same."""
    rows, columns = values.shape
    inner = (columns * mapped.stride, rows * mapped.stride)
    enlarged = Image.fromarray(values.astype(np.float32)).resize(inner, Image.Resampling.BILINEAR)
    margin = (mapped.window - mapped.stride) // 2
    height, width = mapped.pixels.shape[:2]
    padding = (
        (margin, height - margin - inner[1]),
        (margin, width - margin - inner[0]),
    )
    return np.pad(np.asarray(enlarged, np.float64), padding, "edge")


def class_rows(posteriors: NDArray[np.float64]) -> Embedded:
    """Draw posteriors of shape (classes, places) as a picture with one pixel for each."""
    return embed(heat_colors(posteriors))


def confusion_picture(confusion: NDArray[np.int64]) -> Embedded:
    """Draw a confusion matrix too large for numbers: each row's shares, by their square root so that few show."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return embed(heat_colors(np.sqrt(shares)))
