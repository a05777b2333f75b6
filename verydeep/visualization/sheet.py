"""What the layers of a network see in an image, on one sheet: a row for each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from verydeep.images.drawing import INK, PAPER, heat_colors
from verydeep.images.views import Pixels
from verydeep.visualization.maps import LayerMaps

TILE = 120  # longer side of each image, in pixels
GAP, LABEL, HEAD = 8, 84, 22  # between images; for names of layers, on the left; for what columns are, on top


def draw_sheet(
    pixels: Pixels, layers: Sequence[LayerMaps], inversions: Mapping[str, Pixels], channels: int
) -> Image.Image:
    """Draw a row for each layer: the image, its inversion where there is one, and its strongest channels.

    Args:
        pixels: that the network was shown, of shape (height, width, 3).
        layers: what the layers give.
        inversions: by layer, of the shape of `pixels`.
        channels: most channels in a row.

    """
    factor = TILE / max(pixels.shape[:2])
    height, width = (max(1, round(side * factor)) for side in pixels.shape[:2])
    heads = ["image", *["inversion"] * bool(inversions), "strongest channels"]
    first_channel = len(heads) - 1
    columns = first_channel + min(channels, max(len(layer.strongest) for layer in layers))
    size = LABEL + columns * (width + GAP), HEAD + len(layers) * (height + GAP)
    sheet = Image.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, head in enumerate(heads):
        draw.text((LABEL + column * (width + GAP), 2), head, INK, font)
    for row, layer in enumerate(layers):
        top = HEAD + row * (height + GAP)
        draw.text((GAP, top + height // 2), layer.layer, INK, font, anchor="lm")
        shown = [(0, pixels)] if row == 0 else []
        if layer.layer in inversions:
            shown.append((1, inversions[layer.layer]))
        scale = layer.much or 1.0
        maps = (heat_colors(np.clip(channel.map / scale, 0, 1)) for channel in layer.strongest[:channels])
        for column, tile in chain(shown, enumerate(maps, first_channel)):
            resized = Image.fromarray(tile).resize((width, height), Image.Resampling.BICUBIC)
            sheet.paste(resized, (LABEL + column * (width + GAP), top))
    return sheet
