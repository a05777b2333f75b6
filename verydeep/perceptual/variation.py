"""Total variation: how rough an image is."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from verydeep.arguments import checked
from verydeep.network.ranges import Grey, ImagesLike, Range, as_images, check_range, check_values
from verydeep.perceptual.pair import Reduction, reduce, wide

Norm = Literal["l1", "l2", "l2_squared"]


class TotalVariation(nn.Module):
    """Differences of neighbours, down and across, summed over all channels and places of an image.

    `l1` sums their absolute values, `l2_squared` their squares, and `l2` is the root of that sum. Source: Rudin,
    Osher and Fatemi, Nonlinear total variation based noise removal algorithms, 1992. The differences are those of
    images of range (0, 1), whatever the range is.

    Args:
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        norm: `l1`, `l2` or `l2_squared`.
        reduction: over the batch: `mean`, `sum`, or `none` for an entry an image.
        check: whether images are looked at: their range, and that they are finite.
        grey: `repeat` takes the channel of images of one channel three times.

    Raises:
        UsageError: an argument does not fit.

    """

    @checked
    def __init__(
        self,
        *,
        range: Range,
        norm: Norm = "l2",
        reduction: Reduction = "mean",
        check: bool = True,
        grey: Grey = "refuse",
    ) -> None:
        super().__init__()
        self.range = check_range(range)
        self.norm: Norm = norm
        self.reduction: Reduction = reduction
        self.check = check
        self.grey: Grey = grey

    def forward(self, images: ImagesLike) -> Tensor:
        """Measure images of shape (batch, 3, height, width), in the range that was said; float32 of half.

        Raises:
            UsageError: they cannot be such images.

        """
        given = as_images(images, self.range, self.grey)
        if self.check:
            check_values(given, self.range)
        x = wide(given)
        low, high = self.range
        down = (x[:, :, 1:] - x[:, :, :-1]) / (high - low)
        across = (x[..., 1:] - x[..., :-1]) / (high - low)
        if self.norm == "l1":
            variation = down.abs().sum((1, 2, 3)) + across.abs().sum((1, 2, 3))
        else:
            variation = down.square().sum((1, 2, 3)) + across.square().sum((1, 2, 3))
        if self.norm == "l2":
            # A root has no slope at zero: a flat image's gradient is 0, not NaN.
            variation = variation.clamp_min(1e-24).sqrt()
        return reduce(variation, self.reduction)
