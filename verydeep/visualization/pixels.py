"""Pictures as files have them <-> as they are changed: RGB of shape (1, 3, height, width), range (0, 1)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NOISE = 0.1  # deviation of the noise that a picture starts from, around a mean grey


def to_tensor(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Bring pixels of shape (height, width, 3) to a device."""
    levels = torch.from_numpy(np.array(pixels)).to(device).permute(2, 0, 1)[None]
    return levels.float() / 255


def to_pixels(picture: Tensor) -> NDArray[np.uint8]:
    """Round a picture to levels, of shape (height, width, 3); what is outside its range is clamped."""
    levels = (picture.detach()[0].permute(1, 2, 0).clamp(0, 1) * 255).round()
    pixels: NDArray[np.uint8] = levels.to("cpu", torch.uint8).contiguous().numpy()
    return pixels


def noise_like(picture: Tensor, seed: int) -> Tensor:
    """Noise around a mean grey, the same on every device for a seed."""
    random = torch.Generator().manual_seed(seed)
    noise = 0.5 + NOISE * torch.randn(picture.shape, generator=random)
    return noise.clamp(0, 1).to(picture.device)
