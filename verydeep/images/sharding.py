"""Labelled images -> shards on disk, which `verydeep.images.shards` reads.

Each tar appears whole, then the index, and the manifest last: before it is there, nothing is taken for shards.
What a tar holds depends on the data and the settings alone, so that an interrupted packing resumes with the tars
that are missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import read_array, write_array
from verydeep.errors import DataError, UsageError, check_least
from verydeep.files import read_json, write_json
from verydeep.images.data import Data
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.shard_index import FORMAT, MANIFEST, PARTS
from verydeep.images.shard_writing import (
    JPEG_QUALITY,
    PACKED,
    tar_bytes,
    write_index,
    write_manifest,
    write_tar,
)
from verydeep.images.shards import UNFINISHED
from verydeep.lock import LOCK
from verydeep.typed import as_type

ORDER_SEED = 0
_PLAN = f"{UNFINISHED}/plan.json"
# Arguments by their names in the files, which are part of the format.
_ARGUMENTS = {"smaller_side": "`rescale`", "pictures_per_shard": "`images_per_shard`", "pictures": "images"}


@dataclass(frozen=True)
class Packing:
    """How images are packed.

    Attributes:
        rescale: larger images are rescaled so that their smaller side is this, in pixels, and become JPEGs; all
            others keep their bytes. None leaves all as they are.
        images_per_shard: at most.

    Raises:
        UsageError: one of them is less than 1.

    """

    rescale: int | None = None
    images_per_shard: int = 10_000

    def __post_init__(self) -> None:
        if self.rescale is not None and self.rescale < 1:
            raise UsageError(f"`rescale` is {self.rescale}; it must be at least 1 pixel")
        check_least("images_per_shard", self.images_per_shard, 1)

    def to_dict(self) -> dict[str, int | None]:
        """The settings by their names in the files."""
        return {"smaller_side": self.rescale, "pictures_per_shard": self.images_per_shard}


@dataclass(frozen=True)
class PackedTar:
    """A tar that has been written.

    Attributes:
        part: `train` or `val`.
        name: of the file.
        num_bytes: of the file.
        records: of its images, of type `PACKED`; their keys are their numbers in the part. Names' places are not
            yet filled in.
        unreadable: images that were left out.

    """

    part: str
    name: str
    num_bytes: int
    records: NDArray[np.void]
    unreadable: tuple[Unreadable, ...] = ()


def refuse_other(out: Path) -> None:
    """Make sure that a folder is new, empty, or what an interrupted packing has left.

    Raises:
        UsageError: it is something else.

    """
    if (out / MANIFEST).exists():
        raise UsageError(f"{out} already has complete shards; choose another name, or remove it first")
    if (out / _PLAN).is_file() or not out.exists():
        return
    if not out.is_dir() or any(not _is_unbegun(path) for path in out.iterdir()):
        what = "is not empty, and not an interrupted `verydeep shard`" if out.is_dir() else "is a file"
        raise UsageError(f"{out} {what}; choose another name")


def _is_unbegun(path: Path) -> bool:
    """Whether this is what a packing leaves that was ended before its plan was written."""
    if path.name == LOCK:
        return True
    return path.name == UNFINISHED and path.is_dir() and all(one.suffix == ".part" for one in path.iterdir())


def pack(
    data: Data, out: Path, packing: Packing, advance: Callable[[int], None] = lambda count: None
) -> list[PackedTar]:
    """Write the tars, or those that an interrupted packing has left to do.

    Whatever cannot be decoded is left out. A tar that lacks images is written again the next time: they may have
    been repaired. That an image was changed otherwise since the packing began is not noticed.

    Args:
        data: of any kind that can be opened.
        out: folder to write to.
        packing: how.
        advance: called with a number of images that have been packed.

    Raises:
        UsageError: the folder was begun with other images or settings.

    """
    _begin(data, out, packing)
    tars: list[PackedTar] = []
    for part, images in _parts(data):
        order = np.arange(len(images))
        if part == "train":
            # Who reads the tars from their beginning is to meet the classes mixed. The index keeps the order.
            order = np.random.default_rng(ORDER_SEED).permutation(order)
        for number, first in enumerate(range(0, len(order), packing.images_per_shard)):
            name, keys = f"{part}-{number:06d}.tar", order[first : first + packing.images_per_shard].tolist()
            records, lost = _finished(out, name, len(keys)), list[Unreadable]()
            if records is None:
                records, lost = write_tar(out / name, images, keys, packing.rescale, advance)
                write_array(_record_file(out, name), records)
            else:
                advance(len(keys))
            records["shard"] = len(tars)
            tars.append(PackedTar(part, name, (out / name).stat().st_size, records, tuple(lost)))
    return tars


def finish(data: Data, out: Path, tars: Sequence[PackedTar], packing: Packing, made_from: str) -> None:
    """Write the index of the tars, and then the manifest, which makes them a data set.

    Args:
        data: that was packed.
        out: folder of the tars.
        tars: all of them.
        packing: how they were packed.
        made_from: what the data is called.

    Raises:
        DataError: not one image of a part could be read.

    """
    parts, records = {}, []
    for part, images in _parts(data):
        found = np.concatenate([tar.records for tar in tars if tar.part == part])
        if not len(found):
            raise DataError(
                f"none of the {len(images):,} images of {part} can be read; replace them, or leave {part} out"
            )
        found = found[np.argsort(found["key"])]
        records.append(found)
        parts[part] = images if len(found) == len(images) else images.select(found["key"].tolist())
    labels = np.concatenate([images.labels for images in parts.values()])
    names = (name for images in parts.values() for name in images.names)
    write_index(out, np.concatenate(records), labels, names)
    write_manifest(
        out,
        {part: (len(images), images.fingerprint) for part, images in parts.items()},
        [(tar.name, tar.num_bytes) for tar in tars],
        class_names=data.class_names,
        split=data.split,
        made_from=made_from,
        **packing.to_dict(),
        jpeg_quality=JPEG_QUALITY,
        unreadable=[asdict(image) for tar in tars for image in tar.unreadable],
    )
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def _parts(data: Data) -> Iterator[tuple[str, ImageSet]]:
    return zip(PARTS, (data.train, data.held_out), strict=True)


def _begin(data: Data, out: Path, packing: Packing) -> None:
    """Write down what is packed; or make sure that it is what was begun, and clear away what was cut off."""
    fingerprints = {part: images.fingerprint for part, images in _parts(data)}
    plan: dict[str, Any] = {"format": FORMAT, "pictures": fingerprints, **packing.to_dict()}
    path = out / _PLAN
    if not path.is_file():
        write_json(path, plan)
        return
    try:
        begun = as_type(dict[str, Any], read_json(path))
        differ = sorted(_ARGUMENTS.get(field, field) for field in plan if begun[field] != plan[field])
    except (ValueError, KeyError):
        raise UsageError(f"{path} is damaged; remove {out}, or choose another name") from None
    if differ:
        raise UsageError(
            f"{out} was begun with other {' and '.join(differ)}; repeat the original command, choose another "
            "name, or remove it first"
        )
    for cut_off in out.rglob(".*.part"):
        cut_off.unlink()


def _finished(out: Path, name: str, num_images: int) -> NDArray[np.void] | None:
    """The records of a tar, if it is there, whole, and lacks no image."""
    try:
        records = read_array(_record_file(out, name), (PACKED, 1))
        num_bytes = (out / name).stat().st_size
    except (OSError, ValueError):
        return None
    return records if len(records) == num_images and num_bytes == tar_bytes(records) else None


def _record_file(out: Path, name: str) -> Path:
    return out / UNFINISHED / f"{name}.npy"
