"""Two names of a user -> the pairs of images that are compared, and why some are not."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.chunks.plan import Size, size_of
from verydeep.errors import UsageError, as_text
from verydeep.images.find import unlabelled
from verydeep.images.image_set import ImageSet
from verydeep.images.listing import Skipped
from verydeep.images.names import nfc
from verydeep.notes import say_skipped

Kind = Literal["matched", "consecutive", "all"]
NONE = -1  # in the place of an image that a pair lacks
Numbers = NDArray[np.int32]


@dataclass(frozen=True)
class Pairs:
    """Images, and which of them are compared.

    Attributes:
        kind: how they were paired.
        images: all of them; those of A first.
        count: of the images of A.
        first: number of each pair's first image.
        second: likewise; `NONE` in either where there is none.
        reasons: why a pair is not compared, by its place, as far as is known before the images are read.
        two_sets: whether the images are of two folders.

    """

    kind: Kind
    images: ImageSet
    count: int
    first: Numbers
    second: Numbers
    two_sets: bool
    reasons: dict[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.first)

    def places(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of pairs among these, which all are there, by the numbers of their images."""
        if self.kind == "all" and self.two_sets:
            return first * (len(self.images) - self.count) + second - self.count
        if self.kind == "all":  # the upper triangle, row by row
            return first * self.count - first * (first + 1) // 2 + second - first - 1
        wanted = self._keys(self.first.astype(np.int64), self.second.astype(np.int64))
        order = np.argsort(wanted, kind="stable")
        return order[np.searchsorted(wanted[order], self._keys(first, second))]

    def _keys(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        return (first - NONE) * (len(self.images) + 1) + second - NONE

    def name(self, number: int) -> str:
        """Name of an image; empty for none."""
        return "" if number == NONE else str(self.images.names[number])


def find_pairs(a: str | PathLike[str], b: str | PathLike[str] | None, kind: Kind) -> Pairs:
    """Find the images, and pair them.

    Args:
        a: an image or a folder.
        b: likewise; None where A alone is compared.
        kind: `matched` pairs images of the same relative name, `consecutive` each image of A with the next one
            in its folder, and `all` each with each: of A, or of A with those of B.

    Raises:
        UsageError: A and B do not fit together, or there is no pair.
        ImageError: there is no such file, or a folder without images.

    """
    sides = [_listed(Path(one)) for one in (a, b) if one is not None]
    if kind == "matched":
        if b is None:
            raise UsageError("`b` is missing; give a second image or folder, or use `all_pairs` or `consecutive`")
        return _matched(Path(a), Path(b), sides)
    images = sides[0].join(sides[1]) if b is not None else sides[0]
    count = len(sides[0])
    if kind == "consecutive":
        if b is not None:
            raise UsageError("`consecutive` compares the images of one folder; leave `b` out")
        folders = [str(Path(name).parent) for name in images.names]
        order = sorted(range(count), key=lambda n: (_natural(folders[n]), _natural(images.names[n])))
        images = images.select(order)
        within = [n for n in range(count - 1) if folders[order[n]] == folders[order[n + 1]]]
        first, second = np.array(within, np.int64), np.array(within, np.int64) + 1
    elif b is None:
        first, second = np.triu_indices(count, 1)
    else:
        grid = np.indices((count, len(images) - count))
        first, second = grid[0].ravel(), grid[1].ravel() + count
    if not len(first):
        where = "one image" if count == 1 else "no folder with two images"
        raise UsageError(f"{as_text(a)} has {where}; two or more are needed")
    return Pairs(kind, images, count, first.astype(np.int32), second.astype(np.int32), b is not None)


def _listed(path: Path) -> ImageSet:
    """The image, or those in the folder; what else lies there is told."""
    skipped = Skipped()
    found = unlabelled([path], skipped)
    say_skipped(str(path), str(skipped))
    return found


def _matched(a: Path, b: Path, sides: Sequence[ImageSet]) -> Pairs:
    images = sides[0].join(sides[1])
    count = len(sides[0])
    if a.is_dir() != b.is_dir():
        image, folder = (b, a) if a.is_dir() else (a, b)
        raise UsageError(
            f"{image} is an image and {folder} a folder; give two images or two folders, or use `all_pairs` to "
            "compare the image with each in the folder"
        )
    if not a.is_dir():
        return Pairs("matched", images, count, np.array([0], np.int32), np.array([1], np.int32), True)
    keys = [[_relative(name, folder) for name in side.names] for folder, side in zip((a, b), sides, strict=True)]
    partners = _partners(keys[0], keys[1])
    pairs = [(number, partners.get(number, NONE - count) + count) for number in range(count)]
    taken = {second for _, second in pairs}
    pairs += [(NONE, number) for number in range(count, len(images)) if number not in taken]
    lacking = {
        place: f"no image of this name in {as_text(a if first == NONE else b)}"
        for place, (first, second) in enumerate(pairs)
        if NONE in (first, second)
    }
    if len(lacking) == len(pairs):
        raise UsageError(
            f"{as_text(a)} and {as_text(b)} have no images of the same relative name, such as "
            f"{as_text(keys[0][0])}; use `all_pairs` to compare each with each"
        )
    first, second = np.array(pairs, np.int32).T
    return Pairs("matched", images, count, first, second, True, lacking)


def _relative(name: str, folder: Path) -> str:
    return Path(name).relative_to(as_text(folder)).as_posix()


def _partners(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Which of their names each of ours has: the same, or the only one that differs in its ending alone."""
    ours, theirs = ([nfc(name) for name in names] for names in (ours, theirs))
    places = {name: number for number, name in enumerate(theirs)}
    found = {number: places[name] for number, name in enumerate(ours) if name in places}
    taken = set(found.values())
    left = [[n for n in range(len(ours)) if n not in found], [n for n in range(len(theirs)) if n not in taken]]
    stems: list[dict[str, list[int]]] = []
    for names, numbers in zip((ours, theirs), left, strict=True):
        by_stem: dict[str, list[int]] = defaultdict(list)
        for number in numbers:
            by_stem[str(Path(names[number]).with_suffix(""))].append(number)
        stems.append(by_stem)
    for stem, (number, *more) in stems[0].items():
        partner = stems[1].get(stem, [])
        if not more and len(partner) == 1:
            found[number] = partner[0]
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """A key by which frame 2 comes before frame 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if number % 2 else (0, part) for number, part in enumerate(parts)]


@dataclass(frozen=True)
class Sizes:
    """Sizes at which images are compared.

    Attributes:
        found: of each image, upright; None where it cannot be read.
        wanted: to which each is rescaled; None leaves it as it is.

    """

    found: tuple[Size | None, ...]
    wanted: tuple[Size | None, ...]

    def of(self, number: int) -> Size | None:
        """Width and height at which an image is compared; None where that is not known."""
        return self.wanted[number] or self.found[number]


def find_sizes(pairs: Pairs, resize: str | None) -> Sizes:
    """Read the images' sizes, and decide what they are rescaled to.

    Args:
        pairs: the images.
        resize: `first` for the size of the first image of the pair, or of the first image of all where images are
            in several pairs; WIDTHxHEIGHT for all; None leaves them.

    Raises:
        UsageError: `resize` is nothing of these.

    """
    found = tuple(size_of(pairs.images, number) for number in range(len(pairs.images)))
    wanted: list[Size | None] = [None] * len(found)
    if resize == "first" and pairs.kind == "matched":
        for first, second in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True):
            if NONE not in (first, second):
                wanted[second] = found[first]
    elif resize == "first":
        wanted = [next(filter(None, found), None)] * len(found)
    elif resize is not None:
        wanted = [parse_size(resize)] * len(found)
    return Sizes(found, tuple(wanted))


