"""Pixels as the decoder gives them -> what a network takes, on the device, so that only bytes travel to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class Preprocess(nn.Module):
    """`(pixel - mean) / deviation`, channel by channel, and channels first.

    Args:
        mean: for R, G, B, in levels of 0 to 255.
        deviation: likewise.
        channels: the order in which the network takes them, `RGB` or `BGR`.

    """

    def __init__(self, mean: Sequence[float], deviation: Sequence[float], channels: str) -> None:
        super().__init__()
        self.flip = channels == "BGR"
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=torch.float32))
        self.mean: Tensor
        self.deviation: Tensor

    def forward(
        self, pixels: UInt8[Tensor, "batch height width 3"], color_shifts: Float[Tensor, "batch 3"] | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Preprocess a batch. The result lies in memory channels last, as the pixels do.

        Args:
            pixels: R, G and B.
            color_shifts: to be added to R, G and B of all pixels of a picture, in levels of 0 to 255.

        """
        mean = self.mean if color_shifts is None else self.mean - color_shifts[:, None, None, :]
        x = (pixels.float() - mean) / self.deviation
        if self.flip:
            x = x.flip(-1)
        return x.permute(0, 3, 1, 2)
