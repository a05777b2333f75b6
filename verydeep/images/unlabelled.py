"""Images whose classes are not known: those of some paths, and of the folders among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from verydeep.errors import PictureError, as_text
from verydeep.images.listing import Skipped, images_in
from verydeep.images.pictures import Files, Pictures


def unlabelled(paths: Iterable[Path], skipped: Skipped | None = None) -> Pictures:
    """Images to predict: each path is an image, or a folder that is searched at any depth.

    Args:
        paths: of files and folders.
        skipped: gets what lies in the folders and is no image.

    Raises:
        PictureError: there is no such file, or a folder without images.
        DataError: a folder may not be read.

    """
    skipped = Skipped() if skipped is None else skipped
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = images_in(path, skipped)
            if not inside:
                beside = f", but {skipped}" if skipped.counts else ""
                raise PictureError(f"{path}: no images in this folder{beside}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise PictureError(f"{path}: no such file")
    names = tuple(map(as_text, found))
    return Pictures(names, np.full(len(found), -1, dtype=np.int64), (), Files(tuple(found)))
