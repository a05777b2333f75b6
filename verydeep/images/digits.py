"""The embedded data: scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 levels (UCI, CC BY 4.0)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import require
from verydeep.images.data import UNDIVIDED, Data
from verydeep.images.image_set import Arrays, ImageSet

NAME = "digits"


def recognizes(location: str) -> bool:
    """Whether it is the name of this data, and not that of a folder here."""
    return location == NAME and not Path(location).is_dir()


def open_data(location: str) -> Data:
    """The digits, undivided.

    Raises:
        VerydeepError: scikit-learn is not installed.

    """
    rows = _rows()
    levels = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    arrays = tuple(np.repeat(image[:, :, None], 3, axis=2) for image in levels)
    names = tuple(f"{NAME}/{number:04d}" for number in range(len(arrays)))
    images = ImageSet(names, rows[:, -1].astype(np.int64), tuple("0123456789"), Arrays(arrays))
    return Data({"train": images}, UNDIVIDED)


def _rows() -> NDArray[np.float64]:
    """64 levels and the digit, a row for each image, from the file that scikit-learn brings along."""
    require("sklearn", "train", "the embedded data set 'digits'")
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():  # the library itself takes longer to import than all images to be classified
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
