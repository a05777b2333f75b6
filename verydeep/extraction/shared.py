"""One extraction, shared out among processes and kept chunk by chunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.distributed import World
from verydeep.errors import PictureError
from verydeep.evaluation.evaluate import read_ahead
from verydeep.evaluation.parts import Parts
from verydeep.evaluation.plan import Chunk
from verydeep.evaluation.posterior import check_finite
from verydeep.extraction.extractor import Extractor
from verydeep.extraction.plan import Shown, paths_of
from verydeep.extraction.summaries import Summary, summarize
from verydeep.files import write_whole
from verydeep.images.geometry import centre_offset
from verydeep.images.pictures import Pictures, Unreadable, too_many
from verydeep.layers.names import shape_at

BATCH_BYTES = 64 << 20  # of the maps of pictures that are shown at once
BATCH_PICTURES = 64

Pixels = NDArray[np.uint8]
Rows = dict[str, NDArray[np.float32]]


class FeatureParts(Parts):
    """Finished chunks: each an archive of what is kept of its pictures, layer by layer."""

    noun = "extraction"
    suffix = ".npz"

    def whole(self, chunk: Chunk) -> bool:
        """Whether a chunk is there with all of its pictures."""
        try:
            with np.load(self.file(chunk), allow_pickle=False) as archive:
                return bool(len(archive["kept"]) == len(chunk.pictures))
        except (OSError, ValueError, EOFError, KeyError):
            return False

    def kept(self, chunk: Chunk) -> NDArray[np.int64]:
        """Numbers of the pictures of a chunk that could be read."""
        with np.load(self.file(chunk), allow_pickle=False) as archive:
            kept: NDArray[np.int64] = archive["kept"]
        return kept

    def rows(self, chunk: Chunk, layer: str) -> NDArray[np.float32]:
        """What is kept of a layer, a row a picture."""
        with np.load(self.file(chunk), allow_pickle=False) as archive:
            rows: NDArray[np.float32] = archive[layer]
        return rows

    def keep(self, chunk: Chunk, kept: Sequence[int], rows: Rows) -> None:
        """Keep a chunk; it appears whole."""

        def save(aside: Path) -> None:
            with aside.open("wb") as file:
                np.savez(file, kept=np.array(kept, np.int64), **rows)  # type: ignore[arg-type]

        write_whole(self.file(chunk), save)


def extract_shared(
    extractor: Extractor,
    pictures: Pictures,
    plan: Sequence[Chunk],
    world: World,
    parts: FeatureParts,
    *,
    shown: Shown,
    summary: Summary,
    leave_out: int = 0,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Unreadable]:
    """Bring every chunk of a plan into `parts`, those excepted that are there already.

    Args:
        extractor: an engine with the model, tapped.
        pictures: the same on every process.
        plan: likewise; each process takes chunks of it.
        world: the processes.
        parts: where chunks are kept; on a disk that all processes share.
        shown: how pictures are shown.
        summary: what is kept of the maps.
        leave_out: pictures that may be left out because they cannot be read.
        advance: called with the number of pictures that have been finished, here or wherever the world hears of.

    Returns:
        The pictures that were left out.

    Raises:
        DataError: more pictures cannot be read than may be left out.
        ModelError: the network gives features that are not finite.
        VerydeepError: another process is lost.

    """
    count = world.counting(advance)
    to_do: list[Chunk] = []
    for chunk in world.share(plan):
        if parts.whole(chunk):
            count(len(chunk.pictures))
        else:
            to_do.append(chunk)
    lost: list[Unreadable] = []
    for chunk, outcomes in read_ahead([shown.scale], pictures, to_do):
        kept: list[int] = []
        shown_pictures: list[Pixels] = []
        for number, outcome in zip(chunk.pictures, outcomes, strict=True):
            if isinstance(outcome, PictureError):
                lost.append(Unreadable(pictures.names[number], str(outcome), number))
            else:
                kept.append(number)
                shown_pictures.append(_middle(outcome[shown.scale], shown.window))
        if len(lost) > leave_out:
            raise too_many(lost)
        parts.keep(chunk, kept, extract(extractor, shown_pictures, summary))
        count(len(chunk.pictures))
    every_lost = [one for several in world.gather(lost, advance) for one in several]
    if len(every_lost) > leave_out:
        raise too_many(every_lost)
    return every_lost


def extract(extractor: Extractor, pictures: Sequence[Pixels], summary: Summary) -> Rows:
    """What is kept of pictures, layer by layer, a row a picture; those of one shape are shown together.

    Args:
        extractor: an engine with the model, tapped.
        pictures: of shape (height, width, 3) each.
        summary: what is kept; whole maps want pictures of one shape.

    Raises:
        ModelError: what is kept of a layer is not finite.

    """
    by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, picture in enumerate(pictures):
        by_shape[picture.shape].append(number)
    rows: dict[str, dict[int, NDArray[np.float32]]] = {name: {} for name in extractor.layers}
    for (height, width, _), numbers in by_shape.items():
        size = _batch_size(extractor, height, width)
        for first in range(0, len(numbers), size):
            batch = numbers[first : first + size]
            for name, maps in extractor(np.stack([pictures[number] for number in batch])).items():
                with np.errstate(over="ignore", invalid="ignore"):  # of which the check tells
                    kept = summarize(maps, summary)
                check_finite(kept, f"the network's features of {name}")
                rows[name] |= dict(zip(batch, kept, strict=True))
    # Of no picture at all nothing is kept, and nobody asks for its shape.
    return {
        name: np.stack([of[number] for number in range(len(pictures))]) if of else np.empty(0, np.float32)
        for name, of in rows.items()
    }


def _batch_size(extractor: Extractor, height: int, width: int) -> int:
    paths = paths_of(extractor.path, extractor.layers).values()
    one = 4 * sum(prod(shape_at(path, height, width)) for path in paths)
    return max(1, min(BATCH_PICTURES, BATCH_BYTES // one))


def _middle(picture: Pixels, window: int | None) -> Pixels:
    if window is None:
        return picture
    top, left = (centre_offset(side, window) for side in picture.shape[:2])
    return picture[top : top + window, left : left + window]
