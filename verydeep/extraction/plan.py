"""Which pictures are taken together: runs of neighbours, planned over the whole set before the first is read.

A chunk is taken as a whole or not at all. So the file depends neither on the number of processes nor on where an
interrupted extraction had stopped; and as chunks follow each other, it is written from the first to the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from verydeep.configurations import Architecture
from verydeep.errors import PictureError, UsageError
from verydeep.evaluation.plan import Chunk, chunk_of
from verydeep.extraction.summaries import Summary, summary_shape
from verydeep.images.geometry import rescaled_size
from verydeep.images.pictures import Pictures
from verydeep.layers.names import Node, check_size, shape_at

CHUNK_PICTURES = 256
CHUNK_BYTES = 32 << 20  # of a chunk's pixels, and of what is kept of it


@dataclass(frozen=True)
class Shown:
    """How pictures are shown to the network.

    Attributes:
        scale: smaller side that they are rescaled to.
        window: side of the middle part that is shown alone; None for the whole picture.

    """

    scale: int
    window: int | None = None

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what is shown of a picture of this size."""
        return (self.window, self.window) if self.window else rescaled_size(width, height, self.scale)


def paths_of(path: tuple[Node, ...], layers: tuple[str, ...]) -> dict[str, tuple[Node, ...]]:
    """The nodes up to each of the layers."""
    place = {node.name: number for number, node in enumerate(path)}
    return {name: path[: place[name] + 1] for name in layers}


def make_plan(
    pictures: Pictures, shown: Shown, paths: dict[str, tuple[Node, ...]], summary: Summary
) -> tuple[list[Chunk], dict[str, tuple[int, ...]]]:
    """Cut a set of pictures into chunks, and tell what is kept of a picture.

    Args:
        pictures: of which only the sizes are read.
        shown: how they are shown.
        paths: of each layer.
        summary: what is kept.

    Returns:
        The chunks, and the shape of what is kept of each picture, by layer.

    Raises:
        UsageError: whole maps of pictures of different shapes are asked for, which no array holds.

    """
    chunks: list[Chunk] = []
    current: list[int] = []
    bytes_so_far = 0
    kept: dict[str, tuple[int, ...]] = {}
    first_size: tuple[int, int] | None = None
    for number in range(len(pictures)):
        size = _size(pictures, shown, number)
        if size is not None and size != first_size:
            shapes = {
                name: summary_shape(shape_at(path, size[1], size[0]), summary) for name, path in paths.items()
            }
            if kept and shapes != kept:
                raise UsageError(
                    f"{pictures.names[number]} is shown as {size[0]}x{size[1]} pixels, others as others: whole "
                    "maps of different shapes are no array; show all alike by --crop, or summarize by --pool mean"
                )
            kept, first_size = shapes, size
        width, height = size or (0, 0)
        bytes_here = 3 * width * height + 4 * sum(prod(shape) for shape in kept.values())
        if current and (len(current) == CHUNK_PICTURES or bytes_so_far + bytes_here > CHUNK_BYTES):
            chunks.append(chunk_of(len(chunks), pictures, current))
            current, bytes_so_far = [], 0
        current.append(number)
        bytes_so_far += bytes_here
    if current:
        chunks.append(chunk_of(len(chunks), pictures, current))
    return chunks, kept


def check_shown(shown: Shown, architecture: Architecture, path: tuple[Node, ...]) -> None:
    """Make sure that every picture is large enough for the deepest layer.

    Raises:
        UsageError: the scale is too small, or does not hold the window.

    """
    if shown.window and shown.scale < shown.window:
        raise UsageError(
            f"--scales {shown.scale} is smaller than the network's window of {shown.window} pixels, which --crop "
            f"shows; use --scales {shown.window} or more"
        )
    check_size(architecture, path, shown.scale, shown.scale)


def _size(pictures: Pictures, shown: Shown, number: int) -> tuple[int, int] | None:
    """Width and height of what is shown; None of a picture that cannot be read: whoever reads it will say why."""
    try:
        return shown.size(*pictures.source.size(number))
    except PictureError:
        return None
