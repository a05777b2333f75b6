"""Which pictures are scored together: chunks, planned over the whole set before the first is read.

A chunk is scored as a whole or not at all, by whoever takes it. So results depend neither on the number of
processes nor on where an interrupted test had stopped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from verydeep.errors import PictureError
from verydeep.evaluation.protocols import Dense, Protocol
from verydeep.images.geometry import rescaled_size
from verydeep.images.pictures import Pictures

CHUNK_PIXELS = 8_000_000  # of a chunk's rescaled pictures, all scales together: 24 MB

Shapes = tuple[tuple[int, int], ...]  # of a picture at each scale


@dataclass(frozen=True)
class Chunk:
    """Pictures that are decoded, scored and kept together.

    Attributes:
        number: of the chunk in its plan.
        pictures: their numbers.
        content: a digest of which pictures these are, and of when their files were last changed.

    """

    number: int
    pictures: tuple[int, ...]
    content: str


def chunk_of(number: int, pictures: Pictures, numbers: Sequence[int]) -> Chunk:
    """A chunk of some of the pictures."""
    from hashlib import sha256  # not above: the first answer wants none of it

    digest = sha256()
    for one in numbers:
        digest.update(f"{pictures.names[one]}\t{pictures.source.stamp(one)}\n".encode())
    return Chunk(number, tuple(numbers), digest.hexdigest()[:16])


def make_plan(pictures: Pictures, protocols: Sequence[Protocol], batch_size: int) -> list[Chunk]:
    """Cut a data set into chunks.

    Whole pictures are shown together where they have the same shape at every scale, so a dense test's chunks hold
    pictures of one shape. Crops are all of one shape, whatever their pictures'.

    Args:
        pictures: of which only the sizes are read.
        protocols: decide the scales, and whether shapes matter.
        batch_size: the most pictures of a chunk.

    """
    scales = sorted({scale for protocol in protocols for scale in protocol.scales})
    by_shape = any(isinstance(protocol, Dense) for protocol in protocols)
    groups: dict[Shapes, list[int]] = defaultdict(list)
    for number in range(len(pictures)):
        shapes = _shapes(pictures, number, scales) if by_shape else tuple((scale, scale) for scale in scales)
        groups[shapes].append(number)
    chunks: list[Chunk] = []
    for shapes, numbers in sorted(groups.items()):
        pixels = sum(width * height for width, height in shapes)
        size = max(1, min(batch_size, CHUNK_PIXELS // max(pixels, 1)))
        for first in range(0, len(numbers), size):
            chunks.append(chunk_of(len(chunks), pictures, numbers[first : first + size]))
    return chunks


def _shapes(pictures: Pictures, number: int, scales: Sequence[int]) -> Shapes:
    """Shapes at each scale; none of a picture that cannot be read: whoever reads it will say why."""
    try:
        width, height = pictures.source.size(number)
    except PictureError:
        return ()
    return tuple(rescaled_size(width, height, scale) for scale in scales)
