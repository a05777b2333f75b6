"""The loop over a long list of images: the one place where chunks are read, shared out, worked on and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from verydeep.chunks.parts import Parts, Rows
from verydeep.chunks.plan import Chunk
from verydeep.distributed import World
from verydeep.errors import ImageError
from verydeep.images.image_set import ImageSet, Unreadable, too_many
from verydeep.images.views import Pixels, rescale
from verydeep.prefetch import prefetch_groups

Rescaled = dict[int, Pixels]  # an image at each scale
Item = TypeVar("Item")  # what is made of an image when it is read
ALONE = World()


def run_chunks(
    images: ImageSet,
    plan: Sequence[Chunk],
    read: Callable[[int], Item],
    work: Callable[[Chunk, dict[int, Item]], Rows],
    *,
    world: World = ALONE,
    parts: Parts[Rows] | None = None,
    gather: bool = True,
    max_unreadable: int | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> list[tuple[list[int], Rows]]:
    """Work through a list of images, chunk by chunk. The images of the next chunk are read meanwhile.

    Args:
        images: the same on every process; a few are in memory at a time.
        plan: their chunks, likewise; each process takes some of them.
        read: the number of an image -> what is worked on, such as `at_scales` gives; is called on several threads.
        work: a chunk, and what was read of each of its images, by number -> rows.
        world: the processes that share the list.
        parts: where finished chunks are kept, and those of an interrupted run are found, on a disk that all
            processes share; None keeps nothing.
        gather: give all rows to the first process; otherwise they are in `parts` alone.
        max_unreadable: images that may be left out because they cannot be read; None for any number.
        unreadable: called with each of them on the first process; None raises instead.
        advance: called with the number of images that are finished, here or wherever the world hears of.

    Returns:
        On the first process the numbers of a chunk's images, those that can be read, and its rows; likewise for
        each chunk.

    Raises:
        ImageError: an image cannot be read, and `unreadable` is None.
        DataError: more images cannot be read than may be left out.
        VerydeepError: another process is lost.

    """
    count = world.counting(advance)
    done: list[tuple[list[int], Rows]] = []
    to_do: list[Chunk] = []
    # Shared out before it is known what is done: the others may have begun to add to that.
    for chunk in world.share(plan):
        kept = parts.read(chunk) if parts else None
        if kept is None:
            to_do.append(chunk)
        else:
            done += [(list(chunk.images), kept)] * gather
            count(len(chunk.images))
    lost: list[Unreadable] = []
    for chunk, outcomes in _decoded(images, to_do, read):
        readable = {number: image for number, image in outcomes.items() if not isinstance(image, ImageError)}
        for number, error in outcomes.items():
            if isinstance(error, ImageError):
                if unreadable is None:
                    raise error
                lost.append(Unreadable(images.names[number], str(error), number))
        if max_unreadable is not None and len(lost) > max_unreadable:
            raise too_many(lost)
        if readable:
            rows = work(chunk, readable)
            if parts:
                parts.write(chunk, list(readable), rows)
            done += [(list(readable), rows)] * gather
        count(len(chunk.images))
    gathered = world.gather((done, lost), advance)
    every_lost = [one for _, several in gathered for one in several]
    if max_unreadable is not None and len(every_lost) > max_unreadable:
        raise too_many(every_lost)
    for one in every_lost:
        assert unreadable
        unreadable(one)
    return [rows for several, _ in gathered for rows in several]


def at_scales(images: ImageSet, scales: Sequence[int]) -> Callable[[int], Rescaled]:
    """Read an image once, for all scales: the smaller sides that it is rescaled to."""

    def read(number: int) -> Rescaled:
        image = images.source.read(number)
        return {scale: np.asarray(rescale(image, scale)) for scale in scales}

    return read


def _decoded(
    images: ImageSet, plan: Sequence[Chunk], read: Callable[[int], Item]
) -> Iterator[tuple[Chunk, dict[int, Item | ImageError]]]:
    """What is read of each chunk's images, or why one cannot be read; the next chunk is read meanwhile."""

    def read_or_tell(number: int) -> Item | ImageError:
        try:
            return read(number)
        except ImageError as error:
            name = images.names[number]
            return error if name in str(error) else ImageError(f"{name}: {error}")

    decoded = prefetch_groups(read_or_tell, (chunk.images for chunk in plan))
    for chunk, outcomes in zip(plan, decoded, strict=True):
        yield chunk, dict(zip(chunk.images, outcomes, strict=True))
