"""Images -> one tar of a set of shards; and the index and the manifest of all the tars."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.array_files import write_array
from verydeep.errors import ImageError
from verydeep.files import digest_of, write_json, write_whole
from verydeep.images import decode
from verydeep.images.encode import png
from verydeep.images.image_set import ImageSet, ImageSource, Unreadable
from verydeep.images.shard_index import BLOCK, FORMAT, HASHES, IMAGES, LABELS, MANIFEST, NAMES, RECORD, key_name
from verydeep.images.views import rescale
from verydeep.prefetch import prefetch

JPEG_QUALITY = 95  # of images that are made smaller, with colour at full resolution
JPEG_LONGEST = 65_500  # pixels along a side; longer ones become PNGs
AHEAD = 64  # images that are encoded before their turn: all that is held in memory

PACKED = np.dtype([*RECORD.descr, ("hash", "<u8")])
"""A record of the index, and the hash of the file that was packed."""


@dataclass(frozen=True)
class _Entry:
    """An image as it goes into a tar."""

    content: bytes
    extension: str
    size: tuple[int, int]
    hash: int  # of the image's file before it was rescaled


def write_tar(
    path: Path,
    images: ImageSet,
    keys: Sequence[int],
    smaller_side: int | None,
    advance: Callable[[int], None],
) -> tuple[NDArray[np.void], list[Unreadable]]:
    """Write a tar of some images.

    Args:
        path: of the tar.
        images: a part of the data.
        keys: numbers of the images in the part, in the order of the tar.
        smaller_side: rescale larger images to this; None leaves all as they are.
        advance: called with 1 after each image.

    Returns:
        The records of the images, of type `PACKED`, in the tar's order; shard and name are not yet filled in. And
        the images that cannot be read, which are left out.

    """
    records: list[tuple[int, ...]] = []
    lost: list[Unreadable] = []

    def encode(key: int) -> _Entry | Unreadable:
        try:
            return _encode(images.source, key, smaller_side)
        except ImageError as error:
            return Unreadable(images.names[key], str(error))

    def write(aside: Path) -> None:
        entries = prefetch(encode, keys, ahead=AHEAD)
        with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, entry in zip(keys, entries, strict=True):
                if isinstance(entry, Unreadable):
                    lost.append(entry)
                else:
                    _add(tar, f"{key_name(key)}.cls", b"%d" % images.labels[key])
                    offset = _add(tar, f"{key_name(key)}.{entry.extension}", entry.content)
                    records.append((key, 0, offset, len(entry.content), *entry.size, 0, entry.hash))
                advance(1)

    write_whole(path, write)
    return np.array(records, PACKED), lost


def tar_bytes(records: NDArray[np.void]) -> int:
    """Length of a tar whose last file is the last of these: whole blocks, two empty ones, whole records."""
    end = -(-int(records["offset"][-1] + records["length"][-1]) // BLOCK) * BLOCK if len(records) else 0
    return -(-(end + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file, the same bytes whenever it is done; gives the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    offset: int = tar.offset + BLOCK
    tar.addfile(member, BytesIO(content))
    return offset


def _encode(source: ImageSource, number: int, smaller_side: int | None) -> _Entry:
    """An image's bytes as they are, or rescaled. It is decoded in either case: nothing unreadable is packed."""
    file, original = source.encoded(number), source.hash(number)
    image = decode.read(file)
    if smaller_side is not None and min(image.size) > smaller_side:
        image = rescale(image, smaller_side)
        kind = "jpg" if max(image.size) <= JPEG_LONGEST else "png"
        content = _jpeg(image) if kind == "jpg" else png(image)
    elif (kind := decode.extension(file)) == "tga":  # known by its name, which is lost
        kind, content = "png", png(image)
    else:
        content = file.content
    return _Entry(content, kind, image.size, original)


def _jpeg(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return file.getvalue()


def write_index(out: Path, records: NDArray[np.void], labels: NDArray[np.int64], names: Iterable[str]) -> None:
    """Write the index of images, whose names' places are filled in.

    Args:
        out: folder of the shards.
        records: of type `RECORD`, in the order of the images; with a field `hash` they give the hashes.
        labels: of each.
        names: of each.

    """
    encoded = [name.encode(errors="surrogateescape") for name in names]
    records["name_end"] = np.cumsum([len(name) for name in encoded], dtype=np.uint64)
    write_array(out / IMAGES, np.require(records[list(RECORD.names or ())], RECORD))
    write_array(out / LABELS, labels.astype("<i8"))
    write_array(out / NAMES, np.frombuffer(b"".join(encoded), np.uint8))
    if "hash" in (records.dtype.names or ()):
        write_array(out / HASHES, np.ascontiguousarray(records["hash"]))


def write_manifest(
    out: Path, parts: dict[str, tuple[int, str]], shards: Sequence[tuple[str, int]], **facts: Any
) -> None:
    """Write the manifest of an index.

    Args:
        out: folder of the shards.
        parts: number of images and fingerprint of each.
        shards: name and length in bytes of each tar.
        facts: what else is to be known.

    """
    described: dict[str, Any] = {}
    for part, (count, mark) in parts.items():
        described[part] = {"pictures": count, "fingerprint": mark}
    files = [file for file in (IMAGES, LABELS, NAMES, HASHES) if (out / file).is_file()]
    index = {file: (out / file).stat().st_size for file in files}
    digests = {file: digest_of(out / file) for file in files}
    described |= {**facts, "shards": shards, "index": index, "sha256": digests}
    write_json(out / MANIFEST, {"format": FORMAT, **described})
