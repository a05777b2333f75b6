"""A picture's file -> the pixels that a network is shown: upright, RGB, of the size that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.errors import UsageError
from verydeep.images import decode
from verydeep.images.views import Pixels

LARGEST = 10_000  # pixels of a longer side


def read_pixels(path: Path, longer_side: int, *, enlarge: bool = False) -> Pixels:
    """Read a picture, made as large as `longer_side` says.

    Args:
        path: of the picture.
        longer_side: in pixels.
        enlarge: whether a smaller picture is enlarged, too.

    Returns:
        Of shape (height, width, 3).

    Raises:
        PictureError: it cannot be read.

    """
    picture = decode.read(path, smallest_side=None if enlarge else longer_side)
    return np.asarray(fit(picture, longer_side, enlarge=enlarge))


def fit(picture: Image.Image, longer_side: int, *, enlarge: bool) -> Image.Image:
    """Rescale a picture so that its longer side is `longer_side`; a smaller one stays, unless it is to grow."""
    factor = longer_side / max(picture.size)
    if factor == 1 or (factor > 1 and not enlarge):
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def check_size_option(size: int) -> None:
    """Make sure that a picture can have such a longer side.

    Raises:
        UsageError: it is 0 or less, or so large that the picture alone would fill the memory.

    """
    if not 1 <= size <= LARGEST:
        raise UsageError(f"--size is {size}; it is the longer side in pixels, 1 to {LARGEST:,}")
