"""Words of a user -> images whose classes are not asked: files, folders and patterns, or any labelled data."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path

import numpy as np

from verydeep.errors import ImageError, UsageError, as_text
from verydeep.images.formats import HEAD, kind_of
from verydeep.images.image_set import Files, ImageSet
from verydeep.images.listing import Skipped, list_images
from verydeep.notes import say_skipped

Words = str | PathLike[str] | Sequence[str | PathLike[str]]


def find_images(words: Words) -> ImageSet:
    """Find images by the names of files and folders, and by patterns such as `holiday/*.jpg`.

    Args:
        words: one or several; or a data set of another form, such as a folder of shards or its URL.

    Raises:
        UsageError: there are no words, or a pattern matches nothing.
        ImageError: there is no such file, or a folder without images.

    """
    named = [fspath(word) for word in ([words] if isinstance(words, (str, PathLike)) else words)]
    if len(named) == 1 and not _is_image(Path(named[0])):
        from verydeep.images import class_folders  # not above: an image is sooner decoded without them
        from verydeep.images.sources import find_source, open_data

        if find_source(named[0]) not in (None, class_folders):
            return open_data(named[0]).all
    skipped = Skipped()
    found = unlabelled(_paths(named), skipped)
    say_skipped(", ".join(named), str(skipped))
    return found


def _is_image(path: Path) -> bool:
    """Whether a file is an image by its first bytes: an archive of images is a file too."""
    try:
        with path.open("rb") as file:
            return kind_of(file.read(HEAD), path.name).is_image
    except OSError:
        return False


def unlabelled(paths: Iterable[Path], skipped: Skipped | None = None) -> ImageSet:
    """Images of paths: each is an image, or a folder that is searched at any depth.

    Args:
        paths: of files and folders.
        skipped: gets what lies in the folders and is no image.

    Raises:
        ImageError: there is no such file, or a folder without images.
        DataError: a folder cannot be read.

    """
    skipped = Skipped() if skipped is None else skipped
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = list_images(path, skipped).every_image
            if not inside:
                beside = f", but {skipped}" if skipped.counts else ""
                raise ImageError(f"{path}: no images in this folder{beside}")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ImageError(f"{path}: no such file")
    names = tuple(map(as_text, found))
    return ImageSet(names, np.full(len(found), -1, dtype=np.int64), (), Files(tuple(found)))


def _paths(words: Sequence[str]) -> list[Path]:
    if not words:
        raise UsageError("no image is given; name images, folders or patterns")
    paths: list[Path] = []
    for word in words:
        if not word:
            raise UsageError("an image name is empty; name images, folders or patterns")
        if Path(word).exists() or not glob.has_magic(word):
            paths.append(Path(word))
            continue
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - the word may be absolute
        if not matches:
            raise UsageError(f"no file matches {word}")
        paths += map(Path, matches)
    return paths
