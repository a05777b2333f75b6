"""Losses on a network's layers: content, style, total variation, LPIPS, DISTS.

    loss = verydeep.perceptual.LPIPS("torchvision:vgg16", range=(0, 1))
    loss(pictures, target).backward()

Pictures are RGB of shape (batch, 3, height, width); their range is said and checked, and everything else that is
done to them is the model's. They are never changed. docs/features.md has the recipes.
"""

from verydeep.network.ranges import RangeWarning as RangeWarning
from verydeep.perceptual.content import ContentLoss as ContentLoss
from verydeep.perceptual.dists import DISTS as DISTS
from verydeep.perceptual.learned import write_learned_weights as write_learned_weights
from verydeep.perceptual.lpips import LPIPS as LPIPS
from verydeep.perceptual.style import StyleLoss as StyleLoss
from verydeep.perceptual.style import gram_matrix as gram_matrix
from verydeep.perceptual.variation import TotalVariation as TotalVariation

__all__ = [
    "DISTS",
    "LPIPS",
    "ContentLoss",
    "RangeWarning",
    "StyleLoss",
    "TotalVariation",
    "gram_matrix",
    "write_learned_weights",
]
