"""Labelled images in memory or on disk: what the other rooms hand around."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, ImageError, few, refusal
from verydeep.images import decode, imagenet
from verydeep.images.encode import png
from verydeep.images.formats import HEAD, TAIL, kind_of
from verydeep.images.names import case_hint, numbers_of
from verydeep.images.views import Pixels
from verydeep.notes import say
from verydeep.prefetch import prefetch

HASHES_AHEAD = 32  # images that are hashed before their turn
MOST_NAMED = 20  # unreadable images that are named


class ImageSource(ABC):
    """Images by number, wherever they are.

    A source says how many there are and gives the bytes of each; what else is asked follows from these. It
    overrides what it knows faster.
    """

    in_memory = False
    """Whether the images are decoded already, so that reading them ahead gains nothing."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def encoded(self, number: int) -> decode.Encoded:
        """The bytes of image `number` as a file of a format that is read, and what messages call it.

        Raises:
            ImageError: they cannot be read.

        """

    @abstractmethod
    def select(self, numbers: Sequence[int]) -> Self:
        """The same source with these images alone, in this order."""

    @abstractmethod
    def join(self, other: Self) -> Self:
        """These images, and then those of another source of the same class."""

    def name(self, number: int) -> str:
        """What image `number` is called."""
        return self.encoded(number).name

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image | Pixels:
        """Image `number`, upright RGB; `smallest_side` as in `decode.read`.

        Raises:
            ImageError: it cannot be read.

        """
        return decode.read(self.encoded(number), smallest_side=smallest_side)

    def size(self, number: int) -> tuple[int, int]:
        """Width and height of image `number`, upright.

        Raises:
            ImageError: they cannot be read.

        """
        return decode.size(self.encoded(number))

    def hash(self, number: int) -> int:
        """A hash of the file of image `number`, as it was before anything was done to it.

        It is the first 64 bits of SHA-256; 0 stands for a file that is no image.
        """
        try:
            file = self.encoded(number)
        except ImageError:  # whoever decodes it will say why
            return 0
        # Many files may hold the same error page of a server, and none of them is an image.
        is_image = kind_of(file.content[:HEAD], file.name, lambda: file.content[-TAIL:]).is_image
        return content_hash(file.content) if is_image else 0

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64] | None:
        """The hash of each image, of shape (images,); None where they are not known.

        `advance` is called with a number of images that are done.
        """
        found = np.empty(len(self), np.uint64)
        for number, one in enumerate(prefetch(self.hash, range(len(self)), ahead=HASHES_AHEAD)):
            found[number] = one
            advance(1)
        return found

    def stamp(self, number: int) -> str:
        """What changes when image `number` is changed; empty where that cannot be told."""
        return str(self.hash(number))

    def fingerprint(self) -> str | None:
        """A digest of the images' names; None where it is no sooner told than by taking one after the other."""
        return None


@dataclass(frozen=True)
class Files(ImageSource):
    """Images on disk."""

    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, number: int) -> decode.Encoded:
        """Read the file."""
        path = self.paths[number]
        try:
            return decode.Encoded(str(path), path.read_bytes())
        except OSError as error:
            raise ImageError(refusal(path, "read", error)) from None

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these paths."""
        return type(self)(tuple(self.paths[number] for number in numbers))

    def join(self, other: Self) -> Self:
        """These paths, and then the others."""
        return type(self)(self.paths + other.paths)

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


@dataclass(frozen=True)
class Arrays(ImageSource):
    """Images in memory, each of shape (height, width, 3), or what is known of one that could not be read."""

    arrays: tuple[Pixels | Unreadable, ...]
    in_memory = True

    def __len__(self) -> int:
        return len(self.arrays)

    def encoded(self, number: int) -> decode.Encoded:
        """Encode the array as PNG."""
        return decode.Encoded(f"image {number}", png(Image.fromarray(self.read(number))))

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these arrays."""
        return type(self)(tuple(self.arrays[number] for number in numbers))

    def join(self, other: Self) -> Self:
        """These arrays, and then the others."""
        return type(self)(self.arrays + other.arrays)

    def read(self, number: int, smallest_side: int | None = None) -> Pixels:
        """Give the array itself."""
        array = self.arrays[number]
        if isinstance(array, Unreadable):
            raise ImageError(array.reason)
        return array

    def size(self, number: int) -> tuple[int, int]:
        """Read it from the array's shape."""
        height, width, _ = self.read(number).shape
        return width, height

    def hash(self, number: int) -> int:
        """Hash the array's shape and numbers."""
        array = self.arrays[number]
        if isinstance(array, Unreadable):
            return 0
        return content_hash(f"{array.shape}".encode() + array.tobytes())

    def stamp(self, number: int) -> str:
        """Nothing: arrays do not change."""
        return ""


@dataclass(frozen=True, eq=False)
class SourceNames(Sequence[str]):
    """Names of a source's images, looked up when they are asked for: of millions they would not fit in memory."""

    source: ImageSource

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, place: Any) -> Any:
        numbers = range(len(self))[place]
        return tuple(map(self.source.name, numbers)) if isinstance(numbers, range) else self.source.name(numbers)


