"""What tells the images again that a network was trained on: hashes of their content."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.distributed import World
from verydeep.images.image_set import ImageSet
from verydeep.run_folder import read_split, read_training_images

Hashes = NDArray[np.uint64] | None  # None where they are not all known: a part would pass for the whole


def training_hashes(
    train: ImageSet,
    lost: Collection[str],
    earlier: Path | None,
    here: World,
    advance: Callable[[int], None] = lambda count: None,
) -> Hashes:
    """Hash the images that a network is trained on; each process takes its share.

    Args:
        train: the training part, as it lies on disk.
        lost: names of its images that cannot be read, as far as it is known.
        earlier: the model that training starts from, whose own training images count too.
        here: the processes.
        advance: called with a number of images that are done.

    Returns:
        On the first process the hashes; on the others None.

    """
    share = here.share(range(len(train)))
    shares = here.gather(train.select(share).source.hashes(advance))
    known = [one for one in shares if one is not None]
    if not here.first or len(known) < len(shares):  # shards that were made without hashes
        return None
    together = np.empty(len(train), np.uint64)
    for rank, one in enumerate(known):
        together[rank :: here.size] = one
    if lost:
        together = together[[name not in lost for name in train.names]]
    before = read_training_images(earlier) if earlier else None
    if before is None:  # of an older run they are not known
        return None if earlier and read_split(earlier) else together
    return np.concatenate([together, before])
