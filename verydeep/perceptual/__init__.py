"""Losses on a network's layers: content, style, total variation, LPIPS, DISTS.

    loss = verydeep.perceptual.LPIPS("torchvision:vgg16", range=(0, 1))
    loss(images, target).backward()

Each loss is a `torch.nn.Module`. Images are float tensors, RGB, of shape (batch, 3, height, width). `range` says
their least and greatest value: (0, 1), (-1, 1) or (0, 255); it is checked. The loss applies the model's
preprocessing and never changes the images. The answer is a number; `reduction="none"` gives one for each pair.
Arguments that do not fit raise a `UsageError`. docs/guides/perceptual-losses.md has recipes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from verydeep.errors import check_choice
from verydeep.network.ranges import RangeWarning as RangeWarning
from verydeep.perceptual.content import ContentLoss as ContentLoss
from verydeep.perceptual.dists import DISTS as DISTS
from verydeep.perceptual.learned import write_learned_weights as write_learned_weights
from verydeep.perceptual.lpips import LPIPS as LPIPS
from verydeep.perceptual.style import StyleLoss as StyleLoss
from verydeep.perceptual.style import gram_matrix as gram_matrix
from verydeep.perceptual.variation import TotalVariation as TotalVariation

if TYPE_CHECKING:
    from torch import nn

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "content": ContentLoss,
    "style": StyleLoss,
    "variation": TotalVariation,
    "lpips": LPIPS,
    "dists": DISTS,
}
"""The losses by their names. A new one is a module here and an entry."""


def loss(name: str, *arguments: Any, **options: Any) -> nn.Module:
    """Make a loss by its name in `LOSSES`, with the arguments of its class.

    Raises:
        UsageError: there is no such loss, or an argument does not fit.

    """
    return LOSSES[check_choice("loss", name, tuple(LOSSES))](*arguments, **options)


__all__ = [
    "DISTS",
    "LOSSES",
    "LPIPS",
    "ContentLoss",
    "RangeWarning",
    "StyleLoss",
    "TotalVariation",
    "gram_matrix",
    "loss",
    "write_learned_weights",
]
