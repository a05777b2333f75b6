"""Labelled images, from wherever they are. A new form of data is a module, and an entry in `SOURCES`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from verydeep.errors import DataError
from verydeep.images import class_folders, digits, shards
from verydeep.images.data import Data
from verydeep.images.storage import local_path


class DataSource(Protocol):
    """A module that opens one form of data."""

    def recognizes(self, location: str) -> bool:
        """Whether a path, a URL or a name is data of this form, by a quick look."""
        ...

    def open_data(self, location: str) -> Data:
        """Open it; the pixels are read when they are wanted.

        Raises:
            DataError: something about it is wrong.

        """
        ...


SOURCES: list[DataSource] = [digits, shards, class_folders]
"""The forms of data; the first that recognizes a location opens it."""


def find_source(location: str) -> DataSource | None:
    """What opens the data at a location; None where nothing does."""
    return next((source for source in SOURCES if source.recognizes(location)), None)


def open_data(data: str, held_out: frozenset[str] = frozenset()) -> Data:
    """Open a data set.

    Args:
        data: `digits`; or a folder, as `class_folders` describes; or the folder of what `verydeep shard` has made,
            or its URL, such as `s3://bucket/folder`; or what another entry of `SOURCES` recognizes.
        held_out: names of the images that a model's training held out, for data without a validation part of its
            own: they are held out again, and no other.

    Raises:
        DataError: there is no such data, or its layout is none that is read.

    """
    if not data:
        raise DataError("the data is an empty string; give a folder, or 'digits'")
    if data == digits.NAME and Path(data).is_dir():
        raise DataError(
            f"{data} is a folder here and also the name of scikit-learn's data set; write ./{data} for the "
            "folder, or run the command in another folder for the data set"
        )
    source = find_source(data)
    if source is None:
        what = "is a file" if local_path(data).exists() else "does not exist"
        raise DataError(
            f"data folder {data} {what}; give a folder with a folder of images for each class, or 'digits'"
        )
    return replace(source.open_data(data), held_out_before=held_out)
