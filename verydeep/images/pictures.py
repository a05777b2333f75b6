"""Labelled pictures in memory or on disk: what the other rooms hand around."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError
from verydeep.errors import few as few
from verydeep.images import decode, imagenet
from verydeep.images.formats import HEAD, TAIL, kind_of
from verydeep.images.geometry import rescaled_size
from verydeep.images.names import case_hint, numbers_of
from verydeep.images.views import Pixels, rescale
from verydeep.notes import say

Item = TypeVar("Item")

if TYPE_CHECKING:
    from verydeep.images.shards import StoredNames

    Names = tuple[str, ...] | StoredNames

MOST_NAMED = 20  # images that cannot be read
KEEP_BYTES = 2 << 30  # pictures that take less than this are kept in memory


class PictureSource(Protocol):
    """Pictures by number: where they lie, what they look like."""

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image | Pixels:
        """Picture `number`, upright RGB; `smallest_side` as in `decode.read`."""
        ...

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of picture `number`."""
        ...

    def stamp(self, number: int) -> str:
        """What changes when picture `number` is changed, without a look at its content."""
        ...

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64] | None:
        """A hash of each picture's content: of the file as it was before anything was done to it.

        It is the first 64 bits of SHA-256; 0 stands for a file that is no image. None: they are not known.
        `advance` is called with a number of pictures that are done.
        """
        ...

    def select(self, numbers: Sequence[int]) -> PictureSource:
        """The same source with these pictures alone, in this order."""
        ...

    def join(self, other: Self) -> PictureSource:
        """These pictures, and then those of another source of the same kind."""
        ...


@dataclass(frozen=True)
class Files:
    """Pictures on disk."""

    paths: tuple[Path, ...]

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image:
        """Decode the file."""
        return decode.read(self.paths[number], smallest_side=smallest_side)

    def size(self, number: int) -> tuple[int, int]:
        """Read it from the file's header."""
        return decode.size(self.paths[number])

    def stamp(self, number: int) -> str:
        """Length of the file, and when it was last changed."""
        try:
            facts = self.paths[number].stat()
        except OSError:  # whoever decodes it will say why
            return ""
        return f"{facts.st_size} {facts.st_mtime_ns}"

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64]:
        """Read the files and hash their bytes."""

        def read(number: int) -> int:
            path = self.paths[number]
            try:
                content = path.read_bytes()
            except OSError:  # whoever decodes it will say why
                return 0
            # Many files may hold the same error page of a server, and none of them is an image.
            is_image = kind_of(content[:HEAD], path.name, lambda: content[-TAIL:]).is_image
            return content_hash(content) if is_image else 0

        return _counted(_in_threads(read, len(self.paths)), len(self.paths), advance)

    def select(self, numbers: Sequence[int]) -> Files:
        """Keep these paths."""
        return Files(tuple(self.paths[number] for number in numbers))

    def join(self, other: Files) -> Files:
        """These paths, and then the others."""
        return Files(self.paths + other.paths)


@dataclass(frozen=True)
class Arrays:
    """Pictures in memory, each of shape (height, width, 3)."""

    arrays: tuple[Pixels, ...]

    def read(self, number: int, smallest_side: int | None = None) -> Pixels:
        """Give the array itself."""
        return self.arrays[number]

    def size(self, number: int) -> tuple[int, int]:
        """Read it from the array's shape."""
        height, width, _ = self.arrays[number].shape
        return width, height

    def stamp(self, number: int) -> str:
        """Nothing: arrays do not change."""
        return ""

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64]:
        """Hash the arrays' shapes and numbers."""
        contents = (f"{array.shape}".encode() + array.tobytes() for array in self.arrays)
        return _counted(map(content_hash, contents), len(self.arrays), advance)

    def select(self, numbers: Sequence[int]) -> Arrays:
        """Keep these arrays."""
        return Arrays(tuple(self.arrays[number] for number in numbers))

    def join(self, other: Arrays) -> Arrays:
        """These arrays, and then the others."""
        return Arrays(self.arrays + other.arrays)


