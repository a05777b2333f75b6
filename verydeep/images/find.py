"""Words of a user -> images without their classes: files, folders, patterns, lists, or any labelled data."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from itertools import groupby
from os import PathLike, fspath
from pathlib import Path

from verydeep.errors import ImageError, UsageError, near_path
from verydeep.images.formats import EXTENSIONS, HEAD, kind_of
from verydeep.images.image_set import ImageSet
from verydeep.images.joined import Joined
from verydeep.images.listing import Skipped, list_images, why_no_image
from verydeep.images.path_list import PathList, read_path_list
from verydeep.notes import say_skipped

Words = str | PathLike[str] | Sequence[str | PathLike[str]]
LIST = "@"  # before the name of a list of images


def find_images(words: Words) -> ImageSet:
    """Find images by names of files and folders, by patterns such as `holiday/*.jpg`, and by lists: `@list.txt`.

    A list is a text file with a path a line. Files that it names are looked at when they are read: one that is not
    there is then an image that cannot be read.

    Args:
        words: one or several; also data sets of another form, such as folders of shards or their URLs.

    Raises:
        UsageError: there are no words, or a pattern matches nothing.
        ImageError: there is no such file, or a folder or a pattern without images.

    """
    named = [fspath(word) for word in ([words] if isinstance(words, (str, PathLike)) else words)]
    if not named:
        raise UsageError("no image is given; name images, folders, patterns or lists")
    skipped = Skipped()
    found: list[ImageSet] = []
    for other, several in groupby(named, _other_source):
        if other is None:
            found.append(unlabelled(_paths(list(several), skipped), skipped))
        else:
            found += map(other, several)
    say_skipped(", ".join(named), str(skipped))
    return found[0] if len(found) == 1 else ImageSet.unlabelled(Joined(tuple(found)))


def _other_source(word: str) -> Callable[[str], ImageSet] | None:
    """What opens a list of images, or a data set of a form of its own; None for files, folders and patterns."""
    if word.startswith(LIST) and not Path(word).exists():
        return _open_list
    if "://" not in word and (Path(word).suffix.lower() in EXTENSIONS or _is_image(Path(word))):
        return None
    from verydeep.images import class_folders  # not above: an image is sooner decoded without them
    from verydeep.images.sources import find_source

    return None if find_source(word) in (None, class_folders) else _open_data


def _open_list(word: str) -> ImageSet:
    return ImageSet.unlabelled(read_path_list(Path(word.removeprefix(LIST))))


def _open_data(word: str) -> ImageSet:
    """All images of a data set, in the order of its parts."""
    from verydeep.images.sources import open_data

    return reduce(ImageSet.join, open_data(word).parts.values()).without_labels()


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
            raise ImageError(f"{path}: no such file{near_path(path)}")
    return ImageSet.unlabelled(PathList.of(found))


def _paths(words: Sequence[str], skipped: Skipped) -> list[Path]:
    paths: list[Path] = []
    for word in words:
        if not word:
            raise UsageError("an image name is empty; name images, folders, patterns or lists")
        if "://" in word:  # of this machine: others are shards
            from verydeep.images.storage import local_path  # not above: most are paths

            word = str(local_path(word))
        if Path(word).exists() or not glob.has_magic(word):
            paths.append(Path(word))
            continue
        paths += _matching(word, skipped)
    return paths


def _matching(pattern: str, skipped: Skipped) -> list[Path]:
    """Images that a pattern matches and those in folders that it matches, each once."""
    matches = dict.fromkeys(map(Path, sorted(glob.glob(pattern, recursive=True))))  # noqa: PTH207 - may be absolute
    if not matches:
        raise UsageError(f"no file matches {pattern}")
    folders = {path for path in matches if path.is_dir()}
    images: list[Path] = []
    for path in matches:
        if not folders.isdisjoint(path.parents):
            continue  # the search of that folder finds it
        if path in folders:
            images += list_images(path, skipped).every_image
        elif reason := _why_no_image(path):
            skipped.add(reason, path)
        else:
            images.append(path)
    if not images:
        beside = f", but {skipped}" if skipped.counts else ""
        raise ImageError(f"{pattern}: no images match this pattern{beside}")
    return images


def _why_no_image(path: Path) -> str | None:
    try:
        return why_no_image(path, path)
    except OSError:
        return None  # whoever decodes it will say why
