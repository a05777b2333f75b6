"""Arrays -> small images inside the page: thumbnails, first-layer filters, score maps laid over images."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.evaluation.score_map import ScoreMap
from verydeep.images.drawing import colored, heat_colors

THUMBNAIL = 160  # longer side, in pixels
COARSE = 64  # an image whose longer side is below this is shown with its pixels visible
FILTER_COLUMNS = 8
GAP = 1  # between filters, in pixels


@dataclass(frozen=True)
class Embedded:
    """An image as a data URI, with its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def coarse(self) -> bool:
        """Whether it is so small that its pixels are to be seen."""
        return max(self.width, self.height) < COARSE


def embed(pixels: NDArray[np.uint8] | Image.Image) -> Embedded:
    """Encode an image as PNG within a data URI."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Embedded(uri, *image.size)


def thumbnail(image: Image.Image) -> Embedded:
    """Embed an image, made smaller if it is large."""
    small = image.copy()
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


def shown_image(mapped: ScoreMap) -> Image.Image:
    """Give the image that was mapped, enlarged smoothly where it is small."""
    image = Image.fromarray(mapped.pixels)
    factor = max(1.0, THUMBNAIL / max(image.size))
    width, height = (round(side * factor) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def overlay(mapped: ScoreMap, label: int) -> Image.Image:
    """Lay a class's posterior as colour over the greyed image, each window's value at the window's centre."""
    image = shown_image(mapped)
    heat = mapped.spread(mapped.posteriors[label], image.size, image.width / mapped.pixels.shape[1])
    return colored(np.asarray(image), heat)


def confusion_image(confusion: NDArray[np.int64]) -> Embedded:
    """Draw a confusion matrix too large for numbers: each row's shares, by their square root so that few show."""
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    return embed(heat_colors(np.sqrt(shares)))
