"""A protocol over pictures: decoded ahead, batched by shape, scored, averaged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.engines import Scorer
from verydeep.errors import PictureError
from verydeep.evaluation.posterior import Posteriors, posterior_of_maps
from verydeep.evaluation.protocols import Dense
from verydeep.images.pictures import Pictures, Unreadable
from verydeep.images.views import Pixels, rescale

PENDING_PIXELS = 64_000_000  # of pictures that wait for others of their shape: 192 MB
BATCH_PIXELS = 2_000_000  # shown to the network at once: 40 pictures of 224x224

Sized = tuple[int, Pixels]  # number of the picture, rescaled pixels


def evaluate(
    scorer: Scorer,
    pictures: Pictures,
    protocol: Dense,
    *,
    batch_size: int = 128,
    advance: Callable[[int], None] = lambda count: None,
    unreadable: Callable[[Unreadable], None] | None = None,
) -> Posteriors:
    """Posteriors of each picture, by the protocol.

    Args:
        scorer: an engine with a model.
        pictures: any number of them; a few are in memory at a time.
        protocol: which views are shown.
        batch_size: the most pictures of one shape that are shown at once.
        advance: called with the number of pictures that have been finished.
        unreadable: called with a picture that cannot be read, whose posterior is NaN then; None raises instead.

    Returns:
        Of shape (pictures, classes), in the pictures' order.

    Raises:
        UsageError: a scale is smaller than the network's window.
        PictureError: a picture cannot be read, or is too large, and `unreadable` is None.

    """
    protocol.check(scorer.config.architecture.image_size)
    num_views = len(protocol.scales)
    sums = np.zeros((len(pictures), scorer.config.architecture.num_classes))
    for scale, numbers, pixels in _batches(pictures, protocol, batch_size, unreadable):
        views = [pixels, pixels[:, :, ::-1]] if protocol.mirror else [pixels]
        for view in views:
            sums[numbers] += posterior_of_maps(scorer.score_maps(view)) / (len(views) * num_views)
        if scale == protocol.scales[-1]:
            advance(len(numbers))
    sums[sums.sum(1) == 0] = np.nan
    return sums


def _batches(
    pictures: Pictures,
    protocol: Dense,
    batch_size: int,
    unreadable: Callable[[Unreadable], None] | None,
) -> Iterator[tuple[int, NDArray[np.int64], Pixels]]:
    """Rescaled pictures of equal shape, as (scale, their numbers, their pixels)."""
    waiting: dict[tuple[int, int, int], list[Sized]] = defaultdict(list)
    num_waiting_pixels = 0
    for number, rescaled in _rescaled_ahead(pictures, protocol.scales, unreadable):
        for scale, pixels in zip(protocol.scales, rescaled, strict=True):
            key = (scale, *pixels.shape[:2])
            waiting[key].append((number, pixels))
            num_waiting_pixels += pixels.size // 3
            full = min(batch_size, max(1, BATCH_PIXELS // (pixels.size // 3)))
            if len(waiting[key]) >= full:
                num_waiting_pixels -= full * pixels.size // 3
                yield _stack(scale, waiting.pop(key))
        while num_waiting_pixels > PENDING_PIXELS:
            key = max(waiting, key=lambda key: len(waiting[key]) * key[1] * key[2])
            num_waiting_pixels -= len(waiting[key]) * key[1] * key[2]
            yield _stack(key[0], waiting.pop(key))
    for key in sorted(waiting):
        yield _stack(key[0], waiting[key])


def _stack(scale: int, sized: list[Sized]) -> tuple[int, NDArray[np.int64], Pixels]:
    numbers, pixels = zip(*sized, strict=True)
    return scale, np.array(numbers), np.stack(pixels)


def _rescaled_ahead(
    pictures: Pictures,
    scales: tuple[int, ...],
    unreadable: Callable[[Unreadable], None] | None,
    ahead: int = 16,
) -> Iterator[tuple[int, list[Pixels]]]:
    """Decode and rescale pictures on other threads, a few ahead of their use, in order."""

    def read(number: int) -> list[Pixels]:
        picture = pictures.source.read(number)
        image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
        try:
            return [np.asarray(rescale(image, scale)) for scale in scales]
        except PictureError as error:
            raise PictureError(f"{pictures.names[number]}: {error}") from None

    with ThreadPoolExecutor() as pool:
        numbers = iter(range(len(pictures)))
        queue: list[tuple[int, Future[list[Pixels]]]] = [
            (number, pool.submit(read, number)) for number in islice(numbers, ahead)
        ]
        while queue:
            number, future = queue.pop(0)
            for following in islice(numbers, 1):
                queue.append((following, pool.submit(read, following)))
            try:
                yield number, future.result()
            except PictureError as error:
                if unreadable is None:
                    raise
                unreadable(Unreadable(pictures.names[number], str(error)))