@dataclass(frozen=True)
class ImageSet:
    """Some images with their names, labels and the names of their classes.

    Attributes:
        names: of each image: its path from the data folder, with `/`.
        labels: the number of each image's class in `class_names`; -1 where it is not known.
        class_names: in the order of the labels.
        source: of the pixels.
        known_fingerprint: where it need not be computed.

    """

    names: Sequence[str]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: ImageSource
    known_fingerprint: str | None = None

    @staticmethod
    def unlabelled(source: ImageSource, names: Sequence[str] | None = None) -> ImageSet:
        """Images without labels, under names, or those that their source has for them."""
        return ImageSet(names or SourceNames(source), _no_labels(len(source)), (), source)

    def without_labels(self) -> ImageSet:
        """The same images, whose classes are not asked."""
        return ImageSet(self.names, _no_labels(len(self)), (), self.source)

    def __len__(self) -> int:
        return len(self.names)

    def select(self, numbers: Sequence[int]) -> ImageSet:
        """Keep the images of these numbers, in this order."""
        labels, source = self.labels[np.asarray(numbers, dtype=np.int64)], self.source.select(numbers)
        if isinstance(self.names, SourceNames):
            return ImageSet(SourceNames(source), labels, self.class_names, source)
        return ImageSet(tuple(self.names[number] for number in numbers), labels, self.class_names, source)

    def join(self, other: ImageSet) -> ImageSet:
        """These images, and then those of another part of the same data set."""
        labels, source = np.concatenate([self.labels, other.labels]), self.source.join(other.source)
        names = SourceNames(source) if isinstance(self.names, SourceNames) else (*self.names, *other.names)
        return ImageSet(names, labels, self.class_names, source)

    def relabel(self, class_names: tuple[str, ...]) -> ImageSet:
        """Number the classes as a model does, by their names; ImageNet's folders are known by their numbers too.

        Raises:
            DataError: the model lacks one of the classes, or has two of its name.

        """
        if class_names == self.class_names:
            return self
        mine = self.class_names
        numbers = numbers_of(mine, class_names, "the model")
        if None in numbers:
            mine = imagenet.words(mine)
            numbers = numbers_of(mine, class_names, "the model")
        unknown = [name for name, number in zip(mine, numbers, strict=True) if number is None]
        if unknown:
            hint = case_hint(unknown, class_names)
            if len(unknown) == len(mine):
                hint = hint or "; to teach it these classes, start `verydeep.transfer` or `verydeep.train` from it"
            raise DataError(
                f"the data has {len(unknown)} of {len(self.class_names)} classes that the model lacks: "
                f"{few(unknown)}; the model's are {few(class_names)}{hint}"
            )
        return ImageSet(self.names, np.array(numbers, np.int64)[self.labels], class_names, self.source)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the names and labels: the same for the same images under the same names."""
        known = self.known_fingerprint
        if known is None and isinstance(self.names, SourceNames) and not self.class_names:
            known = self.source.fingerprint()
        if known is not None:
            return known
        digest = sha256("\n".join(self.class_names).encode())
        for name, label in zip(self.names, self.labels, strict=True):
            digest.update(f"\n{name}\t{label}".encode())
        return digest.hexdigest()[:16]


def _no_labels(count: int) -> NDArray[np.int64]:
    return np.broadcast_to(np.int64(-1), count)  # which takes no memory


def content_hash(content: bytes) -> int:
    """The first 64 bits of SHA-256."""
    return int.from_bytes(sha256(content).digest()[:8], "little")


@dataclass(frozen=True)
class Unreadable:
    """An image that was left out, and why.

    Attributes:
        name: of the image.
        reason: why it cannot be read.
        number: its place among the images that were asked for; None where that is not known.

    """

    name: str
    reason: str
    number: int | None = None


def readable(count: int, lost: Iterable[Unreadable]) -> NDArray[np.int64]:
    """Numbers of those of `count` images that are not lost."""
    return np.setdiff1d(np.arange(count), [image.number for image in lost if image.number is not None])


def too_many(
    lost: Sequence[Unreadable], which: Literal["first", "last"] = "last", *, begun: bool = False
) -> DataError:
    """Say that more images cannot be read than may be left out; a run that has begun needs all it began with."""
    images, them = ("image", "it") if len(lost) == 1 else ("images", "them")
    return DataError(
        f"{len(lost)} {images} cannot be read, the {which} is {lost[0 if which == 'first' else -1].reason}; "
        f"{'repair' if begun else 'remove'} {them}, or skip {them} with `max_unreadable={len(lost)}`"
    )


def tell_unreadable(lost: Sequence[Unreadable], allowed: int, *, begun: bool = False) -> None:
    """Name the images that cannot be read; `begun` is as of `too_many`.

    Raises:
        DataError: they are more than `allowed`.

    """
    for image in lost[:MOST_NAMED]:
        say(f"skipped: {image.reason}")
    if len(lost) > MOST_NAMED:
        say(f"skipped: {len(lost) - MOST_NAMED:,} more")
    if len(lost) > allowed:
        raise too_many(lost, "first", begun=begun)


def tell_skipped(lost: Sequence[Unreadable], count: int) -> None:
    """Name the images that were left out of `count`, of which some are wanted.

    Raises:
        DataError: none could be read.

    """
    for image in lost:
        say(f"skipped: {image.reason}")
    if len(lost) == count:
        raise DataError(f"none of the {count} images can be read")
