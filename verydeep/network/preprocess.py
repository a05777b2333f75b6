"""Images -> what a network takes, on the device: the one place on torch where the mean is subtracted."""

from __future__ import annotations

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from verydeep.images.color import Preprocessing
from verydeep.network.ranges import LEVELS, Range, check_range


class Preprocess(nn.Module):
    """`(level - mean) / deviation`, channel by channel, where levels are 0 to 255.

    Args:
        preprocessing: of the model.
        range: least and greatest value of the images: (0, 255), (0, 1) or (-1, 1).

    """

    def __init__(self, preprocessing: Preprocessing, range: Range = LEVELS) -> None:
        super().__init__()
        self.range = check_range(range)
        self.flip = preprocessing.channels == "BGR"
        low, high = self.range
        self.factor = 255 / (high - low)
        # Of values in their range: for levels the factor is 1 and these are the model's own.
        mean, deviation = (torch.tensor(numbers) for numbers in (preprocessing.mean, preprocessing.deviation))
        self.register_buffer("mean", mean / self.factor + low, persistent=False)
        self.register_buffer("deviation", deviation / self.factor, persistent=False)
        self.mean: Tensor
        self.deviation: Tensor

    def forward(
        self, images: Num[Tensor, "batch height width 3"], color_shifts: Float[Tensor, "batch 3"] | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Preprocess a batch. The result lies in memory as the images do; bytes become float32.

        Args:
            images: R, G and B, in the range.
            color_shifts: to be added to R, G and B of all pixels of an image, in levels of 0 to 255.

        """
        mean = self.mean if color_shifts is None else self.mean - color_shifts[:, None, None, :]
        x = ((images if images.is_floating_point() else images.float()) - mean) / self.deviation
        if self.flip:
            x = x.flip(-1)
        return x.permute(0, 3, 1, 2)
