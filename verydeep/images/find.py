"""Words of a user -> images whose classes are not known: files, folders and patterns, or shards."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from verydeep.errors import UsageError
from verydeep.images.folders import is_local
from verydeep.images.listing import Skipped
from verydeep.images.pictures import Pictures
from verydeep.images.shards import MANIFEST
from verydeep.images.sources import EMBEDDED, open_data
from verydeep.images.unlabelled import unlabelled
from verydeep.notes import say_skipped

Words = str | PathLike[str] | Sequence[str | PathLike[str]]


def find_images(words: Words) -> Pictures:
    """Find images by the names of files and folders, and by patterns such as `holiday/*.jpg`.

    Args:
        words: one or several; or a data set of another form, such as a folder of shards or its URL.

    Raises:
        UsageError: there are no words, or a pattern matches nothing.
        PictureError: there is no such file, or a folder without images.

    """
    named = [fspath(word) for word in ([words] if isinstance(words, (str, PathLike)) else words)]
    if len(named) == 1:
        (word,) = named
        if word in EMBEDDED or not is_local(word) or (Path(word) / MANIFEST).is_file():
            return open_data(word).all
    skipped = Skipped()
    found = unlabelled(_paths(named), skipped)
    say_skipped(", ".join(named), str(skipped))
    return found


def _paths(words: Sequence[str]) -> list[Path]:
    if not words:
        raise UsageError("no picture is given; name pictures, folders or patterns")
    paths: list[Path] = []
    for word in words:
        if not word:
            raise UsageError("the name of a picture is empty; name pictures, folders or patterns")
        if Path(word).exists() or not glob.has_magic(word):
            paths.append(Path(word))
            continue
        matches = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - the word may be absolute
        if not matches:
            raise UsageError(f"no file matches {word}")
        paths += map(Path, matches)
    return paths
