"""The class score map laid over its image: where the network sees what.

One place of the map is the answer to one window of the image. Windows lie 32 pixels apart; shifting the image
below the network by less gives the places in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from verydeep.configurations import STRIDE
from verydeep.errors import UsageError, printable
from verydeep.evaluation.posterior import softmax
from verydeep.images.drawing import (
    INK,
    MARGIN,
    PAPER,
    SHOWN_SIDE,
    colored,
    draw_scale,
    fit_text,
)
from verydeep.images.encode import png
from verydeep.images.views import Pixels, rescale
from verydeep.inference.engine import Engine
from verydeep.plan import check_scale


@dataclass(frozen=True, repr=False, eq=False)
class ScoreMap:
    """Posteriors of each window of an image. A notebook shows the drawing of the most probable class.

    The place of row r and column c belongs to the window whose centre is `window / 2 + stride * r` pixels from the
    upper edge of the image and `window / 2 + stride * c` from its left edge, less `margin`. With a margin of half
    a window, windows are centred up to the edges of the image, and those near one see the image mirrored beyond
    it. Without a margin, no window is centred nearer to the edges than half a window, and no class is known there.

    Attributes:
        pixels: the rescaled image that was shown, of shape (height, width, 3).
        posteriors: of shape (classes, rows, columns); the sum over classes is 1 at each place.
        window: side of a window, in pixels of the rescaled image.
        stride: distance between windows, in pixels.
        class_names: of the first axis.
        margin: width of the mirrored border around `pixels` that the network was shown too.

    """

    pixels: Pixels
    posteriors: NDArray[np.float64]
    window: int
    stride: int
    class_names: tuple[str, ...]
    margin: int = 0

    def __repr__(self) -> str:
        height, width = self.pixels.shape[:2]
        rows, columns = self.posteriors.shape[1:]
        label = self._best()
        return (
            f"<ScoreMap of {width}x{height} pixels: {rows} rows and {columns} columns of windows of {self.window} "
            f"pixels, one every {self.stride}; most probable: {printable(self.class_names[label])} "
            f"{self.posteriors[label].mean():.1%}>"
        )

    def _repr_png_(self) -> bytes:
        return png(self.draw())

    def _best(self) -> int:
        """The class of the greatest mean posterior."""
        return int(self.posteriors.mean((1, 2)).argmax())

    def draw(self, label: int | None = None, caption: str | None = None) -> Image.Image:
        """Draw the image, and beside it the same with a class's posterior as a layer of colour.

        The colour is paler where a window reaches beyond the image: it is as thick as the share of the window that
        lies within. Without a margin it ends where no window is centred, half a window from the edges.

        Args:
            label: of the class; None takes the one with the greatest mean posterior.
            caption: printed below; None says the class.

        Raises:
            UsageError: there is no such class.

        """
        label = self._best() if label is None else label
        if not isinstance(label, int | np.integer) or not 0 <= label < len(self.class_names):
            raise UsageError(
                f"label is {label!r}; it has to be the number of a class, 0 to {len(self.class_names) - 1}: "
                "class_names.index(NAME) gives that of a name"
            )
        factor = max(1.0, SHOWN_SIDE / min(self.pixels.shape[:2]))
        height, width = (round(side * factor) for side in self.pixels.shape[:2])
        image = Image.fromarray(self.pixels).resize((width, height), Image.Resampling.BICUBIC)
        heat = self.spread(self.posteriors[label], (width, height), factor)
        text = caption or f"{self.class_names[label]}: where a window of {self.window} pixels shows it"
        font = ImageFont.load_default(20)
        sheet = Image.new("RGB", (2 * width + 3 * MARGIN, height + 3 * MARGIN + 48), PAPER)
        sheet.paste(image, (MARGIN, MARGIN))
        sheet.paste(
            colored(np.asarray(image), heat, self._within((width, height), factor)), (2 * MARGIN + width, MARGIN)
        )
        draw = ImageDraw.Draw(sheet)
        draw.text((MARGIN, height + 2 * MARGIN), fit_text(text, font, width), INK, font)
        draw_scale(sheet, (2 * MARGIN + width, height + 2 * MARGIN), width, ("0%", "50%", "100%"))
        return sheet

    def spread(self, values: NDArray[np.float64], size: tuple[int, int], factor: float) -> NDArray[np.float32]:
        """Interpolate a map between the centres of its windows.

        Args:
            values: of shape (rows, columns).
            size: width and height of the image over which it is laid.
            factor: by which that image is larger than `pixels`.

        Returns:
            Of shape (height, width). Without a margin, NaN where the nearest row or column of centres is further
            away than half a stride.

        """
        rows, columns = values.shape
        across, known_across = self._places(size[0], columns, factor)
        down, known_down = self._places(size[1], rows, factor)
        by_row = np.stack([np.interp(across, np.arange(columns), row) for row in values])
        low = np.minimum(down.astype(int), max(rows - 2, 0))
        share = (down - low)[:, None]
        high = np.minimum(low + 1, rows - 1)
        heat = by_row[low] * (1 - share) + by_row[high] * share
        return np.where(known_down[:, None] & known_across, heat, np.nan).astype(np.float32)

    def _places(self, side: int, count: int, factor: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where the pixels of a side are among its `count` windows, in fractions, and whether a window is near."""
        places = ((np.arange(side) + 0.5) / factor + self.margin - self.window / 2) / self.stride
        known = (places >= -0.5) & (places <= count - 0.5) | (self.margin > 0)
        return np.clip(places, 0, count - 1), known

    def _within(self, size: tuple[int, int], factor: float) -> NDArray[np.float64]:
        """The share of the window centred at each pixel that lies within the image, of shape (height, width)."""
        across, down = (_share_within(side, self.window * factor) for side in size)
        share: NDArray[np.float64] = down[:, None] * across
        return share


