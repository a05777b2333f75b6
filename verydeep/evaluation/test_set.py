"""Which images of a data set are tested: those of a part that no model was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError
from verydeep.images.data import AGAIN, Data
from verydeep.images.image_set import ImageSet
from verydeep.images.names import nfc
from verydeep.notes import progress, say

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
        num_trained_on: images that were left out because a model was trained on them.

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
    # In the data's own parts, the names of an older training say nothing.
    left = np.flatnonzero(~trained_on(images, trainings, advance, by_name=chosen == "all"))
    if not len(left):
        raise DataError(
            f"the model was trained on all {len(images):,} images of {_called(chosen)}, so no images are left "
            "to test; `part=all` tests on them anyway"
        )
    if len(left) == len(images):
        return Tested(chosen)
    return Tested(chosen, left.tolist(), len(images) - len(left))


def split_again(data: Data, training: Training) -> Data:
    """The data, split as a training did it, so that what is held out is new to the network.

    Where all that it held out are there, they are held out again. Where some are gone or renamed, or a class has
    none of them, as a new class, those that are left are, with what the data's own split holds out, but for images
    that the network was trained on. Data that has a validation part keeps it.

    Raises:
        DataError: as `Data.train`.

    """
    same = data.split_as(training.held_out)
    if not training.held_out or ("val" in data.parts and not data.drawn):
        return same
    again = same.split == AGAIN
    if again and all(_has_every_class(part) for part in (same.train, same.held_out)):
        return same
    by_name = are_there(data.all, training.held_out)
    with progress("comparing with the training images", len(data.held_out)) as advance:
        known = trained_on(data.held_out, [training], advance, by_name=by_name)
    if not known.any() and not again:
        return data
    whole = data.train.join(data.held_out)
    before = frozenset(map(nfc, training.held_out))
    names = list(whole.names)
    left = {name for name in names if nfc(name) in before}
    own = list(data.held_out.names)
    held_out = left | {name for name, is_known in zip(own, known, strict=True) if not is_known}
    for label in range(len(whole.class_names)):
        of_class = {names[number] for number in np.flatnonzero(whole.labels == label)}
        if of_class <= held_out:  # all are new to the network: some are to be trained on
            held_out -= of_class.difference(own)
    if not held_out:
        return data
    as_before = f"{len(left & held_out):,} of them as in its training"
    if known.any():
        say(
            f"{known.sum():,} images that the network was trained on are not held out; {len(held_out):,} others "
            f"are, {as_before}"
        )
    else:
        say(f"{len(held_out):,} images are held out, {as_before}: a class had none, or none to train on")
    return replace(data, held_out_before=frozenset(held_out))


def _has_every_class(images: ImageSet) -> bool:
    return len(np.unique(images.labels)) == len(images.class_names)


def are_there(images: ImageSet, names: frozenset[str]) -> bool:
    """Whether most of these names are among the images': a few may have gone, a few are in every data set."""
    wanted = frozenset(map(nfc, names))
    return 2 * len(wanted & frozenset(map(nfc, images.names))) > len(wanted)


def default_part(data: Data) -> Literal["test", "val", "all"]:
    """The part that is tested where nobody chooses one: the data's own test or validation part, else all of it."""
    if "test" in data.parts:
        return "test"
    return "val" if "val" in data.parts and not data.drawn else "all"


def _called(part: str) -> str:
    return "the data" if part == "all" else f"the {part} part"


def trained_on(
    images: ImageSet, trainings: Sequence[Training], advance: Callable[[int], None], *, by_name: bool
) -> NDArray[np.bool_]:
    """Find the images that a model was trained on, by their content.

    Args:
        images: to compare with the trainings.
        trainings: of the models.
        advance: called with a number of images whose content has been compared.
        by_name: go by name where the hashes are not known: an image was trained on if others of these images were
            held out, and it was not.

    Returns:
        Whether each image was trained on, of shape (images,).

    """
    found = np.zeros(len(images), bool)
    known = any(training.hashes is not None for training in trainings)
    hashes = images.source.hashes(advance) if known else None
    if not known:
        advance(len(images))  # a bar that is not at its end stays
    by_name = by_name and any(training.held_out for training in trainings)
    names = [nfc(name) for name in images.names] if by_name else []
    for training in trainings:
        if hashes is not None and training.hashes is not None:
            found |= (hashes != 0) & np.isin(hashes, training.hashes)
        elif by_name and training.held_out:
            held_out = frozenset(map(nfc, training.held_out))
            is_held_out = np.array([name in held_out for name in names], bool)
            found |= ~is_held_out & is_held_out.any()
    return found
