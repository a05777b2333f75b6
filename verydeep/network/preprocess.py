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
        levels = 255 / (high - low)
        mean, deviation = (
            torch.tensor(numbers, dtype=torch.float64, device="cpu")  # as weights are, whatever torch's default is
            for numbers in (preprocessing.mean, preprocessing.deviation)
        )
        self.mean: Tensor
        self.deviation: Tensor
        self.scale: Tensor
        self.shift: Tensor
        constants = {"mean": mean, "deviation": deviation}
        constants |= {"scale": levels / deviation, "shift": (-low * levels - mean) / deviation}
        for name, constant in constants.items():
            self.register_buffer(name, constant.float(), persistent=False)

    def forward(
        self, images: Num[Tensor, "batch height width 3"], color_shifts: Float[Tensor, "batch 3"] | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Preprocess a batch. The result lies in memory as the images do.

        Args:
            images: R, G and B: bytes, which are levels, or floats in the range.
            color_shifts: to be added to R, G and B of all pixels of an image of bytes, in levels of 0 to 255.

        """
        if images.is_floating_point():
            x = torch.addcmul(self.shift, images, self.scale)
        else:
            # Row by row and in place: beside the last axis of three, torch is ten times as slow.
            width = images.shape[2]
            mean = self.mean if color_shifts is None else self.mean - color_shifts[:, None, :]
            rows = images.flatten(2).float()
            rows -= mean.repeat(*[1] * (mean.ndim - 1), width)
            rows /= self.deviation.repeat(width)
            x = rows.view(images.shape)
        if self.flip:
            x = x.flip(-1)
        return x.permute(0, 3, 1, 2)
