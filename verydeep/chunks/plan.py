"""Which images are taken together: chunks, planned over the whole list before the first image is read.

A chunk is taken as a whole or not at all, by whoever takes it. So results depend neither on the number of
processes nor on where an interrupted run had stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    images: tuple[int, ...]
    content: str


def by_shape(images: ImageSet, scales: Sequence[int], most: int, *, whole: bool) -> list[Chunk]:
    """Cut a list into chunks for a network that is shown several images at once.

    Whole images are shown together where they have the same shape at every scale, so chunks hold images of one
    shape. Crops are all of one shape, whatever their images'.

    Args:
        images: of which only the sizes are read.
        scales: smaller sides that they are rescaled to.
        most: images of a chunk, at most.
        whole: whether images are shown whole.

    """
    groups: dict[tuple[Size, ...], list[int]] = defaultdict(list)
    for number in range(len(images)):
        size = size_of(images, number) if whole else (1, 1)
        groups[tuple(rescaled_size(*size, scale) for scale in scales) if size else ()].append(number)
    chunks: list[Chunk] = []
    for sizes, numbers in sorted(groups.items()):
        pixels = sum(width * height for width, height in sizes)
        count = max(1, min(most, CHUNK_PIXELS // max(pixels, 1)))
        for first in range(0, len(numbers), count):
            chunks.append(chunk_of(len(chunks), images, numbers[first : first + count]))
    return chunks


def in_order(images: ImageSet, bytes_of: Callable[[int], int]) -> list[Chunk]:
    """Cut a list into chunks of neighbours, so that a file can be written from the first to the last.

    Args:
        images: the list.
        bytes_of: number of an image -> bytes of its pixels and of what is kept of it.

    """
    chunks: list[Chunk] = []
    current: list[int] = []
    total = 0
    for number in range(len(images)):
        size = bytes_of(number)
        if current and (len(current) == CHUNK_IMAGES or total + size > CHUNK_BYTES):
            chunks.append(chunk_of(len(chunks), images, current))
            current, total = [], 0
        current.append(number)
        total += size
    if current:
        chunks.append(chunk_of(len(chunks), images, current))
    return chunks


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
    return Chunk(number, tuple(numbers), digest.hexdigest()[:16])
