"""Images as files have them <-> as they are changed: RGB of shape (1, 3, height, width), range (0, 1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from verydeep.errors import UsageError
from verydeep.images import decode

NOISE = 0.1  # deviation of the noise that an image starts from, around a mean grey


def to_tensor(pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
    """Bring pixels of shape (height, width, 3) to a device."""
    levels = torch.from_numpy(np.array(pixels)).to(device).permute(2, 0, 1)[None]
    return levels.float() / 255


def to_pixels(image: Tensor) -> NDArray[np.uint8]:
    """Round an image to levels, of shape (height, width, 3); what is outside its range is clamped."""
    levels = (image.detach()[0].permute(1, 2, 0).clamp(0, 1) * 255).round()
    pixels: NDArray[np.uint8] = levels.to("cpu", torch.uint8).contiguous().numpy()
    return pixels


def noise_like(image: Tensor, seed: int) -> Tensor:
    """Noise around a mean grey, the same on every device for a seed."""
    random = torch.Generator().manual_seed(seed)
    noise = 0.5 + NOISE * torch.randn(image.shape, generator=random)
    return noise.clamp(0, 1).to(image.device)


def initial_image(init: str, content: Tensor, seed: int) -> Tensor:
    """The image to begin with, of the content's shape.

    Args:
        init: `content`, `noise`, or an image's path: one that was made before, say, to go on with.
        content: of shape (1, 3, height, width).
        seed: of the noise.

    Raises:
        UsageError: it is neither a word nor a file.
        ImageError: the image cannot be read.

    """
    if init == "content":
        return content
    if init == "noise":
        return noise_like(content, seed)
    if not Path(init).exists():
        raise UsageError(f"`init` is {init!r}; it must be content, noise, or an image's path")
    height, width = content.shape[2:]
    image = decode.read(Path(init))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return to_tensor(np.asarray(image), content.device)