def _share_within(side: int, window: float) -> NDArray[np.float64]:
    """The share of a window's length that lies within a side, for the window centred at each of its pixels."""
    centres = np.arange(side) + 0.5
    least, greatest = np.maximum(centres - window / 2, 0), np.minimum(centres + window / 2, side)
    share: NDArray[np.float64] = (greatest - least) / window
    return share


def score_map(
    engine: Engine,
    image: Image.Image,
    scale: int | None = None,
    stride: int | None = None,
    *,
    mirrored: bool = False,
) -> ScoreMap:
    """Run the network over an image and keep every window's posterior.

    Args:
        engine: one with a model.
        image: upright RGB.
        scale: its smaller side is rescaled to this; None for two windows.
        stride: distance between windows in pixels, a divisor of 32; None chooses a fine one for small windows, a
            coarse one where each pass takes long.
        mirrored: continue the image beyond its edges by its mirror image, half a window wide, so that windows
            are centred everywhere in it.

    Raises:
        UsageError: the scale is smaller than the window.

    """
    window = engine.config.architecture.window
    if scale is not None:
        check_scale("scale", scale, engine.config.architecture)
    stride = stride or map_stride(window)
    pixels = np.asarray(rescale(image, scale or 2 * window))
    margin = window // 2 if mirrored else 0
    shown = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    height, width = shown.shape[:2]
    rows, columns = (height - window) // stride + 1, (width - window) // stride + 1
    scores = np.empty((engine.config.architecture.num_classes, rows, columns), np.float32)
    steps = STRIDE // stride
    for down in range(min(steps, rows)):
        for across in range(min(steps, columns)):
            shifted = shown[None, down * stride :, across * stride :]
            scores[:, down::steps, across::steps] = engine.score_maps(shifted)[0]
    posteriors = np.moveaxis(softmax(np.moveaxis(scores, 0, -1)), -1, 0)
    return ScoreMap(pixels, posteriors, window, stride, engine.config.class_names, margin)


def map_stride(window: int) -> int:
    """Distance between the windows of a map, in pixels: fine for small windows, coarse where a pass takes long."""
    return min(STRIDE, max(4, 1 << int(log2(window / 7))))
