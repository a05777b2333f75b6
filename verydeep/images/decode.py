"""A file's bytes -> an upright RGB image, whatever way they were stored, or a sentence that says why not."""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Literal

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from verydeep.errors import ImageError
from verydeep.images.decoder_messages import captured, in_words
from verydeep.images.formats import HEIC, ICO, JPEG, TIFF, Kind, sniff_file
from verydeep.images.levels import BY_FILE, check_loaded, eight_bits, strips, unchanged

MAX_PIXELS = 178_000_000  # 512 MB of RGB: beyond it a small file could fill the memory
LARGE = 16_000_000  # pixels beyond which the threads of a process decode one image at a time

# Pixels that a byte holds at most, however plain the image: a bit for each block of 64, deflate's 1,032 bytes of
# 8 pixels each, strings of 4,096, runs of 128.
_MOST_PIXELS_A_BYTE = {"JPEG": 512, "MPO": 512, "PNG": 8256, "GIF": 4096, "TGA": 64}

# A byte of these may hold any number of pixels, and their decoders take several times the memory of RGB.
# Telephones write HEIC of 48 million pixels.
_MAX_PIXELS = {"JPEG2000": MAX_PIXELS // 4, "AVIF": MAX_PIXELS // 3, "HEIF": MAX_PIXELS // 3}
_MAX_ICON = 1024 * 1024  # pixels; Pillow decodes an icon before it tells its size

# What Pillow itself catches where it reads a JPEG's EXIF data for the density.
_DAMAGED_EXIF = (SyntaxError, struct.error, KeyError, TypeError, ValueError, ZeroDivisionError)

_TRANSPOSED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_FROM_THE_END = (3, 4, 6, 7)  # the first rows of the file come last
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (FileNotFoundError, "no such file"),
    (IsADirectoryError, "a folder, not an image"),
    (PermissionError, "cannot be read: permission denied; change its permissions or run as its owner"),
    (Image.DecompressionBombError, f"more than {MAX_PIXELS:,} pixels; make it smaller first"),
    (MemoryError, "does not fit in memory"),
)
_JPEG_LS = 0xF7  # marker
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION = 0x0112  # EXIF tag
_EXTENSION = {
    "JPEG": "jpg",
    "MPO": "jpg",
    "TIFF": "tif",
    "JPEG2000": "jp2",
    "HEIF": "heic",
}  # else the format's name


class TooLargeError(ImageError):
    """An image that has more pixels than whoever asks for it takes."""


