"""A data set: its parts as it comes, and how they are used in training and in testing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Literal, get_args

import numpy as np

from verydeep.errors import DataError, UsageError
from verydeep.images.image_set import ImageSet
from verydeep.images.names import nfc

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

HELD_OUT = 0.2  # share of each class that is held out where the data comes without a validation part
SPLIT_SEED = 0  # of that split: the same for every run, so that their figures can be compared
AGAIN = "the images that the model's training held out"
UNDIVIDED = "no parts, only classes"
AT_RANDOM = f"a fifth of each class held out at random, seed {SPLIT_SEED}"


@dataclass(frozen=True)
class Split:
    """What a network or a classifier is trained on, and what it is validated or tested on.

    Attributes:
        train: the training part.
        other: the part that is not trained on.
        origin: where the two parts come from, a phrase.

    """

    train: ImageSet
    other: ImageSet
    origin: str


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        parts: the images of each part that the data comes with; undivided data has `train` alone.
        layout: what the parts are, a phrase: `its own train/ and val/`.
        held_out_before: names of the images that an earlier training held out, if it drew them at random.
        drawn: whether `val` was drawn at random from undivided data when it was packed.
        skipped: what lay among the images and was not taken, one line.

    """

    parts: dict[Part, ImageSet]
    layout: str
    held_out_before: frozenset[str] = frozenset()
    drawn: bool = False
    skipped: str = ""

    @property
    def undivided(self) -> bool:
        """Whether the data itself does not say what to train on and what to test on."""
        return self.drawn or self.parts.keys() == {"train"}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels."""
        return next(iter(self.parts.values())).class_names

    @cached_property
    def all(self) -> ImageSet:
        """Every labelled image."""
        whole = reduce(ImageSet.join, self.parts.values())
        if not self.drawn:
            return whole
        # The order that images of class folders have.
        return whole.select(sorted(range(len(whole)), key=lambda number: whole.names[number].split("/")))

    @property
    def train(self) -> ImageSet:
        """What a network is trained on.

        Raises:
            DataError: there is no training part, or a class is too small to hold something out of it.

        """
        return self._split.train

    @property
    def held_out(self) -> ImageSet:
        """What it is validated on: the validation part; where there is none, a fifth of each class of `train`.

        Raises:
            DataError: as `train`.

        """
        return self._split.other

    @property
    def split(self) -> str:
        """Where these two come from, a phrase.

        Raises:
            DataError: as `train`.

        """
        return self._split.origin

    @cached_property
    def _split(self) -> Split:
        train = self.parts.get("train")
        if train is None:
            raise DataError(
                f"the data has no training part, only {self.layout}; add train/ with a folder for each class"
            )
        val = self.parts.get("val")
        before = frozenset(map(nfc, self.held_out_before))
        if val is not None and self.drawn and before == frozenset(map(nfc, val.names)):
            return Split(train, val, AGAIN)
        whole = self.all if self.drawn else train
        if (val is None or self.drawn) and not before.isdisjoint(map(nfc, whole.names)):
            return _hold_out_again(whole, before)
        if val is None:
            return _hold_out(train)
        own = "its own training and validation parts" if "test" in self.parts else self.layout
        return Split(train, val, AT_RANDOM if self.drawn else own)

    def split_as(self, held_out: frozenset[str]) -> Data:
        """The same data, split as another training did it, if all the images that it held out are there."""
        names = frozenset(map(nfc, self.all.names))
        return replace(self, held_out_before=held_out) if names >= frozenset(map(nfc, held_out)) else self

    def part(self, name: str) -> ImageSet:
        """The images of a part: `train`, `val` (as `held_out`), `test` or `all`.

        Raises:
            UsageError: the data has no such part.
            DataError: as `train`.

        """
        if name == "all":
            return self.all
        if name == "test" and "test" not in self.parts:
            raise UsageError(f"the data has no test part, only {self.layout}; choose another part")
        if name == "test" or (name == "val" and "val" in self.parts and not self.drawn):
            return self.parts[name]  # type: ignore[index]
        return self.train if name == "train" else self.held_out


def train_and_test(data: Data) -> Split:
    """What a classifier is trained on and tested on: the test part, where there is one.

    Raises:
        DataError: as `Data.train`.

    """
    if "test" not in data.parts or "train" not in data.parts:
        return Split(data.train, data.held_out, data.split)
    return Split(data.parts["train"], data.parts["test"], data.layout)


def _hold_out(images: ImageSet) -> Split:
    """Hold out a fifth of each class, at least one image, the same ones every time."""
    train: list[int] = []
    held_out: list[int] = []
    for label, name in enumerate(images.class_names):
        members = np.flatnonzero(images.labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has one image; it needs two: one to train on and one to hold out for testing"
            )
        # Each class has random numbers of its own, so that another class does not change this one's split.
        random = np.random.default_rng([SPLIT_SEED, *hashlib.sha256(nfc(name).encode()).digest()])
        members = random.permutation(members)
        num_held_out = max(1, round(HELD_OUT * len(members)))
        held_out += members[:num_held_out].tolist()
        train += members[num_held_out:].tolist()
    return Split(images.select(sorted(train)), images.select(sorted(held_out)), AT_RANDOM)


def _hold_out_again(images: ImageSet, names: frozenset[str]) -> Split:
    parts: tuple[list[int], list[int]] = [], []
    for number in range(len(images)):
        parts[nfc(images.names[number]) in names].append(number)
    return Split(images.select(parts[0]), images.select(parts[1]), AGAIN)
