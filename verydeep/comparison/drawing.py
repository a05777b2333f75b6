"""Where two images differ: the distance at each pixel, laid over the second image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from verydeep.comparison.metrics import Map
from verydeep.comparison.pairs import Pairs
from verydeep.errors import printable
from verydeep.files import free_name, name_part, names_of_others
from verydeep.images.drawing import INK, MARGIN, PAPER, SHOWN_SIDE, colored, draw_scale, fit_text
from verydeep.images.encode import write_drawing
from verydeep.images.views import Pixels

CAPTION = 48  # height, in pixels


class MapFolder:
    """Draws a sheet for each pair into a folder, as `<name of the second image>.png`.

    The names are the same in every process, and when a comparison is resumed. No image that is there is replaced,
    but for earlier drawings.

    Args:
        folder: is made.
        pairs: that are compared.
        metric: its name.

    """

    def __init__(self, folder: Path, pairs: Pairs, metric: str) -> None:
        self.folder = folder
        self.pairs = pairs
        self.metric = metric
        taken = names_of_others(folder)
        self._names = {
            (first, second): free_name(name_part(Path(pairs.name(second)).stem), taken)
            for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        }

    def __call__(self, first: int, second: int, one: Pixels, other: Pixels, distance: float, drawn: Map) -> None:
        """Draw a pair."""
        names = f"{printable(self.pairs.name(first))} and {printable(self.pairs.name(second))}"
        sheet = draw_pair(one, other, drawn, f"{self.metric} {distance:.6f}: {names}")
        write_drawing(self.folder / f"{self._names[first, second]}.png", sheet)


def overlay(image: Pixels, drawn: Map) -> Image.Image:
    """An image with the distance at each pixel as a layer of colour; the greatest is the palest."""
    return colored(image, drawn / max(float(drawn.max()), 1e-12))


def draw_pair(first: Pixels, second: Pixels, drawn: Map, caption: str) -> Image.Image:
    """Draw both images, and the second once more with the distance at each pixel.

    Args:
        first: of shape (height, width, 3).
        second: likewise.
        drawn: of shape (height, width).
        caption: printed below.

    """
    factor = SHOWN_SIDE / min(first.shape[:2])
    height, width = (round(side * factor) for side in first.shape[:2])
    panels = [Image.fromarray(first), Image.fromarray(second), overlay(second, drawn)]
    sheet = Image.new("RGB", (3 * width + 4 * MARGIN, height + 3 * MARGIN + CAPTION), PAPER)
    for number, panel in enumerate(panels):
        resized = panel.resize((width, height), Image.Resampling.BICUBIC)
        sheet.paste(resized, (MARGIN + number * (width + MARGIN), MARGIN))
    font, top = ImageFont.load_default(20), height + 2 * MARGIN
    text = fit_text(caption, font, 2 * width + MARGIN)
    ImageDraw.Draw(sheet).text((MARGIN, top), text, INK, font)
    greatest = float(np.max(drawn))
    draw_scale(sheet, (2 * width + 3 * MARGIN, top), width, ("0", f"{greatest / 2:.3g}", f"{greatest:.3g}"))
    return sheet
