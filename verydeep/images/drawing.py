"""What sheets of images are drawn with: the colours of maps, their scale, and text that fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from verydeep.images.views import Pixels

SHOWN_SIDE = 448  # smaller side of the panels of a sheet, in pixels
MARGIN, BAR = 16, 12
INK, PAPER = (34, 34, 34), (255, 255, 255)


def heat_colors(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Map values in [0, 1] to colours, from deep blue over purple and orange to pale yellow.

    The stops rise evenly in lightness, so that the order of values is seen without colour too.
    """
    stops = np.array([(13, 8, 60), (84, 2, 163), (156, 23, 158), (218, 91, 105), (251, 159, 58), (252, 253, 170)])
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(values, places, stops[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def colored(image: Pixels, heat: NDArray[np.float32], share: NDArray[np.float64] | float = 1.0) -> Image.Image:
    """Lay colour over a greyed image, the thicker the greater the posterior; none where that is NaN.

    It is thinner by the factor `share`, a number or one for each pixel.
    """
    grey = image.mean(-1, keepdims=True) * 0.75 + 48
    strength = np.where(np.isnan(heat), 0, (0.25 + 0.55 * heat) * share)[..., None]
    colors = heat_colors(np.nan_to_num(heat))
    return Image.fromarray((grey * (1 - strength) + colors * strength).round().astype(np.uint8))


def draw_scale(sheet: Image.Image, corner: tuple[int, int], width: int, labels: tuple[str, str, str]) -> None:
    """Draw the colours from 0 to 1, with the labels of the least, the middle and the greatest value below."""
    left, top = corner
    ramp = np.broadcast_to(np.linspace(0, 1, width), (BAR, width))
    sheet.paste(Image.fromarray(heat_colors(ramp)), corner)
    font, draw = ImageFont.load_default(14), ImageDraw.Draw(sheet)
    for place, (label, anchor) in enumerate(zip(labels, ("la", "ma", "ra"), strict=True)):
        draw.text((left + place / 2 * width, top + BAR + 4), label, INK, font, anchor=anchor)


def fit_text(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """Cut a text to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
