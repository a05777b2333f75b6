"""`verydeep shard`: labelled images -> a few large files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Answering, command
from verydeep.errors import UsageError


@command
class Shard(Answering):
    """Pack labelled images into a few large files: millions of small ones are slow to copy, list and back up.

    The files are tars in WebDataset's layout, with an index beside them. Their folder is DATA for every other
    command, and gives the same images, labels, split and batches as what it was made from; only images that are
    rescaled differ. After an interruption the same command resumes.
    """

    renamed = {"--smaller-side": "--rescale", "--pictures-per-shard": "--images-per-shard"}

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """The images, as for `verydeep train`. Without a validation part, the fifth that is held out becomes it."""
    out: Path
    """Folder to make."""
    rescale: int | None = None
    """Rescale larger images so that their smaller side is this, in pixels, and keep them as upright JPEGs of
    quality 95; 512 serves every scale of the paper. Smaller images keep their bytes; by default all of them do."""
    images_per_shard: int = 10_000
    """The most images in a file: 10,000 of ImageNet's are about 1 GB."""
    max_unreadable: int = 0
    """Continue if up to N images cannot be read; they are listed."""

    @staticmethod
    def defaults(arguments: Sequence[str]) -> Shard:
        """Refuse the folder to make as a second position, as it was before."""
        if len(arguments) > 1 and not any(word.startswith("-") for word in arguments[:2]):
            raise UsageError(f"the folder to make is an option now: --out {arguments[1]}")
        return Shard(data=tyro.MISSING, out=tyro.MISSING)
