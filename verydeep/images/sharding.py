"""Labelled pictures -> shards on disk, which `verydeep.images.shards` reads.

Each tar appears whole, then the index, and the manifest last: before it is there, nothing is taken for shards.
What a tar holds depends on the data and the settings alone, so that an interrupted packing goes on with the tars
that are missing.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError, UsageError
from verydeep.files import write_json, write_whole
from verydeep.images import decode
from verydeep.images.data import Data
from verydeep.images.pictures import Files, Pictures, PictureSource, Unreadable, content_hash
from verydeep.images.shards import (
    BLOCK,
    FORMAT,
    HASHES,
    LABELS,
    MANIFEST,
    NAMES,
    PARTS,
    PICTURES,
    RECORD,
    UNFINISHED,
    Shards,
    key_name,
)
from verydeep.images.views import rescale

JPEG_QUALITY = 95  # of pictures that are made smaller, with colour at full resolution
JPEG_LONGEST = 65_500  # pixels along a side; longer ones become PNGs
ORDER_SEED = 0
AHEAD = 64  # pictures that are encoded before their turn: all that is held in memory

_PLAN = f"{UNFINISHED}/plan.json"
_PACKED = np.dtype([*RECORD.descr, ("hash", "<u8")])  # a record, and the hash of the file that was packed


@dataclass(frozen=True)
class Packing:
    """How pictures are packed.

    Attributes:
        smaller_side: larger pictures are rescaled so that their smaller side is this, in pixels, and become JPEGs;
            all others keep their bytes. None leaves all as they are.
        pictures_per_shard: at most.

    Raises:
        UsageError: one of them is less than 1.

    """

    smaller_side: int | None = None
    pictures_per_shard: int = 10_000

    def __post_init__(self) -> None:
        if self.smaller_side is not None and self.smaller_side < 1:
            raise UsageError(f"--rescale is {self.smaller_side}; it has to be at least 1 pixel")
        if self.pictures_per_shard < 1:
            raise UsageError(f"--pictures-per-shard is {self.pictures_per_shard}; it has to be at least 1")


@dataclass(frozen=True)
class Shard:
    """A tar that has been written.

    Attributes:
        part: `train` or `val`.
        name: of the file.
        num_bytes: of the file.
        records: of its pictures, of type `_PACKED`; their keys are their numbers in the part. Shard and name are
            not yet filled in.
        unreadable: pictures that were left out.

    """

    part: str
    name: str
    num_bytes: int
    records: NDArray[np.void]
    unreadable: tuple[Unreadable, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """A picture as it goes into a tar."""

    content: bytes
    extension: str
    size: tuple[int, int]
    hash: int  # of the picture's content before it was rescaled


def refuse_other(out: Path) -> None:
    """Make sure that a folder is new, empty, or what an interrupted packing has left.

    Raises:
        UsageError: it is something else.

    """
    if (out / MANIFEST).exists():
        raise UsageError(f"{out} has whole shards already; choose another name, or remove it first")
    if (out / _PLAN).is_file() or not out.exists():
        return
    if not out.is_dir() or any(out.iterdir()):
        what = "is not empty, and not an interrupted `verydeep shard`" if out.is_dir() else "is a file"
        raise UsageError(f"{out} {what}; choose another name")


def pack(
    data: Data, out: Path, packing: Packing, advance: Callable[[int], None] = lambda count: None
) -> list[Shard]:
    """Write the tars, or those that an interrupted packing has left to do.

    Whatever cannot be decoded is left out. A tar that lacks pictures is written again the next time: they may have
    been repaired. That a picture was changed otherwise since the packing began is not noticed.

    Args:
        data: of any kind that can be opened.
        out: folder to write to.
        packing: how.
        advance: called with a number of pictures that have been packed.

    Raises:
        UsageError: the folder was begun with other pictures or settings.

    """
    _begin(data, out, packing)
    shards = []
    for part, pictures in _parts(data):
        order = np.arange(len(pictures))
        if part == "train":
            # Who reads the tars from their beginning is to meet the classes mixed. The index keeps the order.
            order = np.random.default_rng(ORDER_SEED).permutation(order)
        for first in range(0, len(order), packing.pictures_per_shard):
            name = f"{part}-{first // packing.pictures_per_shard:06d}.tar"
            keys = order[first : first + packing.pictures_per_shard]
            shard = _finished(out, part, name, len(keys))
            if shard:
                advance(len(keys))
            else:
                shard = _write_shard(out, part, name, pictures, keys, packing.smaller_side, advance)
            shards.append(shard)
    return shards


def finish(data: Data, out: Path, shards: Sequence[Shard], packing: Packing, made_from: str) -> None:
    """Write the index of the tars, and then the manifest, which makes them a data set.

    Args:
        data: that was packed.
        out: folder of the tars.
        shards: all of them.
        packing: how they were packed.
        made_from: what the data is called.

    Raises:
        DataError: not one picture of a part could be read.

    """
    parts, records = {}, []
    for part, pictures in _parts(data):
        found = _records_of(shards, part)
        if not len(found):
            raise DataError(f"not one of the {len(pictures):,} pictures of {part} can be read")
        records.append(found)
        parts[part] = pictures if len(found) == len(pictures) else pictures.select(found["key"].tolist())
    labels = np.concatenate([parts[part].labels for part in PARTS])
    names = (name for part in PARTS for name in parts[part].names)
    write_index(out, np.concatenate(records), labels, names)
    unreadable = [asdict(one) for shard in shards for one in shard.unreadable]
    write_manifest(
        out,
        {part: (len(parts[part]), parts[part].fingerprint) for part in PARTS},
        [(shard.name, shard.num_bytes) for shard in shards],
        class_names=data.class_names,
        split=data.split,
        made_from=made_from,
        **asdict(packing),
        jpeg_quality=JPEG_QUALITY,
        unreadable=unreadable,
    )
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def write_index(out: Path, records: NDArray[np.void], labels: NDArray[np.int64], names: Iterable[str]) -> None:
    """Write the index of pictures, whose names' places are filled in.

    Args:
        out: folder of the shards.
        records: of type `RECORD`, in the order of the pictures; with a field `hash` they give the hashes.
        labels: of each.
        names: of each.

    """
    text = bytearray()
    ends = np.empty(len(records), np.uint64)
    for number, name in enumerate(names):
        text += name.encode(errors="surrogateescape")
        ends[number] = len(text)
    records["name_end"] = ends
    arrays = {
        PICTURES: np.require(records[list(RECORD.names or ())], RECORD),
        LABELS: labels.astype("<i8"),
        NAMES: np.frombuffer(text, np.uint8),
    }
    if "hash" in (records.dtype.names or ()):
        arrays[HASHES] = np.ascontiguousarray(records["hash"])
    for file, array in arrays.items():
        _write_array(out / file, array)


def write_manifest(
    out: Path, parts: dict[str, tuple[int, str]], shards: Sequence[tuple[str, int]], **facts: Any
) -> None:
    """Write the manifest of an index.

    Args:
        out: folder of the shards.
        parts: number of pictures and fingerprint of each.
        shards: name and length in bytes of each tar.
        facts: what else is to be known.

    """
    described = {part: {"pictures": count, "fingerprint": mark} for part, (count, mark) in parts.items()}
    files = [file for file in (PICTURES, LABELS, NAMES, HASHES) if (out / file).is_file()]
    index = {file: (out / file).stat().st_size for file in files}
    write_json(out / MANIFEST, {"format": FORMAT, **described, **facts, "shards": shards, "index": index})


def _parts(data: Data) -> Iterator[tuple[str, Pictures]]:
    return zip(PARTS, (data.train, data.held_out), strict=True)


def _begin(data: Data, out: Path, packing: Packing) -> None:
    """Write down what is packed; or make sure that it is what was begun, and clear away what was cut off."""
    plan = {
        "format": FORMAT,
        "pictures": {part: pictures.fingerprint for part, pictures in _parts(data)},
        **asdict(packing),
    }
    path = out / _PLAN
    if not path.is_file():
        write_json(path, plan)
        return
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        differ = sorted(field for field in plan if begun[field] != plan[field])
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged; remove {out}, or choose another name") from None
    if differ:
        raise UsageError(
            f"{out} was begun with other {' and '.join(differ).replace('_', ' ')}; go on as it was begun, choose "
            "another name, or remove it first"
        )
    for cut_off in out.rglob(".*.part"):
        cut_off.unlink()


def _finished(out: Path, part: str, name: str, num_pictures: int) -> Shard | None:
    """The tar, if it is there, whole, and lacks no picture."""
    try:
        records = np.load(_record_file(out, name), allow_pickle=False)
        num_bytes = (out / name).stat().st_size
    except (OSError, ValueError, EOFError):
        return None
    if records.dtype != _PACKED or len(records) != num_pictures or num_bytes != _tar_bytes(records):
        return None
    return Shard(part, name, num_bytes, records)


def _record_file(out: Path, name: str) -> Path:
    return out / UNFINISHED / f"{name}.npy"


def _tar_bytes(records: NDArray[np.void]) -> int:
    """Length of a tar whose last file is the last of these: whole blocks, two empty ones, whole records."""
    end = -(-int(records["offset"][-1] + records["length"][-1]) // BLOCK) * BLOCK if len(records) else 0
    return -(-(end + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def _write_shard(
    out: Path,
    part: str,
    name: str,
    pictures: Pictures,
    keys: NDArray[np.int64],
    smaller_side: int | None,
    advance: Callable[[int], None],
) -> Shard:
    records: list[tuple[int, ...]] = []
    lost: list[Unreadable] = []

    def encode(key: int) -> _Entry | Unreadable:
        try:
            return _encode(pictures.source, key, smaller_side)
        except PictureError as error:
            return Unreadable(pictures.names[key], str(error))

    def write(aside: Path) -> None:
        with tarfile.open(aside, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, entry in _map_ahead(encode, keys.tolist()):
                if isinstance(entry, Unreadable):
                    lost.append(entry)
                else:
                    _add(tar, f"{key_name(key)}.cls", b"%d" % pictures.labels[key])
                    offset = _add(tar, f"{key_name(key)}.{entry.extension}", entry.content)
                    records.append((key, 0, offset, len(entry.content), *entry.size, 0, entry.hash))
                advance(1)

    write_whole(out / name, write)
    array = np.array(records, _PACKED)
    _write_array(_record_file(out, name), array)
    return Shard(part, name, (out / name).stat().st_size, array, tuple(lost))


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Add a file, the same bytes whenever it is done; gives the offset of its content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    offset = tar.offset + BLOCK
    tar.addfile(member, BytesIO(content))
    return offset


def _map_ahead(
    function: Callable[[int], _Entry | Unreadable], keys: Sequence[int]
) -> Iterator[tuple[int, _Entry | Unreadable]]:
    """Encode on threads, some ahead and no more: pictures must not pile up where the disk is slow."""
    with ThreadPoolExecutor() as pool:
        waiting: deque[tuple[int, Future[_Entry | Unreadable]]] = deque()
        for key in keys:
            waiting.append((key, pool.submit(function, key)))
            if len(waiting) > AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _encode(source: PictureSource, number: int, smaller_side: int | None) -> _Entry:
    """A picture's bytes as they are, or rescaled. It is decoded in either case: nothing unreadable is packed."""
    encoded = _encoded(source, number)
    original = _hash(source, number, encoded)
    image = decode.read(encoded)
    if smaller_side is None or min(image.size) <= smaller_side:
        kind = decode.extension(encoded)
        if kind == "tga":  # known by its name, which is lost
            return _Entry(_png(image), "png", image.size, original)
        return _Entry(encoded.content, kind, image.size, original)
    smaller = rescale(image, smaller_side)
    if max(smaller.size) > JPEG_LONGEST:
        return _Entry(_png(smaller), "png", smaller.size, original)
    file = BytesIO()
    smaller.save(file, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return _Entry(file.getvalue(), "jpg", smaller.size, original)


def _encoded(source: PictureSource, number: int) -> decode.Encoded:
    if isinstance(source, Shards):
        return source.encoded(number)
    if isinstance(source, Files):
        path = source.paths[number]
        try:
            return decode.Encoded(str(path), path.read_bytes())
        except OSError as error:
            raise PictureError(f"{path}: {error.strerror}") from None
    pixels = source.read(number)
    return decode.Encoded(f"picture {number}", _png(Image.fromarray(np.asarray(pixels))))


def _hash(source: PictureSource, number: int, encoded: decode.Encoded) -> int:
    """What `source.hashes` gives of one picture, or the hash of what is packed."""
    known = source.select([number]).hashes(lambda count: None)
    return content_hash(encoded.content) if known is None else int(known[0])


def _png(image: Image.Image) -> bytes:
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _records_of(shards: Sequence[Shard], part: str) -> NDArray[np.void]:
    """Records of a part in the order of its pictures, with the number of their shard filled in."""
    found = [np.empty(0, _PACKED)]
    for number, shard in enumerate(shards):
        if shard.part == part:
            records = shard.records.copy()
            records["shard"] = number
            found.append(records)
    together = np.concatenate(found)
    return together[np.argsort(together["key"])]


def _write_array(path: Path, array: NDArray[Any]) -> None:
    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_whole(path, write)
