"""`verydeep shard`: labelled pictures -> a few large files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from verydeep.errors import UsageError
from verydeep.images.folders import is_local, local_path
from verydeep.images.pictures import tell_unreadable
from verydeep.notes import progress, say, say_skipped


@dataclass
class Shard:
    """Pack labelled pictures into a few large files: millions of small ones are slow to copy, list and back up.

    The files are tars in WebDataset's layout, with an index beside them. Their folder is DATA for every other
    command, and gives the same pictures, labels, split and batches as what it was made from; only pictures that
    are made smaller differ. After an interruption the same command goes on.
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """The pictures, as for `verydeep train`. Without a validation part, the fifth that is held out becomes it."""
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT")]
    """Folder to make."""
    smaller_side: int | None = None
    """Rescale larger pictures so that their smaller side is this, and keep them as upright JPEGs of quality 95;
    512 serves every scale of the paper. Smaller pictures keep their bytes; without this option all of them do."""
    pictures_per_shard: int = 10_000
    """Pictures in a file: 10,000 of ImageNet's are about 1 GB."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read."""

    def run(self) -> None:
        """Pack them, or go on."""
        from verydeep.images.sharding import Packing, finish, pack, refuse_other
        from verydeep.images.sources import open_data

        packing = Packing(self.smaller_side, self.pictures_per_shard)
        if self.max_unreadable < 0:
            raise UsageError(f"--max-unreadable is {self.max_unreadable}; it has to be 0 or more")
        self._check_place()
        refuse_other(self.out)
        data = open_data(self.data)
        say_skipped(self.data, data.skipped)
        if "test" in data.parts:
            say("the test part is not packed; pack it by itself, by its own folder")
        try:
            with progress("packing", len(data.train) + len(data.held_out)) as advance:
                shards = pack(data, self.out, packing, advance)
        except KeyboardInterrupt:
            say("the same command goes on where this one stopped")
            raise
        lost = [picture for shard in shards for picture in shard.unreadable]
        tell_unreadable(lost, self.max_unreadable)
        finish(data, self.out, shards, packing, self.data)
        total = sum(shard.num_bytes for shard in shards)
        count = sum(len(shard.records) for shard in shards)
        print(f"{self.out}: {count:,} pictures in {len(shards):,} shards, {total / 1e6:,.1f} MB ({data.split})")

    def _check_place(self) -> None:
        if is_local(self.data) and self.out.resolve().is_relative_to(local_path(self.data).resolve()):
            raise UsageError(
                f"{self.out} lies in {self.data} itself, and would be taken for a class; put it elsewhere"
            )
