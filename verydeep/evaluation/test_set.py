"""Which images of a data set are tested: those of a part that no model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError
from verydeep.images.data import Data
from verydeep.images.image_set import ImageSet
from verydeep.images.names import nfc

PartName = Literal["auto", "test", "val", "train", "all"]
HELD_OUT = "held-out"  # what results call the images of undivided data that no model was trained on


@dataclass(frozen=True)
class Training:
    """What a model's training left behind about its images.

    Attributes:
        hashes: of the training images, as `ImageSource.hashes`; None where they were not kept.
        held_out: names of the images that were held out.

    """

    hashes: NDArray[np.uint64] | None
    held_out: frozenset[str]


@dataclass(frozen=True)
class Tested:
    """What is tested.

    Attributes:
        part: of the data, `test`, `val`, `train` or `all`.
        numbers: of its images that are tested; None for all.
        num_trained_on: images that were left out because their content was trained on.

    """

    part: Literal["test", "val", "train", "all"]
    numbers: list[int] | None = None
    num_trained_on: int = 0

    @property
    def name(self) -> str:
        """What results call it."""
        return HELD_OUT if self.part == "all" and self.numbers is not None else self.part

    def of(self, data: Data) -> ImageSet:
        """The images themselves."""
        part = data.part(self.part)
        return part if self.numbers is None else part.select(self.numbers)


def choose(
    data: Data,
    part: PartName,
    trainings: Sequence[Training],
    advance: Callable[[int], None] = lambda count: None,
) -> Tested:
    """Choose the images to test.

    Args:
        data: the data set.
        part: `auto` takes the test part, else the validation part, else everything. If `train` or `all` is asked
            for, it is tested whole; of the other parts, images that a model was trained on are left out.
        trainings: of the models.
        advance: called with a number of images whose content has been compared.

    Raises:
        UsageError: there is no such part.
        DataError: the models were trained on every image of the part.

    """
    chosen = default_part(data) if part == "auto" else part
    images = data.part(chosen)
    if part in ("train", "all") or not trainings:
        return Tested(chosen)
    by_content, by_name = _trained_on(images, trainings, advance)
    if chosen != "all":  # elsewhere the names of an older training say nothing
        by_name[:] = False
    left = np.flatnonzero(~(by_content | by_name))
    if not len(left):
        raise DataError(
            f"the model was trained on all {len(images):,} images of {_called(chosen)}, so no images are left "
            "to test; `part=all` tests on them anyway"
        )
    if len(left) == len(images):
        return Tested(chosen)
    return Tested(chosen, left.tolist(), int(by_content.sum()))


def default_part(data: Data) -> Literal["test", "val", "all"]:
    """The part that is tested where nobody chooses one: the data's own test or validation part, else all of it."""
    if "test" in data.parts:
        return "test"
    return "val" if "val" in data.parts and not data.drawn else "all"


def _called(part: str) -> str:
    return "the data" if part == "all" else f"the {part} part"


def _trained_on(
    images: ImageSet, trainings: Sequence[Training], advance: Callable[[int], None]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images were trained on: by content, and by name where a training did not keep its images' hashes.

    By name an image was trained on if others of the data were held out, and it was not.
    """
    by_content, by_name = np.zeros((2, len(images)), bool)
    known = any(training.hashes is not None for training in trainings)
    hashes = images.source.hashes(advance) if known else None
    names = [nfc(name) for name in images.names] if any(training.held_out for training in trainings) else []
    for training in trainings:
        if hashes is not None and training.hashes is not None:
            by_content |= (hashes != 0) & np.isin(hashes, training.hashes)
        elif training.held_out:
            held_out = frozenset(map(nfc, training.held_out))
            is_held_out = np.array([name in held_out for name in names], bool)
            by_name |= ~is_held_out & is_held_out.any()
    return by_content, by_name