def parse_size(text: str) -> Size:
    """Read WIDTHxHEIGHT.

    Raises:
        UsageError: it is no such text.

    """
    match = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text)
    if not match:
        raise UsageError(f"`resize` is {text!r}; it must be first, or WIDTHxHEIGHT in pixels, such as 224x224")
    return int(match[1]), int(match[2])


def refuse_sizes(pairs: Pairs, sizes: Sizes, check: Callable[[Size], str | None]) -> None:
    """Find the pairs whose images cannot be compared because of their sizes.

    Args:
        pairs: gets a reason for each of them.
        sizes: of the images.
        check: size -> why images of it cannot be compared; None where they can.

    Raises:
        UsageError: there is one pair alone, or all images are to be of one size, and they are not.

    """
    check = cache(check)
    if pairs.kind == "all":
        _refuse_many_sizes(pairs, sizes, check)
        return
    for place, (first, second) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
        if NONE in (first, second):
            continue
        one, other = sizes.of(first), sizes.of(second)
        if one is None or other is None:
            continue  # whoever reads it says why
        reason = check(one)
        if one != other:
            reason = f"sizes differ: {one[0]}x{one[1]} and {other[0]}x{other[1]} pixels"
            if len(pairs) == 1:
                raise UsageError(
                    f"{pairs.name(first)} has {one[0]}x{one[1]} pixels, {pairs.name(second)} "
                    f"{other[0]}x{other[1]}; to rescale the second image, use `resize=first`"
                )
        if reason:
            pairs.reasons[place] = reason
            if len(pairs) == 1:
                raise UsageError(f"{pairs.name(first)}: {reason}")


def _refuse_many_sizes(pairs: Pairs, sizes: Sizes, check: Callable[[Size], str | None]) -> None:
    counts = Counter(filter(None, map(sizes.of, range(len(pairs.images)))))
    if len(counts) > 1:
        (one, many), (other, few), *_ = counts.most_common(2)
        raise UsageError(
            f"the images have {len(counts)} sizes, such as {one[0]}x{one[1]} ({many} images) and "
            f"{other[0]}x{other[1]} ({few}); with `all_pairs` they must have one size: use `resize=224x224`"
        )
    for size in counts:
        if reason := check(size):
            raise UsageError(f"{pairs.name(0)}: {reason}")
