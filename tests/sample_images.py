"""Image files for tests: small, made from arrays, and some that are damaged in known ways."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def smooth(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A soft image with four different corners, which JPEG hardly changes: (height, width, 3) of uint8."""
    corners = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR))


def save(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    """Write an image of the kind that the path's ending says; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(40, 36) if pixels is None else pixels).save(path, **options)
    return path


def class_folders(root: Path, counts: Mapping[str, int], size: tuple[int, int] = (40, 36)) -> Path:
    """`root/<class>/<number>.jpg` for each class, all of them different; every class has a colour of its own."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            pixels = smooth(*size, seed=number) // 2
            pixels[..., label % 3] += 127
            save(root / name / f"{number}.jpg", pixels)
    return root


def cut(path: Path, share: float = 0.5) -> Path:
    """Keep the first part of a file alone, as an interrupted download does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def bomb(path: Path, side: int = 100_000) -> Path:
    """A PNG of some 70 bytes whose header claims `side` x `side` pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(side, side, 8, zlib.compress(b"\0")))
    return path


def png(width: int, height: int, bits: int, compressed: bytes, color_type: int = 2) -> bytes:
    """A PNG's bytes around compressed rows, for what Pillow itself does not write. Color type 2 is RGB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def png_of_16_bits(levels: np.ndarray) -> bytes:
    """An RGB PNG with 16 bits a channel, of levels of shape (height, width, 3) and type uint16."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return png(levels.shape[1], levels.shape[0], 16, zlib.compress(rows))
