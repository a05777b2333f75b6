"""Which images are taken together: chunks, planned over the whole list before the first image is read.

A chunk is taken as a whole or not at all, by whoever takes it. So results depend neither on the number of
processes nor on where an interrupted run had stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

from verydeep.errors import ImageError
from verydeep.images.geometry import rescaled_size
from verydeep.images.image_set import ImageSet

CHUNK_PIXELS = 8_000_000  # of a chunk's rescaled images, all scales together: 24 MB
CHUNK_IMAGES = 256
CHUNK_BYTES = 32 << 20  # of a chunk's pixels, and of what is kept of them

Size = tuple[int, int]  # width and height


@dataclass(frozen=True)
class Chunk:
    """Images that are decoded, worked on and kept together.

    Attributes:
        number: of the chunk in its plan.
        images: their numbers.
        content: a digest of which images these are, and of when their files were last changed.

    """

    number: int
    images: Sequence[int]
    content: str


def by_shape(images: ImageSet, scales: Sequence[int], most: int, *, whole: bool) -> list[Chunk]:
    """Cut a list into chunks for a network that is shown several images at once: the groups of `of_one_shape`."""
    groups = of_one_shape(images, range(len(images)), scales, most, whole=whole)
    return [chunk_of(number, images, group) for number, group in enumerate(groups)]


def of_one_shape(
    images: ImageSet, numbers: Sequence[int], scales: Sequence[int], most: int, *, whole: bool
) -> Iterator[list[int]]:
    """Group images that are shown together.

    Whole images are shown together where they have the same shape at every scale. Crops are all of one shape,
    whatever their images'.

    Args:
        images: of which only the sizes are read.
        numbers: of the images to be grouped.
        scales: smaller sides that they are rescaled to.
        most: images of a group, at most.
        whole: whether images are shown whole.

    """
    shapes: dict[tuple[Size, ...], list[int]] = defaultdict(list)
    for number in numbers:
        size = size_of(images, number) if whole else (1, 1)
        shapes[tuple(rescaled_size(*size, scale) for scale in scales) if size else ()].append(number)
    for sizes, same in sorted(shapes.items()):
        pixels = sum(width * height for width, height in sizes)
        count = max(1, min(most, CHUNK_PIXELS // max(pixels, 1)))
        for first in range(0, len(same), count):
            yield same[first : first + count]


def in_order(images: ImageSet, bytes_of: Callable[[int], int]) -> list[Chunk]:
    """Cut a list into chunks of neighbours, so that a file can be written from the first to the last."""
    groups = neighbours(range(len(images)), bytes_of)
    return [chunk_of(number, images, group) for number, group in enumerate(groups)]


def neighbours(numbers: Sequence[int], bytes_of: Callable[[int], int]) -> Iterator[list[int]]:
    """Group images that follow one another.

    Args:
        numbers: of the images.
        bytes_of: number of an image -> bytes of its pixels and of what is kept of it.

    """
    current: list[int] = []
    total = 0
    for number in numbers:
        size = bytes_of(number)
        if current and (len(current) == CHUNK_IMAGES or total + size > CHUNK_BYTES):
            yield current
            current, total = [], 0
        current.append(number)
        total += size
    if current:
        yield current


@dataclass(frozen=True, eq=False)
class Blocks(Sequence[Chunk]):
    """Chunks of so many images each, in their order: a plan that takes no time and no memory.

    No image is looked at before its chunk is asked for, so there may be any number of them.

    Attributes:
        images: the list.
        size: images of a chunk; the last may have fewer.
        numbers: of the chunks; None for all.

    """

    images: ImageSet
    size: int
    numbers: range | None = None

    @property
    def _all(self) -> range:
        return range(-(-len(self.images) // self.size)) if self.numbers is None else self.numbers

    def __len__(self) -> int:
        return len(self._all)

    @overload
    def __getitem__(self, place: int) -> Chunk: ...

    @overload
    def __getitem__(self, place: slice) -> Blocks: ...

    def __getitem__(self, place: int | slice) -> Chunk | Blocks:
        if isinstance(place, slice):
            return replace(self, numbers=self._all[place])
        number = self._all[place]
        last = min(len(self.images), (number + 1) * self.size)
        return chunk_of(number, self.images, range(number * self.size, last))


def size_of(images: ImageSet, number: int) -> Size | None:
    """Width and height of an image; None if it cannot be read: whoever reads it will say why."""
    try:
        return images.source.size(number)
    except ImageError:
        return None


def chunk_of(number: int, images: ImageSet, numbers: Sequence[int], beside: Sequence[int] = ()) -> Chunk:
    """Make a chunk of the images `numbers`; `beside` are others on which its rows depend."""
    from hashlib import sha256  # not above: the first answer wants none of it

    digest = sha256()
    for one in (*numbers, *beside):
        digest.update(f"{images.names[one]}\t{images.source.stamp(one)}\n".encode())
    return Chunk(number, numbers, digest.hexdigest()[:16])
