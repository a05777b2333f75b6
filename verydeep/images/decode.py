"""A file's bytes -> an upright RGB picture, whatever way they were stored, or a sentence that says why not."""

from __future__ import annotations

import stat
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from verydeep.errors import PictureError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm"})
"""Endings by which a file in a folder is taken for a picture; what it is, its first bytes decide."""

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # JPEG's reader reads the cameras' MPO too
MAX_PIXELS = 178_000_000  # 512 MB of RGB: beyond it a small file could fill the memory
LARGE = 16_000_000  # pixels beyond which the threads of a process decode one picture at a time

# Pixels that a byte holds at most, however plain the picture: a bit for each block of 64, deflate's 1,032 bytes of
# 8 pixels each, and strings of 4,096.
_MOST_PIXELS_A_BYTE = {"JPEG": 512, "MPO": 512, "PNG": 8256, "GIF": 4096}

_ORIENTATION = 0x0112  # EXIF tag
_EXTENSION = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}  # of the others it is the format's name


@dataclass(frozen=True)
class Encoded:
    """A file's bytes, wherever they come from, and what messages call them."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def read(path: Path | Encoded, *, smallest_side: int | None = None) -> Image.Image:
    """Read a picture.

    Args:
        path: of a JPEG, PNG, WebP, BMP, GIF (its first frame), TIFF or PPM file; or its bytes.
        smallest_side: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its smaller
            side is not less than this, which is faster and shifts pixels hardly. None decodes it whole.

    Returns:
        An upright picture of mode RGB. What is transparent is laid on white.

    Raises:
        PictureError: the file is missing, no picture, damaged, cut short or too large; the message names it.

    """
    with _opened(path) as image:
        large = image.width * image.height > LARGE
        if smallest_side is not None and image.format == "JPEG":
            _decode_smaller(image, smallest_side)
        with _ONE_BY_ONE if large else nullcontext():
            return upright_rgb(image)


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


def size(path: Path | Encoded) -> tuple[int, int]:
    """Width and height of a picture, upright, from its header (PNG and TIFF may have to be decoded for it).

    Raises:
        PictureError: as `read`, as far as the header tells.

    """
    with _opened(path) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns a TIFF itself: its versions differ in when its size is turned
        sideways = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
        width, height = image.size
    return (height, width) if sideways else (width, height)


def extension(path: Path | Encoded) -> str:
    """The ending for a picture's kind, without a dot: what it is, not what it is called.

    Raises:
        PictureError: as `size`.

    """
    with _opened(path) as image:
        kind = image.format or ""
    return _EXTENSION.get(kind, kind.lower())


@contextmanager
def _opened(path: Path | Encoded) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong while it is open is a `PictureError` that names it."""
    file = BytesIO(path.content) if isinstance(path, Encoded) else path
    try:
        num_bytes = len(path.content) if isinstance(path, Encoded) else _file_size(path)
        with _QUIET, Image.open(file, formats=FORMATS) as image:
            _check_size(image, num_bytes)
            yield image
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PictureError(f"{path}: a folder, where a picture is wanted") from None
    except PermissionError:
        raise PictureError(f"{path}: may not be read; change its permissions") from None
    except UnidentifiedImageError:
        raise PictureError(f"{path}: not a picture of a kind that can be read ({', '.join(FORMATS)})") from None
    except Image.DecompressionBombError:
        raise PictureError(f"{path}: more than {MAX_PIXELS:,} pixels; make it smaller first") from None
    except MemoryError:
        raise PictureError(f"{path}: does not fit in memory") from None
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"{path}: damaged ({reason})") from None


class _QuietPillow(AbstractContextManager[None]):
    """Keeps Pillow's warnings back while any thread reads: of half our bound of pixels, of damaged EXIF data.

    `warnings.catch_warnings` changes the filters of all threads, and two that overlap leave them changed: the
    first to enter sets them, the last to leave restores them.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._num_inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._num_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.__exit__(None, None, None)


_QUIET = _QuietPillow()
_ONE_BY_ONE = Lock()


def _file_size(path: Path) -> int:
    facts = path.stat()
    if stat.S_ISFIFO(facts.st_mode):
        raise PictureError("a pipe, where a picture is wanted")  # to open it would be to wait for ever
    return facts.st_size


def _check_size(image: Image.Image, num_bytes: int) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(
            f"{width}x{height} is more than the {MAX_PIXELS:,} pixels that are read; make it smaller first"
        )
    most = _MOST_PIXELS_A_BYTE.get(image.format or "")
    if most and width * height > max(LARGE, most * num_bytes):
        raise PictureError(
            f"damaged ({num_bytes:,} bytes cannot hold the {width}x{height} pixels that they claim)"
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
