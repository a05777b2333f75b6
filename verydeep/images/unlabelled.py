"""Pictures whose classes nobody has told: those of some paths, and of the folders among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from verydeep.errors import PictureError, as_text
from verydeep.images import decode
from verydeep.images.pictures import Files, Pictures


def unlabelled(paths: Iterable[Path]) -> Pictures:
    """Pictures to predict: each path is a picture, or a folder that is searched through.

    Raises:
        PictureError: there is no such file, or a folder without pictures.

    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = pictures_in(path)
            if not inside:
                raise PictureError(f"{path}: no pictures in this folder")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise PictureError(f"{path}: no such file")
    names = tuple(map(as_text, found))
    return Pictures(names, np.full(len(found), -1, dtype=np.int64), (), Files(tuple(found)))


def pictures_in(folder: Path) -> list[Path]:
    """Search through a folder; what is hidden, such as `.ipynb_checkpoints/`, is passed by."""
    files = (file for file in folder.rglob("*") if is_picture(file))
    return sorted(
        file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def is_picture(path: Path) -> bool:
    """Whether a file is called like a picture, and is not hidden."""
    return path.suffix.lower() in decode.EXTENSIONS and not path.name.startswith(".")
