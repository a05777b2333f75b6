"""Labelled images, from wherever they are: folders, shards, the embedded digits."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError, require
from verydeep.images.data import AT_RANDOM, UNDIVIDED, Data
from verydeep.images.folders import is_local, local_path
from verydeep.images.layouts import open_folders
from verydeep.images.pictures import Arrays, Pictures
from verydeep.images.shards import MANIFEST, UNFINISHED, Index, Part, Shards, StoredNames, open_index

EMBEDDED = ("digits",)


def open_data(data: str, held_out: frozenset[str] = frozenset()) -> Data:
    """Open a data set.

    Args:
        data: `digits`; or a folder, as `layouts` describes; or the folder of what `verydeep shard` has made, or
            its URL, such as `s3://bucket/folder`.
        held_out: names of the images that a model's training held out, for data without a validation part of its
            own: they are held out again, and no other.

    Raises:
        DataError: there is no such folder, or its layout is none that is read.

    """
    if not data:
        raise DataError("the name of the data is empty; give a folder, or 'digits'")
    if data in EMBEDDED:
        if Path(data).is_dir():
            raise DataError(
                f"{data} is a folder here and also the data set of scikit-learn; write ./{data} for the folder, "
                "or change to another folder for the other"
            )
        return _digits(held_out)
    if not is_local(data):
        return _shards(data, held_out)
    root = local_path(data)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"data folder {data} {what}; give a folder with a folder of images for each class, or 'digits'"
        )
    if (root / MANIFEST).is_file():
        return _shards(data, held_out)
    if (root / UNFINISHED).is_dir():
        raise DataError(
            f"{data} is what an interrupted `verydeep shard` has left; go on with it by the same command"
        )
    return replace(open_folders(root), held_out_before=held_out)


def _shards(location: str, held_out: frozenset[str]) -> Data:
    index = open_index(location)
    manifest = index.manifest
    first, count = manifest.train.num_pictures, len(index.labels)
    train = _part_of(index, range(first), manifest.train)
    val = _part_of(index, range(first, count), manifest.val)
    return Data({"train": train, "val": val}, manifest.split, held_out, drawn=manifest.split == AT_RANDOM)


def _part_of(index: Index, numbers: range, part: Part) -> Pictures:
    return Pictures(
        StoredNames(index, numbers),
        index.labels[numbers.start : numbers.stop],
        index.manifest.class_names,
        Shards(index, numbers),
        part.fingerprint,
    )


def _digits(held_out: frozenset[str]) -> Data:
    """Scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 levels (UCI ML repository, CC BY 4.0)."""
    rows = _rows_of_digits()
    levels = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    arrays = tuple(np.repeat(image[:, :, None], 3, axis=2) for image in levels)
    names = tuple(f"digits/{number:04d}" for number in range(len(arrays)))
    pictures = Pictures(names, rows[:, -1].astype(np.int64), tuple("0123456789"), Arrays(arrays))
    return Data({"train": pictures}, UNDIVIDED, held_out)


def _rows_of_digits() -> NDArray[np.float64]:
    """64 levels and the digit, a row for each picture, from the file that scikit-learn brings along."""
    require("sklearn", "train", "the embedded data set 'digits'")
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():  # the library itself takes longer to import than all pictures to be classified
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
