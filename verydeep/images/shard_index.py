"""The index of shards: where each image lies in the tars, and what the manifest says of all of them.

SHARDS/
  train-000000.tar ...   of each image key.jpg and key.cls; any tar reads them, and the webdataset library
  val-000000.tar ...
  index/pictures.npy     where each image lies, its size, and where its name ends
  index/labels.npy       their labels
  index/names.npy        their names in UTF-8, one after the other
  index/hashes.npy       of the files that they were made of, as `ImageSource.hashes`; older shards have none
  shards.json            classes, split, fingerprints, the length of every file; written last

A training batch is a function of the seed and the step, so any image must be at hand at any time: it is read
by its number, as a range of bytes of a tar. The index is mapped into memory, where it takes what is looked at.
`verydeep.images.sharding` writes all this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import read_array
from verydeep.errors import DataError, printable
from verydeep.files import parse_json
from verydeep.images.data import Part
from verydeep.images.storage import URLS, Folder, open_folder
from verydeep.typed import as_type, shown

MANIFEST = "shards.json"
FORMAT = "verydeep shards 1"
# The file is called so in every data set of shards; the name is part of the format.
IMAGES, LABELS, NAMES = "index/pictures.npy", "index/labels.npy", "index/names.npy"
HASHES = "index/hashes.npy"
_INDEX = (IMAGES, LABELS, NAMES, HASHES)
PARTS: tuple[Part, ...] = ("train", "val")
BLOCK = 512  # bytes: of a tar, which has one of them before each file

RECORD = np.dtype(
    [
        ("key", "<u4"),  # of the image in its tar
        ("shard", "<u4"),
        ("offset", "<u8"),  # of its first byte in the tar
        ("length", "<u4"),
        ("width", "<u4"),  # upright
        ("height", "<u4"),
        ("name_end", "<u8"),  # in the names; it starts where the one before ends
    ]
)

ANEW = "copy the folder again, or make it again with `verydeep shard`"
DAMAGED = f"it is damaged: {ANEW}"


@dataclass(frozen=True)
class Manifest:
    """What `shards.json` says.

    Attributes:
        class_names: in the order of the labels.
        split: a phrase on where the two parts come from.
        parts: number of images, and fingerprint of their names and labels, of the training part, which comes first
            in the index, and of the validation part.
        shards: name and length in bytes of each tar.
        index: length in bytes of each file of the index.
        digests: SHA-256 of each, in hexadecimal; older shards have none.

    """

    class_names: tuple[str, ...]
    split: str
    parts: tuple[tuple[int, str], ...]
    shards: tuple[tuple[str, int], ...]
    index: dict[str, int]
    digests: dict[str, str]

    @staticmethod
    def from_json(content: bytes, where: str) -> Manifest:
        """Read it.

        Raises:
            DataError: it is not of this form.

        """
        try:
            fields = as_type(dict[str, Any], parse_json(content))
            if fields["format"] != FORMAT:
                raise DataError(
                    f"{where} has the format {shown(fields['format'])}, this version reads {FORMAT!r}; "
                    "make the shards again with `verydeep shard`"
                )
            index = as_type(dict[str, Any], fields["index"], "index")
            manifest = Manifest(
                as_type(tuple[str, ...], fields["class_names"], "class_names"),
                as_type(str, fields["split"], "split"),
                tuple(_part(part, fields[part]) for part in PARTS),
                as_type(tuple[tuple[str, int], ...], fields["shards"], "shards"),
                {file: as_type(int, index[file], file) for file in _INDEX if file in index or file != HASHES},
                as_type(dict[str, str], fields.get("sha256", {}), "sha256"),
            )
        except KeyError as error:
            raise DataError(f"{where} is not what `verydeep shard` writes (it lacks {error}); {ANEW}") from None
        except ValueError as error:
            raise DataError(f"{where} is not what `verydeep shard` writes ({printable(error)}); {ANEW}") from None
        for name, _ in manifest.shards:
            if not re.fullmatch(rf"({'|'.join(PARTS)})-[0-9]{{1,9}}\.tar", name):
                raise DataError(f"{where} has {shown(name)}, which is not the name of a shard; {ANEW}")
        return manifest


def _part(part: str, fields: Any) -> tuple[int, str]:
    fields = as_type(dict[str, Any], fields, part)
    count = as_type(int, fields["pictures"], "pictures")
    if count < 1:
        raise ValueError(f"{part} has no images")
    return count, as_type(str, fields["fingerprint"], "fingerprint")


@dataclass(frozen=True, eq=False)
class Index:
    """Where all the images are. It takes a process no memory but for the pages that it looks at.

    Attributes:
        folder: with the tars.
        manifest: what they are.
        images: of shape (images,) and type `RECORD`.
        labels: of shape (images,).
        names: bytes of all names.
        hashes: of shape (images,): of the files that the images were made of; None where they are not known.

    """

    folder: Folder
    manifest: Manifest
    images: NDArray[np.void]
    labels: NDArray[np.int64]
    names: NDArray[np.uint8]
    hashes: NDArray[np.uint64] | None

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return open_index, (self.folder.location,)  # another process maps it itself


def key_name(key: int) -> str:
    """Name of an image in a tar, without its ending."""
    return f"{key:09d}"


def open_index(location: str) -> Index:
    """Open the index of shards by the path or URL of their folder.

    Raises:
        DataError: something is missing, or not of the length that it should have.

    """
    folder = open_folder(location)
    try:
        content = folder.whole(MANIFEST)
    except FileNotFoundError:
        raise DataError(
            f"{folder.location} has no {MANIFEST}, which `verydeep shard` writes last; "
            "give a folder of complete shards, or make one"
        ) from None
    except DataError as error:
        if folder.is_local:
            raise
        raise DataError(f"{error}; {URLS}") from None
    manifest = Manifest.from_json(content, folder.path(MANIFEST))
    count = sum(count for count, _ in manifest.parts)
    version = sha256(content).hexdigest()

    def array_of(file: str, dtype: str | np.dtype[Any], length: int | None = count) -> NDArray[Any]:
        path = _on_disk(folder, file, manifest.index[file], version, manifest.digests.get(file))
        return _mapped(path, folder.path(file), np.dtype(dtype), length)

    images, labels, names = array_of(IMAGES, RECORD), array_of(LABELS, "<i8"), array_of(NAMES, "u1", None)
    hashes = array_of(HASHES, "<u8") if HASHES in manifest.index else None
    if labels.min() < 0 or labels.max() >= len(manifest.class_names):
        raise DataError(
            f"{folder.path(LABELS)} has labels from {labels.min()} to {labels.max()} for "
            f"{len(manifest.class_names)} classes; {DAMAGED}"
        )
    if folder.is_local:  # behind a URL, a thousand questions would take too long
        for name, num_bytes in manifest.shards:
            _on_disk(folder, name, num_bytes, version)
    return Index(folder, manifest, images, labels, names, hashes)


def _on_disk(folder: Folder, file: str, num_bytes: int, version: str, digest: str | None = None) -> Path:
    """Where a file lies on this machine, once it is sure that it is whole."""
    try:
        path = folder.on_disk(file, num_bytes, version, digest)
        length = path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{folder.path(file)} is missing; {ANEW}") from None
    if length != num_bytes:
        raise DataError(f"{folder.path(file)} has {length} bytes; {num_bytes} are expected; {ANEW}")
    return path


def _mapped(path: Path, called: str, dtype: np.dtype[Any], count: int | None) -> NDArray[Any]:
    """Map an array into memory, and make sure that it is of the wanted type and length."""
    try:
        array = read_array(path, (dtype, 1), mapped=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{called} is not the expected array: {printable(error)}; {ANEW}") from None
    if count not in (None, len(array)):
        raise DataError(f"{called} has {len(array)} rows; {count} are expected; {ANEW}")
    return array
