"""Which images of a data set a model is tested on: its test part, without the images that it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError
from verydeep.images.data import Data
from verydeep.images.pictures import Pictures

PartName = Literal["auto", "test", "val", "train", "all"]
HELD_OUT = "held-out"  # what results call the images of undivided data that training held out

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class TestSet:
    """What is tested.

    Attributes:
        pictures: labelled.
        part: `test`, `val`, `train`, `all`, or `held-out`.
        num_trained_on: images that were left out, as the model was trained on them.

    """

    __test__ = False  # pytest takes the name for a test's

    pictures: Pictures
    part: str
    num_trained_on: int = 0


def choose(
    data: Data,
    part: PartName,
    trained_on: Hashes | None,
    advance: Callable[[int], None] = lambda count: None,
) -> TestSet:
    """Choose the images to test.

    Args:
        data: opened with the names that the model's training held out.
        part: `auto` takes the test part, else the validation part, else everything. `train` and `all` are tested
            whole; of the others, images that the model was trained on are left out.
        trained_on: hashes of the images that the model was trained on, as `PictureSource.hashes`; None where they
            were not kept. Then undivided data is split as the model's training split it.
        advance: called with a number of images whose content has been looked at.

    Raises:
        UsageError: there is no such part.
        DataError: the model was trained on every image of the part.

    """
    chosen = default_part(data) if part == "auto" else part
    pictures = data.part(chosen)
    if part in ("train", "all"):
        return TestSet(pictures, chosen)
    hashes = None if trained_on is None else pictures.source.hashes(advance)
    if trained_on is None or hashes is None:
        if chosen == "all" and data.was_split:
            return TestSet(data.held_out, HELD_OUT)
        return TestSet(pictures, chosen)
    new = np.flatnonzero((hashes == 0) | ~np.isin(hashes, trained_on))
    left_out = len(pictures) - len(new)
    if not len(new):
        raise DataError(
            f"the model was trained on all {len(pictures):,} images of the data, so that nothing is left to test; "
            "to see its error on them all the same, choose the part `all`"
        )
    if not left_out:
        return TestSet(pictures, chosen)
    return TestSet(pictures.select(new.tolist()), HELD_OUT if chosen == "all" else chosen, left_out)


def default_part(data: Data) -> Literal["test", "val", "all"]:
    """The part that is tested where nobody chooses one: the data's own test or validation part, else all of it."""
    if "test" in data.parts:
        return "test"
    return "val" if "val" in data.parts and not data.drawn else "all"
