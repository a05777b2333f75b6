"""An image -> a PNG file, or its bytes."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from verydeep.files import MARK, write_whole


def png(image: Image.Image) -> bytes:
    """An image as the bytes of a PNG file."""
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_drawing(path: Path, image: Image.Image) -> None:
    """Write a drawing as a PNG file, whole, with the mark by which nobody takes it for data.

    Raises:
        DiskError: it cannot be written.

    """
    from PIL.PngImagePlugin import PngInfo

    mark = PngInfo()
    mark.add_text(*MARK)
    write_whole(path, partial(image.save, format="PNG", pnginfo=mark))
