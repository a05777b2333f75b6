"""Random images of every kind of sample, written from known levels by independent writers, and read by us.

The truth is arithmetic: `255 * sample / white`, where white is what the format declares. tifffile and torchvision
read the same files where they can.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
import torch
from outcomes import AGREE, REFUSED, Outcome, differ
from PIL import Image
from torchvision.io import ImageReadMode, decode_image

from verydeep.errors import ImageError
from verydeep.images.decode import read

Levels = np.ndarray
MOST_APART = 1.6  # levels: samples are rounded to 8 bits, and again where they are laid on white


def rgb(levels: Levels) -> Levels:
    """Grey or RGB, with or without alpha, of 0 to 1 -> RGB of 0 to 1, what is transparent on white."""
    levels = levels if levels.ndim == 3 else levels[:, :, None]
    channels = levels.shape[2]
    if channels in (2, 4):
        alpha = levels[:, :, -1:]
        levels = levels[:, :, :-1] * alpha + 1 - alpha
    return np.broadcast_to(levels, (*levels.shape[:2], 3)) if levels.shape[2] == 1 else levels


def samples(random: np.random.Generator, white: int, channels: int = 0) -> Levels:
    """Samples of 0 to white, both of which occur."""
    shape = (int(random.integers(2, 9)), int(random.integers(2, 9)), *([channels] if channels else []))
    found = random.integers(0, white + 1, shape)
    found.reshape(-1)[:2] = 0, white
    return found


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(random: np.random.Generator, path: Path) -> Levels:
    """PNG of 1, 2, 4, 8 or 16 bits; grey, RGB, with alpha."""
    color, channels = [(0, 1), (2, 3), (4, 2), (6, 4)][int(random.integers(4))]
    bits = int(random.choice([1, 2, 4, 8, 16] if color == 0 else [8, 16]))
    white = 2**bits - 1
    found = samples(random, white, channels)
    rows = []
    for row in found.reshape(found.shape[0], -1):
        if bits == 16:
            rows.append(b"\0" + row.astype(">u2").tobytes())
        else:
            digits = ((row[:, None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8)
            rows.append(b"\0" + np.packbits(digits.reshape(-1)).tobytes())
    header = struct.pack(">IIBBBBB", found.shape[1], found.shape[0], bits, color, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return rgb(found / white)


def write_palette(random: np.random.Generator, path: Path) -> Levels:
    """PNG or GIF with a palette, of which one color may be transparent."""
    found, palette = samples(random, 15), random.integers(0, 256, (16, 3), dtype=np.uint8)
    image = Image.fromarray(found.astype(np.uint8), "P")
    image.putpalette(palette.tobytes())
    clear = int(random.integers(16)) if random.random() < 0.5 else None
    image.save(path, **({} if clear is None else {"transparency": clear}))
    levels = palette[found] / 255
    return levels if clear is None else np.where((found == clear)[:, :, None], 1.0, levels)


def write_pnm(random: np.random.Generator, path: Path) -> Levels:
    """PBM, PGM and PPM, plain and raw, with any largest value."""
    kind = int(random.integers(1, 7))
    white = 1 if kind in (1, 4) else int(random.choice([1, 15, 100, 255, 256, 1023, 4095, 65535]))
    found = samples(random, white, 3 if kind in (3, 6) else 0)
    height, width = found.shape[:2]
    header = f"P{kind}\n# a comment\n{width} {height}\n" + ("" if kind in (1, 4) else f"{white}\n")
    if kind == 4:
        body = b"".join(np.packbits(row.astype(np.uint8)).tobytes() for row in found)
    elif kind > 4:
        body = found.astype(">u2" if white > 255 else np.uint8).tobytes()
    else:
        body = " ".join(map(str, found.reshape(-1).tolist())).encode() + b"\n"
    path.write_bytes(header.encode() + body)
    return rgb(1 - found if kind in (1, 4) else found / white)  # PBM's 1 is black


def write_tiff(random: np.random.Generator, path: Path) -> Levels:
    """TIFF by tifffile: integers of 8 and 16 bits, floats of 0 to 1, white or black as zero, packed or not."""
    channels = int(random.choice([0, 0, 3, 4]))
    white = int(random.choice([255, 65535, 1]))
    found = samples(random, white if white > 1 else 1000, channels)
    options: dict[str, object] = {"photometric": "rgb" if channels else "minisblack", "metadata": None}
    if channels == 4:
        options["extrasamples"] = ["unassalpha"]
    if white == 1:
        found = (found / 1000).astype(np.float32)
        channels and options.update(planarconfig="contig")
    else:
        found = found.astype(np.uint8 if white == 255 else np.uint16)
        if not channels and random.random() < 0.3:
            options["photometric"] = "miniswhite"
    if random.random() < 0.3 and channels != 4:
        options["byteorder"] = ">"
    if random.random() < 0.4:
        options["compression"] = "zlib"
    tifffile.imwrite(path, found, **options)
    levels = tifffile.imread(path) / white
    return rgb(1 - levels if options["photometric"] == "miniswhite" else levels)


def write_other(random: np.random.Generator, path: Path) -> Levels:
    """Formats of 8 bits without loss, by Pillow."""
    found = samples(random, 255, int(random.choice([0, 3]))).astype(np.uint8)
    Image.fromarray(found).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))
    return rgb(found / 255)


WRITERS: tuple[tuple[Callable[[np.random.Generator, Path], Levels], tuple[str, ...]], ...] = (
    (write_png, (".png",)),
    (write_palette, (".png", ".gif")),
    (write_pnm, (".ppm", ".pgm")),
    (write_tiff, (".tif",)),
    (write_other, (".bmp", ".webp", ".tga", ".tif")),
)


def by_torchvision(path: Path) -> Levels | None:
    """What torchvision makes of a file of 8 bits without transparency; None where it reads none or another way."""
    if path.suffix not in (".png", ".webp", ".gif"):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision announces that another package will decode
        found = decode_image(torch.from_numpy(np.fromfile(path, np.uint8)), ImageReadMode.RGB)
    if found.ndim != 3:  # an animation
        return None
    return found.numpy().transpose(1, 2, 0) * (255 / torch.iinfo(found.dtype).max)


def image_case(random: np.random.Generator, folder: Path) -> Outcome:
    """Levels of one image."""
    writer, endings = WRITERS[int(random.integers(len(WRITERS)))]
    path = folder / f"image{random.choice(endings)}"
    expected = 255 * writer(random, path)
    try:
        seen = np.asarray(read(path)).astype(float)
    except ImageError as error:
        return Outcome(REFUSED, str(error))
    what = f"{writer.__name__} {path.suffix}"
    if seen.shape != expected.shape or np.abs(seen - expected).max() > MOST_APART:
        return differ(
            f"{what}: levels {seen.reshape(-1)[:9]} where {expected.reshape(-1)[:9].round(1)} were written"
        )
    with Image.open(path) as image:
        opaque = not image.has_transparency_data and image.mode in ("L", "RGB", "P", "1")
    theirs = by_torchvision(path) if opaque else None
    if theirs is not None and np.abs(seen - theirs).max() > MOST_APART:
        return differ(f"{what}: levels {seen.reshape(-1)[:9]} where torchvision has {theirs.reshape(-1)[:9]}")
    return Outcome(AGREE)
