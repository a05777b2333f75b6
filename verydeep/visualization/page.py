"""What each layer sees in a picture -> one self-contained HTML page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep import __version__
from verydeep.evaluation.score_map import heat_colors
from verydeep.images.views import Pixels
from verydeep.reports.embedded import Embedded, embed, filter_sheet
from verydeep.reports.templates import render_page
from verydeep.run_folder import ModelConfig
from verydeep.visualization.maps import Channel, LayerMaps

SHOWN_SIDE = 320  # longer side of a picture on the page: smaller ones are enlarged, so that pixels are seen


@dataclass(frozen=True)
class Inverted:
    """A picture that a layer takes for the one that is looked at.

    Attributes:
        pixels: of shape (height, width, 3).
        missing: share of the layer's maps that is missing.
        num_steps: that it took.

    """

    pixels: Pixels
    missing: float
    num_steps: int


@dataclass(frozen=True)
class Sight:
    """Everything that the page shows.

    Attributes:
        model: as it was named.
        picture: likewise.
        config: of the model.
        pixels: that the network is shown, of shape (height, width, 3).
        filters: weights of the first layer.
        layers: what the layers give.
        inversions: by layer, of those that were finished.
        command: that makes the page again.

    """

    model: str
    picture: str
    config: ModelConfig
    pixels: Pixels
    filters: NDArray[Any]
    layers: Sequence[LayerMaps]
    inversions: dict[str, Inverted]
    command: Sequence[str]


def render(sight: Sight) -> str:
    """Make the page.

    Raises:
        VerydeepError: what makes pages is not installed.

    """
    return render_page("look.html.jinja", _context(sight), "looking")


def _context(sight: Sight) -> dict[str, Any]:
    return {
        "sight": sight,
        "architecture": sight.config.architecture,
        "picture": embed(enlarged(sight.pixels)),
        "filters": filter_sheet(sight.filters, sight.config.preprocessing.channels),
        "inversions": {layer: embed(enlarged(inverted.pixels)) for layer, inverted in sight.inversions.items()},
        "drawn": draw_channel,
        "label": lambda layer, channel: channel_name(sight.config, layer, channel),
        "height": sight.pixels.shape[0],
        "width": sight.pixels.shape[1],
        "command": shlex.join(sight.command),
        "version": __version__,
    }


def enlarged(pixels: Pixels) -> Image.Image:
    """Repeat the pixels of a small picture, so that a page can show them as they are."""
    factor = max(1, SHOWN_SIDE // max(pixels.shape[:2]))
    return Image.fromarray(pixels.repeat(factor, 0).repeat(factor, 1))


def draw_channel(channel: Channel, much: float) -> Embedded:
    """Draw a channel's map, a pixel a place: dark for nothing, pale for as much as its layer gives."""
    return embed(heat_colors(np.clip(channel.map / (much or 1.0), 0, 1)))


def channel_name(config: ModelConfig, layer: LayerMaps, channel: Channel) -> str:
    """Call a channel by its number, and the class scores' by their classes."""
    return config.class_names[channel.number] if layer.layer == "fc8" else f"channel {channel.number}"
