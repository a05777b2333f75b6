"""Ways in which a photograph comes to harm, or only looks odd: for tests, and for a benchmark of them all."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from sample_images import png, png_of_16_bits

Damage = Callable[[Image.Image, np.random.Generator], bytes]


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(image: Image.Image) -> bytes:
    return encoded(image, "JPEG", quality=90)


def cut(content: bytes, random: np.random.Generator) -> bytes:
    """Keep one to eight tenths."""
    return content[: int(random.uniform(0.1, 0.8) * len(content))]


def flipped(content: bytes, random: np.random.Generator, count: int = 20) -> bytes:
    changed = bytearray(content)
    for place in random.integers(0, len(content), count):
        changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed)


def zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("photograph.jpg", content)
    return file.getvalue()


def claiming(content: bytes, side: int) -> bytes:
    """Let a baseline JPEG's header claim `side` x `side` pixels."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", side, side) + content[place + 4 :]


def gif_claiming(content: bytes, side: int) -> bytes:
    """Let a GIF's screen, and its first frame, be of `side` x `side` pixels."""
    frame = content.index(b"\x2c", 13 + 3 * 256)
    size = struct.pack("<HH", side, side)
    return content[:6] + size + content[10 : frame + 5] + size + content[frame + 9 :]


def noise(random: np.random.Generator, beginning: bytes = b"") -> bytes:
    return beginning + random.bytes(3000)


UNREADABLE: dict[str, tuple[str, Damage]] = {
    "cut": (".jpg", lambda image, random: cut(jpeg(image), random)),
    "cut in its header": (".jpg", lambda image, random: jpeg(image)[:100]),
    "cut PNG": (".png", lambda image, random: cut(encoded(image, "PNG"), random)),
    "cut GIF": (".gif", lambda image, random: cut(encoded(image, "GIF"), random)),
    "cut WebP": (".webp", lambda image, random: cut(encoded(image, "WEBP"), random)),
    "wrong header": (".jpg", lambda image, random: random.bytes(16) + jpeg(image)[16:]),
    "zip": (".jpg", lambda image, random: zipped(jpeg(image))),
    "page": (".jpg", lambda image, random: b"<!DOCTYPE html><title>404 Not Found</title>"),
    "noise": (".png", lambda image, random: noise(random)),
    "noise after a signature": (".jpg", lambda image, random: noise(random, b"\xff\xd8\xff\xe0\x00\x10JFIF\0")),
    "empty": (".jpg", lambda image, random: b""),
    "claims 60000 x 60000": (".jpg", lambda image, random: claiming(jpeg(image), 60_000)),
    "PNG claims 60000 x 60000": (
        ".png",
        lambda image, random: png(60_000, 60_000, 8, zlib.compress(bytes(100_000))),
    ),
    "GIF claims 60000 x 60000": (".gif", lambda image, random: gif_claiming(encoded(image, "GIF"), 60_000)),
    # Just below what is read.
    "claims 13000 x 13000": (".jpg", lambda image, random: claiming(jpeg(image), 13_000)),
    "PNG claims 13000 x 13000": (
        ".png",
        lambda image, random: png(13_000, 13_000, 8, zlib.compress(bytes(100_000))),
    ),
}

ODD: dict[str, tuple[str, Damage]] = {
    "PNG called jpg": (".jpg", lambda image, random: encoded(image, "PNG")),
    "JPEG called gif": (".gif", lambda image, random: jpeg(image)),
    "CMYK": (".jpg", lambda image, random: encoded(image.convert("CMYK"), "JPEG")),
    "16 bits": (".png", lambda image, random: png_of_16_bits(np.asarray(image).astype(np.uint16) * 257)),
    "16 bits of grey": (
        ".png",
        lambda image, random: encoded(Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16)), "PNG"),
    ),
    "palette": (".gif", lambda image, random: encoded(image, "GIF")),
    "transparent": (".png", lambda image, random: encoded(with_alpha(image, random), "PNG")),
    "black and white": (".tif", lambda image, random: encoded(image.convert("1"), "TIFF")),
}

PERHAPS: dict[str, tuple[str, Damage]] = {
    "flipped bits": (".jpg", lambda image, random: flipped(jpeg(image), random)),
    "PNG of flipped bits": (".png", lambda image, random: flipped(encoded(image, "PNG"), random, 2)),
    "GIF of flipped bits": (".gif", lambda image, random: flipped(encoded(image, "GIF"), random)),
}

KINDS = {**UNREADABLE, **ODD, **PERHAPS}


def with_alpha(image: Image.Image, random: np.random.Generator) -> Image.Image:
    image = image.copy()
    image.putalpha(int(random.integers(1, 255)))
    return image


def write_damaged(folder: Path, image: Image.Image, number: int, random: np.random.Generator) -> tuple[Path, bool]:
    """Write a copy of a photograph that is damaged in one of the ways, in turns; tell whether it can be read.

    Where that is a matter of chance, Pillow, which knows nothing of us, is asked.
    """
    kind = list(KINDS)[number % len(KINDS)]
    ending, damage = KINDS[kind]
    path = folder / f"{number:04d} {kind}{ending}"
    path.write_bytes(damage(image, random))
    return path, kind in ODD or (kind in PERHAPS and pillow_reads(path))


def pillow_reads(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.convert("RGB")
    except Exception:  # a damaged file makes it raise nearly anything
        return False
    return True
