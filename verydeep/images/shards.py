"""Images in a few large files: tars in WebDataset's layout, whose index tells where each image lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Self
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, ImageError, as_text
from verydeep.images import decode
from verydeep.images.data import AT_RANDOM, Data, Part
from verydeep.images.formats import EXTENSIONS
from verydeep.images.image_set import ImageSet, ImageSource, SourceNames
from verydeep.images.shard_index import (
    ANEW,
    BLOCK,
    DAMAGED,
    IMAGES,
    MANIFEST,
    PARTS,
    Index,
    key_name,
    open_index,
)
from verydeep.images.storage import URLS, is_local, local_path

MOST_NAME_BYTES = 1 << 16
FILES = EXTENSIONS | {".gz", ".json", ".tar", ".tgz", ".zip"}
"""Endings of files that people may name in the place of a folder."""
UNFINISHED = ".unfinished"  # folder in which `verydeep shard` keeps what it needs to resume


def recognizes(location: str) -> bool:
    """Whether it is a URL, or a folder in which `verydeep shard` has begun."""
    if not is_local(location):
        return True
    folder = local_path(location)
    return (folder / MANIFEST).is_file() or (folder / UNFINISHED).is_dir()


def open_data(location: str) -> Data:
    """Open shards by the path or URL of their folder.

    Raises:
        DataError: they are not finished, or damaged; or the URL is of something else.

    """
    if is_local(location) and not (local_path(location) / MANIFEST).is_file():
        raise DataError(
            f"{location} is an unfinished result of `verydeep shard`; repeat the same command to resume it"
        )
    if not is_local(location) and PurePosixPath(urlsplit(location).path).suffix.lower() in FILES:
        raise DataError(f"{location} is the URL of a file; {URLS}")
    index, parts, first = open_index(location), dict[Part, ImageSet](), 0
    manifest = index.manifest
    for part, (count, fingerprint) in zip(PARTS, manifest.parts, strict=True):
        source, labels = Shards(index, range(first, first + count)), index.labels[first : first + count]
        parts[part] = ImageSet(SourceNames(source), labels, manifest.class_names, source, fingerprint)
        first += count
    return Data(parts, manifest.split, drawn=manifest.split == AT_RANDOM)


@dataclass(frozen=True)
class Shards(ImageSource):
    """Images in tars, by their numbers in the index."""

    index: Index
    numbers: range | NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, number: int) -> str:
        """Look it up in the index.

        Raises:
            DataError: the index is damaged.

        """
        place, ends = int(self.numbers[number]), self.index.images["name_end"]
        start, end = int(ends[place - 1]) if place else 0, int(ends[place])
        if not start <= end <= min(start + MOST_NAME_BYTES, len(self.index.names)):
            path = self.index.folder.path(IMAGES)
            raise DataError(f"{path} has no name for image {place}; {DAMAGED}")
        return as_text(self.index.names[start:end].tobytes().decode(errors="surrogateescape"))

    def encoded(self, number: int) -> decode.Encoded:
        """Its bytes, as they were packed.

        Raises:
            ImageError: the index does not fit the tar.
            DataError: the tar cannot be read.

        """
        key, shard, offset, length, *_ = self._record(number)
        name, shards, folder = self.name(number), self.index.manifest.shards, self.index.folder
        if shard >= len(shards):
            raise ImageError(
                f"{name} in {folder.location}: the index has it in shard {shard} of {len(shards)}; {DAMAGED}"
            )
        tar, size = shards[shard]
        called = f"{name} in {folder.path(tar)}"
        if offset < BLOCK or offset + length > size:
            place = f"at bytes {offset} to {offset + length} of {size}"
            raise ImageError(f"{called}: the index has it {place}; {DAMAGED}")
        blocks = folder.bytes_of(tar, offset - BLOCK, BLOCK + length)
        if len(blocks) < BLOCK + length:
            seen = f"{len(blocks)} bytes could be read of {BLOCK + length}"
            raise ImageError(f"{called}: {seen}; the tar is cut short: {ANEW}")
        if not (blocks.startswith(f"{key_name(key)}.".encode()) and blocks[124:135] == b"%011o" % length):
            seen = "something else lies there; tar and index do not belong together"
            raise ImageError(f"{called}: {seen}: {ANEW}")
        return decode.Encoded(called, blocks[BLOCK:])

    def select(self, numbers: Sequence[int]) -> Self:
        """Keep these numbers."""
        return type(self)(self.index, self._numbers[np.asarray(numbers, dtype=np.int64)])

    def join(self, other: Self) -> Self:
        """These, and then the others, of the same index."""
        mine, others = self.numbers, other.numbers
        if isinstance(mine, range) and isinstance(others, range) and mine.stop == others.start:
            return type(self)(self.index, range(mine.start, others.stop))
        return type(self)(self.index, np.concatenate([self._numbers, other._numbers]))

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image:
        """Decode its bytes."""
        encoded = self.encoded(number)
        image = decode.read(encoded, smallest_side=smallest_side)
        # A test plans by the index which images are shown together.
        if smallest_side is None and image.size != self.size(number):
            raise ImageError(f"{encoded}: the index has another size of it; {DAMAGED}")
        return image

    def size(self, number: int) -> tuple[int, int]:
        """Look it up in the index."""
        *_, width, height, _ = self._record(number)
        if min(width, height) < 1:
            raise ImageError(
                f"{self.name(number)} in {self.index.folder.location}: the index has {width}x{height} as its "
                f"size; {DAMAGED}"
            )
        return width, height

    def hash(self, number: int) -> int:
        """Look it up in the index; of older shards hash what was packed."""
        hashes = self.index.hashes
        return super().hash(number) if hashes is None else int(hashes[self.numbers[number]])

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64] | None:
        """Look them up in the index; in that of older shards there are none."""
        advance(len(self))
        return None if self.index.hashes is None else self.index.hashes[self._numbers]

    def stamp(self, number: int) -> str:
        """Its place in the tars, its size and its hash; empty for older shards, which have no hashes."""
        if self.index.hashes is None:
            return ""
        return f"{self._record(number)} {self.hash(number):x}"

    def fingerprint(self) -> str | None:
        """A digest of those of the parts; None where these are not all of the images."""
        parts = self.index.manifest.parts
        if self.numbers != range(sum(count for count, _ in parts)):
            return None
        return sha256("\n".join(fingerprint for _, fingerprint in parts).encode()).hexdigest()[:16]

    def _record(self, number: int) -> tuple[int, ...]:
        record: tuple[int, ...] = self.index.images[self.numbers[number]].item()
        return record

    @property
    def _numbers(self) -> NDArray[np.int64]:
        numbers = self.numbers
        return np.arange(numbers.start, numbers.stop) if isinstance(numbers, range) else numbers
