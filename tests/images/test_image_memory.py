"""An image takes four bytes a pixel beside what its decoder takes: those of the RGB image that is given."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from sample_images import png

SIDES = (3072, 2048)  # width and height
PIXELS = SIDES[0] * SIDES[1]
SLACK = 0.9  # bytes a pixel: strips, and what the allocator keeps

# Each file is read in a process of its own, forked from one that has imported all: a peak never falls.
MEASURE = """
import json, os, resource, sys
from io import BytesIO
from pathlib import Path
from PIL import Image
from verydeep.images import decode
from verydeep.images.decode import Encoded

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

Image.init()
small = []
for mode, kind in (("RGBA", "PNG"), ("I;16", "PNG"), ("F", "TIFF")):
    buffer = BytesIO()
    Image.new(mode, (300, 300)).save(buffer, kind)
    small.append(Encoded("small", buffer.getvalue()))
Image.MAX_IMAGE_PIXELS = None
for name in sys.argv[1:]:
    reader, writer = os.pipe()
    if os.fork() == 0:
        for image in small:  # in this process too: it does not count the pages of libraries before it needs them
            decode.read(image)
        before = peak()
        with Image.open(name) as image:
            image.load()
        decoder = peak()
        del image
        decode.read(Path(name))
        os.write(writer, json.dumps([decoder - before, peak() - decoder]).encode())
        os._exit(0)
    os.close(writer)
    print(json.dumps([name, *json.loads(os.read(reader, 1000))]), flush=True)
    os.wait()
"""


def saved(folder: Path, name: str, image: Image.Image, kind: str = "PNG", **options) -> Path:
    path = folder / name
    image.save(path, kind, **({"compress_level": 1} if kind == "PNG" else {}), **options)
    return path


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def make(folder: Path) -> dict[str, Path]:
    """A large file of each mode."""
    width, height = SIDES
    grey = np.broadcast_to((np.arange(width) // 12 % 256).astype(np.uint8), (height, width))
    rgb = Image.fromarray(np.stack([grey, grey[:, ::-1], grey], 2))
    translucent = rgb.copy()
    translucent.putalpha(Image.fromarray(grey))
    deep = np.stack([grey.astype(np.uint16) * 257] * 4, 2)
    palette = rgb.convert("P")
    images = {
        "1": (rgb.convert("1"), "PNG", {}),
        "L": (rgb.convert("L"), "PNG", {}),
        "L with a key": (rgb.convert("L"), "PNG", {"transparency": 3}),
        "LA": (translucent.convert("LA"), "PNG", {}),
        "P": (palette, "PNG", {}),
        "P with transparency": (palette, "PNG", {"transparency": bytes(range(256))}),
        "RGB": (rgb, "PNG", {}),
        "RGB with a key": (rgb, "PNG", {"transparency": (1, 2, 3)}),
        "RGB turned": (rgb, "JPEG", {"exif": turned(6)}),
        "RGBA": (translucent, "PNG", {}),
        "RGBA turned": (translucent, "PNG", {"exif": turned(8)}),
        "CMYK": (rgb.convert("CMYK"), "JPEG", {}),
        "YCbCr": (rgb.convert("YCbCr"), "TIFF", {"compression": "tiff_lzw"}),
        "I;16": (Image.fromarray(deep[..., 0].copy()), "PNG", {}),
        "I;16 turned": (Image.fromarray(deep[..., 0].copy()), "PNG", {"exif": turned(5)}),
    }
    made = {name: saved(folder, name, image, kind, **options) for name, (image, kind, options) in images.items()}
    for name, levels, options in (
        ("I", deep[..., 0].astype(np.int32), {"extratags": [(281, 4, 1, 65535, True)]}),
        ("F", grey.astype(np.float32) / 255, {}),
        ("RGB of 16 bits", deep[..., :3], {"photometric": "rgb"}),
        ("RGBA of 16 bits", deep, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    ):
        made[name] = folder / name
        tifffile.imwrite(made[name], levels, compression="zlib", predictor=False, **options)
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # a filter's byte before each
    rows[:, 1:] = deep[..., :2].astype(">u2").reshape(height, -1).view(np.uint8)
    made["LA of 16 bits"] = folder / "LA of 16 bits"
    made["LA of 16 bits"].write_bytes(png(width, height, 16, zlib.compress(rows.tobytes(), 1), color_type=4))
    return made


@pytest.fixture(scope="module")
def peaks(tmp_path_factory) -> dict[str, tuple[float, float]]:
    """Bytes a pixel that the decoder takes, and those beyond it, of each mode."""
    files = make(tmp_path_factory.mktemp("large"))
    command = [sys.executable, "-c", MEASURE, *map(str, files.values())]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [json.loads(line) for line in lines]
    return {Path(name).name: (decoder / PIXELS, beyond / PIXELS) for name, decoder, beyond in found}


@pytest.mark.heavy
def test_four_bytes_a_pixel_beside_the_decoders(peaks):
    table = "\n".join(f"{name:20} {decoder:5.1f} {beyond:5.1f}" for name, (decoder, beyond) in peaks.items())
    print(table)
    assert len(peaks) == 20
    assert not {name: beyond for name, (_, beyond) in peaks.items() if beyond > 4 + SLACK}, table
