"""An image file -> the pixels that a network is shown, upright, RGB, of the size that was asked for; and back."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.errors import UsageError
from verydeep.files import check_out, write_whole
from verydeep.images import decode
from verydeep.images.views import Pixels

LARGEST = 10_000  # pixels of a longer side
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
QUALITY = 95  # of JPEG and WebP


def read_pixels(path: Path, longer_side: int, *, enlarge: bool = False) -> Pixels:
    """Read an image, rescaled so that its longer side is `longer_side`.

    Args:
        path: of the image.
        longer_side: in pixels.
        enlarge: whether a smaller image is enlarged, too.

    Returns:
        Of shape (height, width, 3).

    Raises:
        ImageError: it cannot be read.

    """
    image = decode.read(path, smallest_side=None if enlarge else longer_side)
    factor = longer_side / max(image.size)
    if factor < 1 or (factor > 1 and enlarge):
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image)


def check_longer_side(size: int) -> None:
    """Make sure that an image can have such a longer side.

    Raises:
        UsageError: it is 0 or less, or so large that the image alone would not fit in memory.

    """
    if not 1 <= size <= LARGEST:
        raise UsageError(f"`size` is {size}; it is the longer side in pixels, 1 to {LARGEST:,}")


def check_image_out(out: str | PathLike[str], images: Sequence[Path]) -> Path:
    """Make sure, before the work, that an image can be written there.

    Args:
        out: the file.
        images: that are read, and are not to be lost.

    Raises:
        UsageError: its ending is of no kind of image that is written, or it is one of those that are read.
        DiskError: its folder cannot be made or written to.

    """
    path = Path(out)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"`out` {path} has to end with one of {', '.join(FORMATS)}")
    if path.is_file() and any(image.exists() and path.samefile(image) for image in images):
        raise UsageError(f"{path} is one of the input images; choose another file")
    check_out(path)
    return path


def write_image(out: Path, pixels: Pixels) -> None:
    """Write an image of the kind that its ending says; it appears whole.

    Raises:
        DiskError: it cannot be written.

    """
    image, kind = Image.fromarray(pixels), FORMATS[out.suffix.lower()]
    write_whole(out, lambda aside: image.save(aside, kind, quality=QUALITY))
