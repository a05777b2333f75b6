"""A file's bytes -> an upright RGB picture, whatever way they were stored, or a sentence that says why not."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from verydeep.errors import PictureError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""Endings by which a file in a folder is taken for a picture; what it is, its first bytes decide."""

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 178_000_000  # 512 MB of RGB: beyond it a small file could fill the memory

_ORIENTATION = 0x0112  # EXIF tag


def read(path: Path, *, smallest_side: int | None = None) -> Image.Image:
    """Read a picture from disk.

    Args:
        path: of a JPEG, PNG, WebP, BMP, GIF (its first frame), TIFF or PPM file.
        smallest_side: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its smaller
            side is not less than this, which is faster and shifts pixels hardly. None decodes it whole.

    Returns:
        An upright picture of mode RGB. What is transparent is laid on white.

    Raises:
        PictureError: the file is missing, no picture, damaged, cut short or too large; the message names it.

    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at a fifth of our bound and refuses at our bound.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                _check_size(image)
                if smallest_side is not None and image.format == "JPEG":
                    _decode_smaller(image, smallest_side)
                return upright_rgb(image)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{path}: a folder, where a picture is wanted") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture of a kind that can be read ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: more than {MAX_PIXELS:,} pixels; make it smaller first") from None
    except MemoryError:
        raise PictureError(f"{path}: does not fit in memory") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        raise PictureError(f"{path}: damaged ({error})") from None


def upright_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture of any mode into RGB, as its EXIF orientation says it is to be seen."""
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 bits and more a pixel, greyscale
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, upright, from its header alone.

    Raises:
        PictureError: as `read`, as far as the header tells.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                sideways = image.getexif().get(_ORIENTATION, 1) >= 5
    except Exception as error:
        raise PictureError(f"{path}: {error}") from None
    return (height, width) if sideways else (width, height)


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{width}x{height} is more than the {MAX_PIXELS:,} pixels that are read; make it smaller first"
        )
    if min(width, height) < 1:
        raise PictureError(f"{width}x{height} pixels, nothing to see")


def _decode_smaller(image: Image.Image, smallest_side: int) -> None:
    factor = min(image.size) // smallest_side
    if factor >= 2:
        image.draft("RGB", (image.width // factor, image.height // factor))


def _eight_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Bring 16-bit levels to 0 to 255. Floating-point levels are taken for shares of 1 where none exceeds it."""
    if levels.dtype.kind == "f":
        levels = np.nan_to_num(levels)
        greatest = 1.0 if levels.max(initial=0) <= 1 else 255.0
    else:
        greatest = 65535.0
    scaled: NDArray[np.uint8] = (np.clip(levels / greatest, 0, 1) * 255).round().astype(np.uint8)
    return scaled
