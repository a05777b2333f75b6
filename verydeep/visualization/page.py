"""What each layer sees in an image -> one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import check_least, escaped
from verydeep.images.drawing import heat_colors
from verydeep.images.encode import png
from verydeep.images.views import Pixels
from verydeep.reports.embedded import embed, filter_sheet
from verydeep.reports.templates import render_page
from verydeep.results import Result
from verydeep.run_folder import ModelConfig
from verydeep.version import __version__
from verydeep.visualization.maps import LayerMaps
from verydeep.visualization.sheet import draw_sheet

SHOWN_SIDE = 320  # longer side of an image on the page: smaller ones are enlarged, so that pixels are seen
MOST_NAMED = 5  # channels of a layer


@dataclass(frozen=True)
class Inversion:
    """An image that a layer takes for the one that is shown.

    Attributes:
        pixels: of shape (height, width, 3).
        missing: share of the layer's maps that is missing.
        num_steps: that it took.

    """

    pixels: Pixels
    missing: float
    num_steps: int


@dataclass(frozen=True, repr=False)
class Visualization(Result):
    """What each layer of a network sees in an image.

    Attributes:
        page: path of the HTML page.
        model: as it was named.
        image: path of the image.
        config: of the model.
        pixels: that the network is shown, of shape (height, width, 3).
        filters: weights of the first layer.
        layers: what the layers give.
        inversions: by layer, of those that were finished.

    """

    page: Path
    model: str
    image: Path
    config: ModelConfig
    pixels: Pixels
    filters: NDArray[Any]
    layers: Sequence[LayerMaps]
    inversions: Mapping[str, Inversion]

    def to_dict(self) -> dict[str, Any]:
        """The strongest channels of each layer, and how much of the image it has kept."""
        return {
            "page": str(self.page),
            "model": self.model,
            "image": str(self.image),
            "width": self.pixels.shape[1],
            "height": self.pixels.shape[0],
            "layers": [self._layer(layer) for layer in self.layers],
        }

    def draw(self, channels: int = 4) -> Image.Image:
        """Draw a row for each layer: its inversion where there is one, and its strongest channels.

        A notebook shows this drawing.

        Args:
            channels: most channels in a row.

        Raises:
            UsageError: `channels` is less than 1.

        """
        check_least("channels", channels, 1)
        found = {layer: inversion.pixels for layer, inversion in self.inversions.items()}
        return draw_sheet(self.pixels, self.layers, found, channels)

    def _repr_html_(self) -> None:
        """None: a notebook shows the drawing."""

    def _repr_png_(self) -> bytes:
        return png(self.draw())

    def _layer(self, layer: LayerMaps) -> dict[str, Any]:
        inversion = self.inversions.get(layer.layer)
        return {
            "layer": layer.layer,
            "shape": list(layer.shape),
            "sees": layer.field,
            "silent": layer.num_silent,
            "strongest": [{"channel": c.number, "strength": c.strength} for c in layer.strongest],
            "missing": inversion.missing if inversion else None,
            "steps": inversion.num_steps if inversion else 0,
        }

    def __str__(self) -> str:
        lines = []
        for layer in self.layers:
            channels = " ".join(str(channel.number) for channel in layer.strongest[:MOST_NAMED])
            found = self.inversions.get(layer.layer)
            missing = f"; {found.missing:.1%} missing after {found.num_steps} steps" if found else ""
            lines.append(f"{layer.layer}: strongest channels {channels}{missing}")
        return "\n".join([*lines, f"page: {escaped(self.page)}"])


def render(shown: Visualization, call: str) -> str:
    """Make the page.

    Args:
        shown: what it shows.
        call: that makes the page again.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    config = shown.config
    context = {
        "shown": shown,
        "architecture": config.architecture,
        "image_name": shown.image.name,
        "original": embed(enlarged(shown.pixels)),
        "filters": filter_sheet(shown.filters, config.preprocessing.channels),
        "inversions": {layer: embed(enlarged(found.pixels)) for layer, found in shown.inversions.items()},
        "drawn": lambda channel, much: embed(heat_colors(np.clip(channel.map / (much or 1.0), 0, 1))),
        "class_names": config.class_names,
        "height": shown.pixels.shape[0],
        "width": shown.pixels.shape[1],
        "call": call,
        "version": __version__,
    }
    return render_page("visualize.html.jinja", context, "visualization")


def enlarged(pixels: Pixels) -> Image.Image:
    """Repeat the pixels of a small image, so that a page can show them as they are."""
    factor = max(1, SHOWN_SIDE // max(pixels.shape[:2]))
    return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))