@dataclass(frozen=True)
class Encoded:
    """A file's bytes, wherever they come from, and what messages call them."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


def read(path: Path | Encoded, *, smallest_side: int | None = None, most: int = MAX_PIXELS) -> Image.Image:
    """Read an image.

    Args:
        path: of a file of one of the formats of `formats.READABLE`; or its bytes. Of an animation or a file of
            several pages the first is read.
        smallest_side: a JPEG may be decoded at a half, a quarter or an eighth of its size as long as its smaller
            side is not less than this, which is faster and shifts pixels hardly. None decodes it whole.
        most: pixels; one with more is refused before it is decoded.

    Returns:
        An upright image of mode RGB. What is transparent is laid on white.

    Raises:
        TooLargeError: it has more pixels than are taken.
        ImageError: the file is missing, no image, damaged or cut short; the message names it.

    """
    with _opened(path, most) as (image, file):
        turn = _turn(image)  # before it is drafted: a progressive JPEG is read whole all the same
        factor = min(image.size) // (smallest_side or min(image.size))
        if factor >= 2 and image.format == "JPEG":
            image.draft("RGB", (image.width // factor, image.height // factor))
        with turn:
            return upright_rgb(image, str(path), file)


def read_opened(image: Image.Image, name: str = "an image") -> Image.Image:
    """Read an image that Pillow has opened, as its file is read.

    Where it depends on the file and is not loaded yet, the file is read; the image itself stays as it is. Messages
    call it by its file's name, or else by `name`.

    Raises:
        ImageError: as `read`; or the image is loaded and does not say any more what its samples stand for.

    """
    name = str(getattr(image, "filename", "") or name)
    content = _unread(image)
    with _explained(name):
        if content is None:
            check_loaded(image)
            return upright_rgb(image, name)
        with Image.open(BytesIO(content), formats=[image.format or ""]) as again:
            _check_size(again, len(content))
            again.seek(image.tell())
            return upright_rgb(again, name, BytesIO(content))


def _unread(image: Image.Image) -> bytes | None:
    """The file of an image that is not loaded yet; None where nothing but the image is needed or there."""
    file = getattr(image, "fp", None)
    if image.format not in BY_FILE or not getattr(image, "tile", None) or file is None or file.closed:
        return None
    at = file.tell()
    file.seek(0)
    content: bytes = file.read()
    file.seek(at)
    return content


def upright_rgb(image: Image.Image, name: str = "an image", file: BinaryIO | None = None) -> Image.Image:
    """Turn an image of any mode into RGB, as its EXIF orientation says it is to be seen.

    Args:
        image: as Pillow has opened it.
        name: what notes call it.
        file: that it was opened from, where it has not been loaded yet.

    Raises:
        ImageError: it does not say what its levels stand for, as `levels.eight_bits` tells.

    """
    convert = eight_bits(image, name, file)
    orientation = _orientation(image.getexif)
    if (
        (image.mode, convert) == ("RGB", unchanged)
        and orientation not in _TRANSPOSED
        and not image.has_transparency_data
    ):
        return image
    width, height = image.size
    target = Image.new("RGB", (height, width) if orientation in _SIDEWAYS else (width, height))
    for (_, top, _, bottom), part in strips(image):
        strip = _on_white(convert(part))
        if orientation in _TRANSPOSED:
            strip = strip.transpose(_TRANSPOSED[orientation])
        place = height - bottom if orientation in _FROM_THE_END else top
        target.paste(strip, (place, 0) if orientation in _SIDEWAYS else (0, place))
    return target


def _orientation(exif_of: Callable[[], Image.Exif]) -> int | None:
    """How an image is turned, by its EXIF data; damaged data are as none."""
    try:
        return exif_of().get(_ORIENTATION)
    except _DAMAGED_EXIF:
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """An image of any 8-bit mode in RGB."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def size(path: Path | Encoded, *, most: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height of an image, upright, from its header (a TIFF is decoded, and a PNG with text at its end).

    Args:
        path: as of `read`.
        most: likewise.

    Raises:
        ImageError: as `read`, as far as the header tells.

    """
    with _opened(path, most) as (image, file):
        # Pillow's PNG decodes an image to see whether EXIF data follow its pixels.
        plain = image.format == "PNG" and _ends_with_pixels(file)
        decoded = image.format == "TIFF" or (image.format == "PNG" and not plain)
        with _turn(image) if decoded else nullcontext():
            if image.format == "TIFF":
                image.load()  # Pillow turns a TIFF itself: its versions differ in when its size is turned
            sideways = _orientation(partial(Image.Image.getexif, image) if plain else image.getexif) in _SIDEWAYS
        width, height = image.size
    return (height, width) if sideways else (width, height)


def _ends_with_pixels(file: BinaryIO) -> bool:
    """Whether nothing follows the pixels of a PNG."""
    place, at, before, kind = file.tell(), 8, b"", b""
    while kind != b"IEND":
        file.seek(at)
        length, before, kind = int.from_bytes(file.read(4), "big"), kind, file.read(4)
        if not kind:
            break
        at += 12 + length  # with the length, the kind and a checksum
    file.seek(place)
    return (before, kind) == (b"IDAT", b"IEND")


def extension(path: Path | Encoded) -> str:
    """The ending for an image's kind, without a dot: what it is, not what it is called.

    Raises:
        ImageError: as `size`.

    """
    with _opened(path) as (image, _):
        kind = image.format or ""
    return _EXTENSION.get(kind, kind.lower())


@contextmanager
def _opened(path: Path | Encoded, most: int = MAX_PIXELS) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open an image and its file; errors while it is open are explained."""
    with _explained(path), _file(path) as (file, num_bytes), _open(file, path) as image:
        _check_size(image, num_bytes, most)
        yield image, file


@contextmanager
def _explained(path: Path | Encoded | str) -> Iterator[None]:
    """Turn whatever goes wrong with an image into a `ImageError` that names it."""
    with captured() as messages:
        try:
            yield
        except Exception as error:
            kind = TooLargeError if isinstance(error, TooLargeError) else ImageError
            raise kind(f"{path}: {_reason(error, messages)}") from None


def _reason(error: Exception, messages: list[str]) -> str:
    if isinstance(error, ImageError):
        return str(error)
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if isinstance(error, OSError) and error.errno is not None:  # of the system; Pillow's own have no number
        return f"cannot be read: {error.strerror or error}"
    # A damaged file makes Pillow's decoders raise nearly anything.
    return f"damaged ({in_words([str(error) or type(error).__name__, *messages])})"


@contextmanager
def _file(path: Path | Encoded) -> Iterator[tuple[BinaryIO, int]]:
    """The open file, and its length in bytes."""
    if isinstance(path, Encoded):
        yield BytesIO(path.content), len(path.content)
    else:
        facts = path.stat()
        if stat.S_ISFIFO(facts.st_mode):
            raise ImageError("a pipe, not an image")  # to open it would be to wait for ever
        with path.open("rb") as file:
            yield file, facts.st_size


