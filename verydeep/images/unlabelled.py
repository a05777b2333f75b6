"""Images whose classes are not known: those of some paths, and of the folders among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from verydeep.errors import PictureError, as_text
from verydeep.images.formats import sniff
from verydeep.images.listing import Skipped, images_in
from verydeep.images.pictures import Files, Pictures


def unlabelled(paths: Iterable[str | Path], skipped: Skipped | None = None) -> Pictures:
    """Images to predict: each path is an image, or a folder that is searched at any depth.

    A single one may also be any other data that `open_data` opens, such as a folder or a URL of shards. All its
    labelled images are taken.

    Args:
        paths: of files and folders.
        skipped: gets what lies in the folders and is no image.

    Raises:
        PictureError: there is no such file, or a folder without images.
        DataError: a folder may not be read.

    """
    words = [str(path) for path in paths]
    known = _other_data(words[0]) if len(words) == 1 else None
    if known is not None:
        return known
    skipped = Skipped() if skipped is None else skipped
    found: list[Path] = []
    for path in map(Path, words):
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


def _other_data(location: str) -> Pictures | None:
    """All images of data that is neither an image nor a folder of images."""
    path = Path(location)
    if path.is_file() and _is_image(path):
        return None
    from verydeep.images import class_folders, sources  # not above: one image is to be named without delay

    source = sources.find_source(location)
    return None if source in (None, class_folders) else sources.open_data(location).all


def _is_image(path: Path) -> bool:
    try:
        return sniff(path).is_image
    except OSError:  # whoever decodes it will say why
        return True
