"""`verydeep.shard`: labelled images -> a few large files."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.errors import UsageError, check_least, escaped
from verydeep.images.image_set import tell_unreadable
from verydeep.images.sharding import Packing, finish, pack, refuse_other
from verydeep.images.sources import open_data
from verydeep.images.storage import is_local, local_path
from verydeep.lock import writing_folder
from verydeep.notes import progress, say, say_skipped
from verydeep.results import Result


@dataclass(frozen=True, repr=False)
class PackedData(Result):
    """What was packed.

    Attributes:
        out: folder of the shards, which is data for every other function.
        images: in the shards.
        unreadable: images that were left out.
        shards: tars.
        num_bytes: of the tars.
        split: where the training and the validation part come from.

    """

    out: Path
    images: int
    unreadable: int
    shards: int
    num_bytes: int
    split: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, as plain data."""
        return {**vars(self), "out": str(self.out)}

    def __str__(self) -> str:
        size = f"{self.num_bytes / 1e6:,.1f} MB"
        return f"{escaped(self.out)}: {self.images:,} images in {self.shards:,} shards, {size} ({self.split})"


def shard(
    data: str | PathLike[str],
    *,
    out: str | PathLike[str],
    rescale: int | None = None,
    images_per_shard: int = 10_000,
    max_unreadable: int = 0,
) -> PackedData:
    """Pack labelled images into a few large files, which are faster to copy, list and back up.

    The files are tars in WebDataset's layout, with an index beside them. Their folder is data for every other
    command. It gives the same images, labels, split and batches as what it was made from; only images that are
    rescaled differ. An interrupted call resumes when it is repeated.

    Args:
        data: labelled images: a folder with a folder of images for each class, or with train/ and val/ that hold
            these; ImageNet's folder; `digits`; or the folder or URL that `verydeep.shard` made. Without a
            validation part, the fifth that is held out becomes it.
        out: folder to make.
        rescale: rescale larger images so that their smaller side is this, in pixels, and keep them as upright
            JPEGs of quality 95 (default: all images keep their bytes). Smaller images keep their bytes. 512 serves
            every scale of the paper.
        images_per_shard: most images in a file: 10,000 of ImageNet's are about 1 GB.
        max_unreadable: continue if up to this many images cannot be read; they are listed.

    Raises:
        UsageError: an argument is out of its range, or `out` is something else already.
        DataError: more images cannot be read than allowed, or all of a part; or the data cannot be opened.
        BusyError: another process packs into `out`.
        DiskError: a file cannot be written.

    """
    name, folder, packing = str(data), Path(out), Packing(rescale, images_per_shard)
    check_least("max_unreadable", max_unreadable, 0)
    if is_local(name) and folder.resolve().is_relative_to(local_path(name).resolve()):
        raise UsageError(f"{folder} lies in {name} itself, and would become a class; choose another place")
    with writing_folder(folder):
        refuse_other(folder)
        opened = open_data(name)
        say_skipped(name, opened.skipped)
        if "test" in opened.parts:
            say("the test part is not packed; give its folder to pack it")
        try:
            with progress("packing", len(opened.train) + len(opened.held_out)) as advance:
                tars = pack(opened, folder, packing, advance)
        except KeyboardInterrupt:
            say("interrupted; repeat the command to resume")
            raise
        lost = [image for tar in tars for image in tar.unreadable]
        tell_unreadable(lost, max_unreadable)
        finish(opened, folder, tars, packing, name)
    return PackedData(
        folder,
        sum(len(tar.records) for tar in tars),
        len(lost),
        len(tars),
        sum(tar.num_bytes for tar in tars),
        opened.split,
    )
