"""`verydeep visualize`: model + image -> a page of what each layer sees."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Computing, command
from verydeep.visualization.maps import LAYERS


@command
class Visualize(Computing):
    """Make a page of what each layer of a network sees in an image.

    It shows the first layer's filters, the strongest channels of each layer, and, for each layer, an image found
    from noise for which the layer gives the same: what it has kept of the image. Ctrl-C or SIGTERM ends the
    search early: the page is made of what there is.
    """

    model: Annotated[Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run folder, or weights of one; `cifar10`, which is bundled; or another library's, a file or a name."""
    image: Annotated[Positional[Path], tyro.conf.arg(metavar="IMAGE")]
    """The image to look at."""
    page: Path = Path("visualize.html")
    """HTML page to write."""
    layers: tuple[str, ...] = LAYERS
    """Layers to show, such as conv4_3, relu4_3, pool5, fc7."""
    channels: int = 8
    """Strongest channels to show of each layer."""
    steps: int = 60
    """Of the search for each layer's image, each a pass forward and back; 0 leaves it out and needs no torch."""
    size: int | None = None
    """Longer side of the image; by default one and a half times the scale of the model's tests, 192 at most."""
    seed: int = 0
    """Of the noise that the search begins with."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
