"""What perceptual losses compare of a VGG network: layers, and the network that learned weights belong to."""

from __future__ import annotations

from collections.abc import Mapping

from verydeep.configurations import Architecture
from verydeep.errors import UsageError

CONTENT = ("relu3_3",)
"""Of Johnson, Alahi and Fei-Fei, arXiv 1603.08155."""

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Of Gatys, Ecker and Bethge, arXiv 1508.06576."""

LPIPS_EPSILON = 1e-10
"""What the reference of LPIPS adds to the lengths of its vectors."""

LAYERS: Mapping[str, tuple[str, ...]] = {"content": CONTENT, "style": STYLE}
"""Layers of a loss or metric that are compared unless others are named."""


def check_vgg16(architecture: Architecture, loss: str, *, any_width: bool = False) -> None:
    """Make sure that a network is the one whose channels the authors of a loss have weighted.

    The numbers of another would mean nothing, even where it has as many channels. `any_width` is for weights that
    someone else has fitted.

    Raises:
        UsageError: it is another configuration, batch-normalised, or narrower.

    """
    fits = any_width or architecture.width == 1
    if architecture.configuration == "D" and not architecture.batch_norm and fits:
        return
    kind = architecture.configuration + (" with batch normalisation" if architecture.batch_norm else "")
    kind += "" if fits else f" of width {architecture.width:g}"
    raise UsageError(
        f"{loss}'s weights are for VGG-16, configuration D at full width without batch normalisation; this "
        f"network is {kind}: use such a network, or another loss or metric"
    )
