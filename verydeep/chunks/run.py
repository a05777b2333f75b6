"""The loop over a long list of images: the one place where chunks are read, shared out, worked on and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import tee
from typing import TypeVar

import numpy as np

from verydeep.chunks.parts import Parts, Rows, Worked
from verydeep.chunks.plan import Chunk
from verydeep.distributed import World
from verydeep.errors import ImageError
from verydeep.images.image_set import ImageSet, Unreadable, too_many
from verydeep.images.views import Pixels, rescale
from verydeep.prefetch import prefetch_groups

Item = TypeVar("Item")  # what is read of an image
Rescaled = dict[int, Pixels]  # an image at each scale
ALONE = World()


@dataclass(frozen=True)
class _Group:
    """Images of a chunk that are in memory together, and whether they are its last."""

    chunk: Chunk
    images: Sequence[int]
    last: bool


def run_chunks(
    images: ImageSet,
    plan: Sequence[Chunk],
    read: Callable[[int], Item],
    work: Callable[[Chunk, dict[int, Item]], Rows],
    *,
    groups: Callable[[Chunk], Iterable[Sequence[int]]] = lambda chunk: [chunk.images],
    world: World = ALONE,
    parts: Parts[Rows] | None = None,
    gather: bool = True,
    max_unreadable: int | None = None,
    unreadable: Callable[[Unreadable], None] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Worked[Rows]:
    """Work through a list of images, chunk by chunk. The images of the next group are read meanwhile.

    Args:
        images: the same on every process; a few are in memory at a time.
        plan: their chunks, likewise; each process takes some of them. A chunk is asked for when its turn comes.
        read: the number of an image -> what is worked on, such as `at_scales` gives; is called on several threads.
        work: a chunk, and what was read of each image of a group, by number -> rows.
        groups: chunk -> numbers of its images that are in memory together; by default all of them.
        world: the processes that share the list.
        parts: where finished chunks are kept, and those of an interrupted run are found, on a disk that all
            processes share; None keeps nothing.
        gather: give all rows to the first process; otherwise they are in `parts` alone.
        max_unreadable: images that may be left out because they cannot be read; None for any number.
        unreadable: called with each of them on the first process; None raises instead, unless `parts` takes them.
        advance: called with the number of images that are finished, here or wherever the world hears of.

    Returns:
        On the first process the numbers of a group's images, those that can be read, and their rows; likewise for
        each group.

    Raises:
        ImageError: an image cannot be read, and `unreadable` is None.
        DataError: more images cannot be read than may be left out.
        VerydeepError: another process is lost.

    """
    count = world.counting(advance)
    done: Worked[Rows] = []
    lost: list[Unreadable] = []

    def to_do() -> Iterator[Chunk]:
        # Shared out before it is known what is done: the others may have begun to add to that.
        for chunk in world.share(plan):
            kept = parts.read(chunk) if parts else None
            lost_there = parts.unreadable(chunk) if parts and kept is not None else ()
            if kept is None or any(_is_readable(read, one) for one in lost_there):
                yield chunk
            else:
                done.extend([(list(chunk.images), kept)] * gather)
                if max_unreadable is not None:
                    lost.extend(lost_there)
                count(len(chunk.images))

    taken = parts is not None and parts.takes_unreadable
    worked: Worked[Rows] = []  # of one chunk, as is the next
    lost_here: list[Unreadable] = []
    with _resumable(parts):
        for group, outcomes in _decoded(images, _groups(to_do(), groups), read):
            readable = {number: image for number, image in outcomes.items() if not isinstance(image, ImageError)}
            for number, error in outcomes.items():
                if isinstance(error, ImageError):
                    if unreadable is None and not taken:
                        raise error
                    lost_here.append(Unreadable(images.names[number], str(error), number))
            if max_unreadable is not None and len(lost) + len(lost_here) > max_unreadable:
                raise too_many([*lost, *lost_here])
            if readable:
                worked.append((list(readable), work(group.chunk, readable)))
            count(len(group.images))
            if group.last:
                if parts:
                    parts.write(group.chunk, worked, lost_here)
                done += worked * gather
                if not taken or max_unreadable is not None:  # there may be millions of them
                    lost += lost_here
                worked, lost_here = [], []
    gathered = world.gather((done, lost), advance)
    every_lost = [one for _, several in gathered for one in several]
    if max_unreadable is not None and len(every_lost) > max_unreadable:
        raise too_many(every_lost)
    for one in every_lost:
        if unreadable:
            unreadable(one)
    return [rows for several, _ in gathered for rows in several]


def _is_readable(read: Callable[[int], object], image: Unreadable) -> bool:
    """Whether an image that could not be read can be read now: permissions were changed, a library installed."""
    if image.number is None:
        return False
    try:
        read(image.number)
    except ImageError:
        return False
    return True


@contextmanager
def _resumable(parts: Parts[Rows] | None) -> Iterator[None]:
    """Where it is interrupted, note that what is finished is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        if parts and parts.begun():
            error.add_note(f"what is finished is kept in {parts.folder}; repeat the command to resume")
        raise


def _groups(chunks: Iterable[Chunk], groups: Callable[[Chunk], Iterable[Sequence[int]]]) -> Iterator[_Group]:
    for chunk in chunks:
        several = list(groups(chunk))
        for place, numbers in enumerate(several, 1):
            yield _Group(chunk, numbers, place == len(several))


def at_scales(images: ImageSet, scales: Sequence[int]) -> Callable[[int], Rescaled]:
    """Read an image once, for all scales: the smaller sides that it is rescaled to."""

    def read(number: int) -> Rescaled:
        image = images.source.read(number)
        return {scale: np.asarray(rescale(image, scale)) for scale in scales}

    return read


def _decoded(
    images: ImageSet, groups: Iterator[_Group], read: Callable[[int], Item]
) -> Iterator[tuple[_Group, dict[int, Item | ImageError]]]:
    """What is read of each group's images, or why one cannot be read; the next group is read meanwhile."""

    def read_or_tell(number: int) -> Item | ImageError:
        try:
            return read(number)
        except ImageError as error:
            name = images.names[number]
            return error if name in str(error) else ImageError(f"{name}: {error}")

    ahead, behind = tee(groups)
    decoded = prefetch_groups(read_or_tell, (group.images for group in ahead))
    for group, outcomes in zip(behind, decoded, strict=True):
        yield group, dict(zip(group.images, outcomes, strict=True))
