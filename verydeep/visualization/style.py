"""The content of one picture in the style of another (Gatys, Ecker and Bethge, arXiv 1508.06576)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from verydeep.errors import UsageError
from verydeep.files import check_out, write_whole
from verydeep.images import decode
from verydeep.images.views import Pixels
from verydeep.visualization.pixels import noise_like, to_tensor

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".tif": "TIFF"}
QUALITY = 95  # of JPEG and WebP


def check_picture_out(out: Path, pictures: tuple[Path, ...], *, overwrite: bool) -> None:
    """Make sure, before the work, that a picture can be written there.

    Args:
        out: the file.
        pictures: that are read, and are not to be lost.
        overwrite: whether a file that is there may be replaced.

    Raises:
        UsageError: its ending is of no kind of picture that is written, or there is a file already.
        DiskError: its folder cannot be made or written to.

    """
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"OUT is {out}; it has to end with one of {', '.join(FORMATS)}")
    if out.is_file() and any(picture.exists() and out.samefile(picture) for picture in pictures):
        raise UsageError(f"{out} is one of the pictures that are read; name another file")
    check_out(out, overwrite=overwrite)


def write_picture(out: Path, pixels: Pixels) -> None:
    """Write a picture of the kind that its ending says; it appears whole.

    Raises:
        DiskError: it cannot be written.

    """
    picture, kind = Image.fromarray(pixels), FORMATS[out.suffix.lower()]
    write_whole(out, lambda aside: picture.save(aside, kind, quality=QUALITY))


def start_picture(start: str, content: Tensor, seed: int) -> Tensor:
    """The picture to begin with, of the content's shape.

    Args:
        start: `content`, `noise`, or a picture's path: one that was made before, say, to go on with.
        content: of shape (1, 3, height, width).
        seed: of the noise.

    Raises:
        UsageError: it is neither a word nor a file.
        PictureError: the picture cannot be read.

    """
    if start == "content":
        return content
    if start == "noise":
        return noise_like(content, seed)
    if not Path(start).exists():
        raise UsageError(f"--init is {start!r}; it has to be content, noise, or a picture's path")
    picture = decode.read(Path(start))
    height, width = content.shape[2:]
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return to_tensor(np.asarray(picture), content.device)
