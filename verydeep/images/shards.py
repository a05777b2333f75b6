"""Pictures in a few large files: tars in WebDataset's layout, and an index by which each picture is read alone.

SHARDS/
  train-000000.tar ...   of each picture key.jpg and key.cls; any tar reads them, and the webdataset library
  val-000000.tar ...
  index/pictures.npy     where each picture lies, its size, and where its name ends
  index/labels.npy       their labels
  index/names.npy        their names in UTF-8, one after the other
  index/hashes.npy       of the files that they were made of, as `PictureSource.hashes`; older shards have none
  shards.json            classes, split, fingerprints, the length of every file; written last

A training batch is a function of the seed and the step, so any picture has to be at hand at any time: it is read
by its number, as a range of bytes of a tar. The index is mapped into memory, where it takes what is looked at.
`verydeep.images.sharding` writes all this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError, as_text
from verydeep.images import decode
from verydeep.images.folders import Folder, LocalFolder, open_folder

MANIFEST = "shards.json"
FORMAT = "verydeep shards 1"
PICTURES, LABELS, NAMES = "index/pictures.npy", "index/labels.npy", "index/names.npy"
HASHES = "index/hashes.npy"
PARTS = ("train", "val")
UNFINISHED = ".unfinished"  # folder in which `verydeep shard` keeps what it needs to go on
BLOCK = 512  # bytes: of a tar, which has one of them before each file

RECORD = np.dtype(
    [
        ("key", "<u4"),  # of the picture in its tar
        ("shard", "<u4"),
        ("offset", "<u8"),  # of its first byte in the tar
        ("length", "<u4"),
        ("width", "<u4"),  # upright
        ("height", "<u4"),
        ("name_end", "<u8"),  # in the names; it starts where the one before ends
    ]
)

_ANEW = "copy the folder again, or make it anew by `verydeep shard`"

Numbers = range | NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """The training or the validation part.

    Attributes:
        num_pictures: in it.
        fingerprint: of its names and labels, as `Pictures.fingerprint`.

    """

    num_pictures: int
    fingerprint: str


@dataclass(frozen=True)
class Manifest:
    """What `shards.json` says.

    Attributes:
        class_names: in the order of the labels.
        split: a sentence on where the two parts come from.
        train: the pictures that come first in the index.
        val: the others.
        shards: name and length in bytes of each tar.
        index: length in bytes of each file of the index.

    """

    class_names: tuple[str, ...]
    split: str
    train: Part
    val: Part
    shards: tuple[tuple[str, int], ...]
    index: dict[str, int]

    @staticmethod
    def from_json(content: bytes, where: str) -> Manifest:
        """Read it.

        Raises:
            DataError: it is not of this form.

        """
        try:
            fields = json.loads(content)
            if fields["format"] != FORMAT:
                raise DataError(
                    f"{where} has the format {fields['format']!r}, this version reads {FORMAT!r}; "
                    "make the shards anew by `verydeep shard`"
                )
            return Manifest(
                tuple(map(str, fields["class_names"])),
                str(fields["split"]),
                _part(fields["train"]),
                _part(fields["val"]),
                tuple((_tar_name(name), int(length)) for name, length in fields["shards"]),
                {
                    name: int(fields["index"][name])
                    for name in (PICTURES, LABELS, NAMES, HASHES)
                    if name != HASHES or HASHES in fields["index"]
                },
            )
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{where} is not what `verydeep shard` writes ({error!r}); {_ANEW}") from None


def _part(fields: dict[str, Any]) -> Part:
    if int(fields["pictures"]) < 1:
        raise ValueError("a part has no pictures")
    return Part(int(fields["pictures"]), str(fields["fingerprint"]))


def _tar_name(name: str) -> str:
    if not re.fullmatch(rf"({'|'.join(PARTS)})-\d+\.tar", name):
        raise ValueError(f"{name!r} is not the name of a shard")
    return name


@dataclass(frozen=True, eq=False)
class Index:
    """Where all the pictures are. It takes a process no memory but for the pages that it looks at.

    Attributes:
        folder: with the tars.
        manifest: what they are.
        pictures: of shape (pictures,) and type `RECORD`.
        labels: of shape (pictures,).
        names: bytes of all names.
        hashes: of shape (pictures,): of the files that the pictures were made of; None where they are not known.

    """

    folder: Folder
    manifest: Manifest
    pictures: NDArray[np.void]
    labels: NDArray[np.int64]
    names: NDArray[np.uint8]
    hashes: NDArray[np.uint64] | None

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return open_index, (self.folder.location,)  # another process maps it itself

    def name(self, number: int) -> str:
        """Name of a picture.

        Raises:
            DataError: the index is damaged.

        """
        start = int(self.pictures["name_end"][number - 1]) if number else 0
        end = int(self.pictures["name_end"][number])
        if not start <= end <= len(self.names):
            raise DataError(
                f"{self.folder.path(PICTURES)} has no name for picture {number}; it is damaged: {_ANEW}"
            )
        return as_text(self.names[start:end].tobytes().decode(errors="surrogateescape"))

    def encoded(self, number: int) -> decode.Encoded:
        """The bytes of a picture.

        Raises:
            PictureError: the index does not fit the tar.
            DataError: the tar cannot be read.

        """
        key, shard, offset, length, *_ = self.pictures[number].item()
        tar, size = self._tar(shard, number)
        called = f"{self.name(number)} in {self.folder.path(tar)}"
        if offset < BLOCK or offset + length > size:
            place = f"at bytes {offset} to {offset + length} of {size}"
            raise PictureError(f"{called}: the index has it {place}; it is damaged: {_ANEW}")
        blocks = self.folder.bytes_of(tar, offset - BLOCK, BLOCK + length)
        if len(blocks) < BLOCK + length:
            seen = f"{len(blocks)} bytes could be read of {BLOCK + length}"
            raise PictureError(f"{called}: {seen}; the tar is cut short: {_ANEW}")
        if not _is_header(blocks[:BLOCK], key, length):
            seen = "something else lies there; tar and index do not belong together"
            raise PictureError(f"{called}: {seen}: {_ANEW}")
        return decode.Encoded(called, blocks[BLOCK:])

    def _tar(self, shard: int, number: int) -> tuple[str, int]:
        """Name and length of the tar that a picture is said to be in."""
        shards = self.manifest.shards
        if shard >= len(shards):
            place = f"in shard {shard} of {len(shards)}"
            raise PictureError(f"{self.name(number)}: the index has it {place}; it is damaged: {_ANEW}")
        return shards[shard]


def _is_header(block: bytes, key: int, length: int) -> bool:
    """Whether a tar has a file of this key and length after this block."""
    return block.startswith(f"{key_name(key)}.".encode()) and block[124:135] == b"%011o" % length


def key_name(key: int) -> str:
    """Name of a picture in a tar, without its ending."""
    return f"{key:09d}"


@dataclass(frozen=True)
class Shards:
    """Pictures in tars, by their numbers in the index."""

    index: Index
    numbers: Numbers

    def read(self, number: int, smallest_side: int | None = None) -> Image.Image:
        """Decode its bytes."""
        encoded = self.encoded(number)
        picture = decode.read(encoded, smallest_side=smallest_side)
        # A test plans by the index which pictures are shown together.
        if smallest_side is None and picture.size != self.size(number):
            raise PictureError(f"{encoded}: the index has another size of it; it is damaged: {_ANEW}")
        return picture

    def size(self, number: int) -> tuple[int, int]:
        """Look it up in the index."""
        *_, width, height, _ = self.index.pictures[self.numbers[number]].item()
        if min(width, height) < 1:
            name = self.index.name(int(self.numbers[number]))
            raise PictureError(f"{name}: the index has {width}x{height} as its size; it is damaged: {_ANEW}")
        return width, height

    def encoded(self, number: int) -> decode.Encoded:
        """Its bytes, as they were packed."""
        return self.index.encoded(int(self.numbers[number]))

    def stamp(self, number: int) -> str:
        """Its place in the tars, and its size."""
        return str(self.index.pictures[self.numbers[number]].item())

    def hashes(self, advance: Callable[[int], None]) -> NDArray[np.uint64] | None:
        """Look them up in the index."""
        advance(len(self.numbers))
        return None if self.index.hashes is None else self.index.hashes[_array(self.numbers)]

    def select(self, numbers: Sequence[int]) -> Shards:
        """Keep these numbers."""
        return Shards(self.index, _select(self.numbers, numbers))

    def join(self, other: Shards) -> Shards:
        """These, and then the others, of the same index."""
        return Shards(self.index, _join(self.numbers, other.numbers))


@dataclass(frozen=True, eq=False)
class StoredNames(Sequence[str]):
    """Names of pictures, looked up in the index when they are asked for."""

    kept_in: Index
    numbers: Numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> StoredNames: ...
    def __getitem__(self, place: int | slice) -> str | StoredNames:
        if isinstance(place, slice):
            return StoredNames(self.kept_in, self.numbers[place])
        return self.kept_in.name(int(self.numbers[place]))

    def select(self, numbers: Sequence[int]) -> StoredNames:
        """Keep these."""
        return StoredNames(self.kept_in, _select(self.numbers, numbers))

    def join(self, other: StoredNames) -> StoredNames:
        """These, and then the others, of the same index."""
        return StoredNames(self.kept_in, _join(self.numbers, other.numbers))


def _select(numbers: Numbers, places: Sequence[int]) -> Numbers:
    return _array(numbers)[np.asarray(places, dtype=np.int64)]


def _join(first: Numbers, second: Numbers) -> Numbers:
    return np.concatenate([_array(first), _array(second)])


def _array(numbers: Numbers) -> NDArray[np.int64]:
    return np.arange(numbers.start, numbers.stop, numbers.step) if isinstance(numbers, range) else numbers


def open_index(location: str) -> Index:
    """Open shards by the path or URL of their folder.

    Raises:
        DataError: something is missing, or not of the length that it should have.

    """
    folder = open_folder(location)
    try:
        content = folder.whole(MANIFEST)
    except FileNotFoundError:
        raise DataError(
            f"{folder.location} has no {MANIFEST}, which `verydeep shard` writes last; "
            "give the folder of whole shards, or make them"
        ) from None
    manifest = Manifest.from_json(content, folder.path(MANIFEST))
    count = manifest.train.num_pictures + manifest.val.num_pictures
    version = sha256(content).hexdigest()
    pictures = _array_of(folder, manifest, version, PICTURES, RECORD, count)
    labels = _array_of(folder, manifest, version, LABELS, np.dtype("<i8"), count)
    names = _array_of(folder, manifest, version, NAMES, np.dtype("u1"), None)
    hashes = None
    if HASHES in manifest.index:
        hashes = _array_of(folder, manifest, version, HASHES, np.dtype("<u8"), count)
    if labels.min() < 0 or labels.max() >= len(manifest.class_names):
        raise DataError(
            f"{folder.path(LABELS)} has labels from {labels.min()} to {labels.max()} for "
            f"{len(manifest.class_names)} classes; it is damaged: {_ANEW}"
        )
    if isinstance(folder, LocalFolder):  # behind a URL, a thousand questions would take too long
        _check_tars(folder, manifest)
    return Index(folder, manifest, pictures, labels, names, hashes)


def _array_of(
    folder: Folder, manifest: Manifest, version: str, file: str, dtype: np.dtype[Any], count: int | None
) -> NDArray[Any]:
    """Map an array of the index into memory, and make sure that it is of the wanted type and length."""
    wanted = manifest.index[file]
    try:
        path = folder.on_disk(file, wanted, version)
        length = path.stat().st_size
        if length != wanted:
            raise DataError(f"{folder.path(file)} has {length} bytes where {wanted} are wanted; {_ANEW}")
        array = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except FileNotFoundError:
        raise DataError(f"{folder.path(file)} is missing; {_ANEW}") from None
    except (ValueError, EOFError):
        raise DataError(f"{folder.path(file)} is not an array; {_ANEW}") from None
    if array.dtype != dtype or array.ndim != 1 or count not in (None, len(array)):
        raise DataError(
            f"{folder.path(file)} has shape {array.shape} and type {array.dtype} where {count or 'any'} of type "
            f"{dtype} are wanted; {_ANEW}"
        )
    return array


def _check_tars(folder: LocalFolder, manifest: Manifest) -> None:
    for name, wanted in manifest.shards:
        try:
            length = folder.on_disk(name, wanted, "").stat().st_size
        except FileNotFoundError:
            raise DataError(f"{folder.path(name)} is missing; {_ANEW}") from None
        if length != wanted:
            raise DataError(f"{folder.path(name)} has {length} bytes where {wanted} are wanted; {_ANEW}")