@dataclass(frozen=True)
class Pictures:
    """Some pictures with their names, labels and the names of their classes.

    Attributes:
        names: of each picture: its path from the data folder, with `/`.
        labels: the number of each picture's class in `class_names`; -1 where it is not known.
        class_names: in the order of the labels.
        source: of the pixels.
        known_fingerprint: where it need not be computed.

    """

    names: Names
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: PictureSource
    known_fingerprint: str | None = None

    def __len__(self) -> int:
        return len(self.names)

    def select(self, numbers: Sequence[int]) -> Pictures:
        """Keep the pictures of these numbers, in this order."""
        return Pictures(
            _selected(self.names, numbers),
            self.labels[np.asarray(numbers, dtype=np.int64)],
            self.class_names,
            self.source.select(numbers),
        )

    def relabel(self, class_names: tuple[str, ...]) -> Pictures:
        """Number the classes as a model does, by their names; ImageNet's folders are known by their numbers too.

        Raises:
            DataError: the model lacks one of the classes, or has two of its name.

        """
        if class_names == self.class_names:
            return self
        mine = self.class_names
        numbers = numbers_of(mine, class_names, "the model")
        if None in numbers:
            mine = imagenet.named(mine) or mine
            numbers = numbers_of(mine, class_names, "the model")
        unknown = [name for name, number in zip(mine, numbers, strict=True) if number is None]
        if unknown:
            raise DataError(
                f"the data has {len(unknown)} of {len(self.class_names)} classes that the model lacks: "
                f"{few(unknown)}; the model's are {few(class_names)}{case_hint(unknown, class_names)}"
            )
        return Pictures(self.names, np.array(numbers, np.int64)[self.labels], class_names, self.source)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the names and labels: the same for the same pictures under the same names."""
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        from hashlib import sha256  # not above: the first answer wants none of it

        digest = sha256("\n".join(self.class_names).encode())
        for name, label in zip(self.names, self.labels, strict=True):
            digest.update(f"\n{name}\t{label}".encode())
        return digest.hexdigest()[:16]


def content_hash(content: bytes) -> int:
    """The first 64 bits of SHA-256."""
    from hashlib import sha256  # not above: the first answer wants none of it

    return int.from_bytes(sha256(content).digest()[:8], "little")


def _counted(hashes: Iterator[int], count: int, advance: Callable[[int], None]) -> NDArray[np.uint64]:
    found = np.empty(count, np.uint64)
    for number, one in enumerate(hashes):
        found[number] = one
        advance(1)
    return found


def _selected(names: Names, numbers: Sequence[int]) -> Names:
    return tuple(names[number] for number in numbers) if isinstance(names, tuple) else names.select(numbers)


@dataclass(frozen=True)
class Unreadable:
    """A picture that was left out, and why.

    Attributes:
        name: of the picture.
        reason: why it cannot be read.
        number: its place among the pictures that were asked for; None where that is not known.

    """

    name: str
    reason: str
    number: int | None = None


def readable(count: int, lost: Iterable[Unreadable]) -> NDArray[np.int64]:
    """Numbers of those of `count` pictures that are not lost."""
    return np.setdiff1d(np.arange(count), [picture.number for picture in lost if picture.number is not None])


def too_many(lost: Sequence[Unreadable]) -> DataError:
    """Say that more images cannot be read than may be left out, while others may follow."""
    return _cannot_be_read(lost, "last", -1, "leave as many out by `max_unreadable`")


def tell_unreadable(lost: Sequence[Unreadable], allowed: int) -> None:
    """Name images that cannot be read, all that there are.

    Raises:
        DataError: they are more than `allowed`.

    """
    for image in lost[:MOST_NAMED]:
        say(f"left out: {image.reason}")
    if len(lost) > allowed:
        raise _cannot_be_read(lost, "first", 0, f"leave them out by `max_unreadable={len(lost)}`")


def _cannot_be_read(lost: Sequence[Unreadable], which: str, place: int, advice: str) -> DataError:
    images, them = ("image", "it") if len(lost) == 1 else ("images", "them")
    return DataError(
        f"{len(lost)} {images} cannot be read, the {which} is {lost[place].reason}; remove {them}, or {advice}"
    )


def keep_in_memory(
    pictures: Pictures,
    smaller_side: int | None = None,
    limit: int = KEEP_BYTES,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Pictures, list[Unreadable]]:
    """Decode all the pictures once, if they take at most `limit` bytes; else hand them back as they are.

    Some sizes tell beforehand whether they will; where they were mistaken, no more than `limit` bytes are read.

    They are decoded whole, as in testing: it is done once, and exact.

    Args:
        pictures: from anywhere.
        smaller_side: rescale them so first, where every use of them would.
        limit: in bytes of RGB pixels.
        advance: called with 1 after each picture.

    Returns:
        The pictures, and those that could not be read and are no longer among them.

    """
    if isinstance(pictures.source, Arrays) and smaller_side is None:
        return pictures, []
    if not isinstance(pictures.source, Arrays) and _estimated_bytes(pictures, smaller_side) > limit:
        return pictures, []

    def read(number: int) -> Pixels | Unreadable:
        name = pictures.names[number]
        try:
            picture = pictures.source.read(number)
        except PictureError as error:
            return Unreadable(name, str(error))
        if smaller_side is not None:
            image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
            try:
                picture = rescale(image, smaller_side)
            except PictureError as error:
                return Unreadable(name, f"{name}: {error}")
        return np.asarray(picture)

    results: list[Pixels | Unreadable] = []
    num_bytes = 0
    for result in _in_threads(read, len(pictures)):
        results.append(result)
        advance(1)
        num_bytes += result.nbytes if isinstance(result, np.ndarray) else 0
        if num_bytes > limit and not isinstance(pictures.source, Arrays):
            return pictures, []
    good = [number for number, result in enumerate(results) if isinstance(result, np.ndarray)]
    arrays = tuple(result for result in results if isinstance(result, np.ndarray))
    lost = [result for result in results if isinstance(result, Unreadable)]
    return replace(pictures.select(good), source=Arrays(arrays)), lost


def _in_threads(read: Callable[[int], Item], count: int) -> Iterator[Item]:
    """Call it for each number below `count`, in order, a few ahead of whoever takes what comes of it."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        numbers = iter(range(count))
        waiting = deque(pool.submit(read, number) for number in islice(numbers, 2 * (os.cpu_count() or 1)))
        while waiting:
            yield waiting.popleft().result()
            waiting += (pool.submit(read, number) for number in islice(numbers, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _estimated_bytes(pictures: Pictures, smaller_side: int | None, sample: int = 64) -> float:
    sizes = []
    for number in np.linspace(0, len(pictures) - 1, min(sample, len(pictures))).astype(int):
        try:
            width, height = pictures.source.size(int(number))
        except PictureError:
            continue
        if smaller_side is not None:
            width, height = rescaled_size(width, height, smaller_side)
        sizes.append(3 * width * height)
    return len(pictures) * float(np.mean(sizes)) if sizes else 0.0
