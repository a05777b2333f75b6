"""Bits per sample of a JPEG 2000, which Pillow shifts to 8 without regard to their range."""

from __future__ import annotations

from typing import BinaryIO

from PIL import Image

from verydeep.errors import ImageError

_START = b"\xff\x4f\xff\x51"  # of a codestream: its first two markers
_COMPONENTS = 40  # bytes of a codestream before their number


def full_range(image: Image.Image, file: BinaryIO) -> list[int]:
    """Levels of 0 to 255 for those of a loaded image, channel by channel; none where it has 8 bits.

    Raises:
        ImageError: its samples are signed, or Pillow would decode them wrongly.

    """
    precisions = _precisions(file)
    if max(precisions) > 8 or (image.mode == "P" and precisions[0] != 8):
        shown = ", ".join(map(str, precisions))
        raise ImageError(
            f"a JPEG 2000 image of mode {image.mode} with {shown} bits a sample; convert it to 8 bits"
        )
    if set(precisions) == {8} or len(precisions) != len(image.getbands()):
        return []
    return [level for bits in precisions for level in _levels(bits)]


def white(file: BinaryIO) -> int:
    """The level of white in grey of more than 8 bits, which Pillow shifts to 16.

    Raises:
        ImageError: its samples are signed.

    """
    bits = _precisions(file)[0]
    return ((1 << bits) - 1) << (16 - bits)


def _levels(bits: int) -> list[int]:
    """Levels for samples of so many bits, shifted left to 8."""
    white = (2**bits - 1) << (8 - bits)
    return [min(255, round(255 * level / white)) for level in range(256)]


def _precisions(file: BinaryIO) -> list[int]:
    """Bits a sample of each component."""
    file.seek(_codestream(file))
    header = file.read(_COMPONENTS + 2)
    number = int.from_bytes(header[_COMPONENTS:], "big")
    stored = file.read(3 * number)[::3]
    if not header.startswith(_START) or not 0 < number == len(stored):
        raise ImageError("damaged (no codestream)")
    if max(stored) > 15:  # the highest bit is the sign
        raise ImageError(
            "its samples are signed, or have more than 16 bits; convert it to unsigned ones of 8 bits"
        )
    return [byte + 1 for byte in stored]


def _codestream(file: BinaryIO) -> int:
    """Where it begins: at once, or in the box `jp2c`."""
    at = file.seek(0)
    header = file.read(16)
    while not header.startswith(_START) and header[4:8] != b"jp2c":
        length = int.from_bytes(header[8:16] if header[:4] == b"\0\0\0\1" else header[:4], "big")
        if length < 8 or len(header) < 8:
            raise ImageError("damaged (no codestream)")
        at = file.seek(at + length)
        header = file.read(16)
    if header.startswith(_START):
        return at
    return at + (16 if header[:4] == b"\0\0\0\1" else 8)