def _open(file: BinaryIO, path: Path | Encoded) -> Image.Image:
    """Open a file as what its first bytes say that it is, and as nothing else."""
    kind = sniff_file(file, str(path))
    if not kind.is_image:
        raise ImageError(f"not a readable image: {kind.reason}")
    if kind is HEIC:
        import_module("pillow_heif").register_heif_opener()
    if kind is ICO:
        _check_icon(file)
    try:
        return Image.open(file, formats=[kind.reader])
    except UnidentifiedImageError:
        raise ImageError(_why_not(file, kind)) from None


def _why_not(file: BinaryIO, kind: Kind) -> str:
    """Why Pillow does not open a file of a format that it reads."""
    stored = _tiff_samples(file) if kind is TIFF else _jpeg_samples(file) if kind is JPEG else ""
    if stored:
        return f"a {kind.name} with {stored}, which cannot be read; save it as PNG"
    return f"damaged ({kind.name} data that cannot be decoded)"


def _jpeg_samples(file: BinaryIO) -> str:
    """What a JPEG's first frame says that cannot be decoded; nothing where it says something else."""
    file.seek(2)
    while (marker := file.read(2)).startswith(b"\xff"):
        length, content = int.from_bytes(file.read(2), "big"), file.read(1)
        if marker[-1] == _JPEG_LS:
            return "the compression JPEG-LS"
        if marker[-1] in _JPEG_FRAMES:
            return f"{content[0]} bits a sample" if content not in (b"", b"\x08") else ""
        file.seek(max(0, length - 3), 1)
    return ""


def _tiff_samples(file: BinaryIO) -> str:
    """What a TIFF's tags say about its samples; nothing where they cannot be read."""
    file.seek(0)
    try:
        header = file.read(16)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header if 43 in header[2:4] else header[:8])  # 43: BigTIFF
        file.seek(tags.next)
        tags.load(file)
        if not {256, 257} <= tags.keys():  # cut short before them: the rest would be their defaults
            return ""
        bits, formats = tags.get(258, (1,)), tags.get(339, (1,))
    except Exception:  # as with any damaged file
        return ""
    kinds = {1: "unsigned integers", 2: "signed integers", 3: "floats", 4: "no type"}
    channels, compression = tags.get(277, len(bits)), tags.get(259, 1)
    packed = "" if compression in TiffImagePlugin.COMPRESSION_INFO else f", compressed by method {compression}"
    several = "channel" if channels == 1 else "channels"
    return f"{channels} {several} of {bits[0]} bits ({kinds.get(formats[0], 'another type')}{packed})"


_ONE_BY_ONE = Lock()


def _turn(image: Image.Image) -> AbstractContextManager[object]:
    """Wait to decode a large image, so that memory holds one of them at a time."""
    return _ONE_BY_ONE if image.width * image.height > LARGE else nullcontext()


def _check_size(image: Image.Image, num_bytes: int, most_pixels: int = MAX_PIXELS) -> None:
    width, height = image.size
    limit = min(most_pixels, _MAX_PIXELS.get(image.format or "", MAX_PIXELS))
    if width * height > limit:
        raise TooLargeError(
            f"{width}x{height} is more than the {limit:,} pixels that are read; make it smaller first"
        )
    most = _MOST_PIXELS_A_BYTE.get(image.format or "")
    if most and width * height > max(LARGE, most * num_bytes):
        raise ImageError(f"damaged ({num_bytes:,} bytes cannot hold the {width}x{height} pixels that they claim)")
    if min(width, height) < 1:
        raise ImageError(f"{width}x{height} pixels, no pixels")


def _check_icon(file: BinaryIO) -> None:
    """Refuse an icon in which an image is larger than any icon's."""
    directory = file.read(6)
    entries = [file.read(16) for _ in range(int.from_bytes(directory[4:6], "little"))]
    for entry in filter(None, entries):
        file.seek(int.from_bytes(entry[12:16], "little"))
        start = file.read(24)
        order: Literal["big", "little"] = "big" if start.startswith(b"\x89PNG") else "little"
        sides = (start[16:20], start[20:24]) if order == "big" else (start[4:8], start[8:12])
        width, height = (abs(int.from_bytes(side, order, signed=True)) for side in sides)
        if width * height > 2 * _MAX_ICON:  # in a bitmap, the mask is below the image
            raise ImageError(f"an icon of {width}x{height} pixels; make it smaller first")
    file.seek(0)
