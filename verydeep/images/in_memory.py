"""Images that are small enough are decoded once, and kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from verydeep.errors import ImageError
from verydeep.images.geometry import rescaled_size
from verydeep.images.image_set import Arrays, ImageSet, Unreadable
from verydeep.images.views import Pixels, rescale
from verydeep.prefetch import prefetch
from verydeep.processor import num_threads

KEEP_BYTES = 2 << 30  # images that take less than this are kept in memory
SAMPLE = 64  # images whose sizes are looked at to estimate the memory of all


def keep_in_memory(
    images: ImageSet,
    smaller_side: int | None = None,
    limit: int = KEEP_BYTES,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[ImageSet, list[Unreadable]]:
    """Decode all the images once, if they take at most `limit` bytes; else hand them back as they are.

    Some sizes tell beforehand whether they will; where they were mistaken, no more than `limit` bytes are read.
    They are decoded whole, as in testing: it is done once, and exact.

    Args:
        images: from anywhere. Those in memory stay there, whatever the limit.
        smaller_side: rescale them so first, where every use of them would.
        limit: in bytes of RGB pixels.
        advance: called with 1 after each image.

    Returns:
        The images, and those that could not be read. These keep their places, as on disk: reading one fails.

    """
    in_memory = images.source.in_memory
    if in_memory and smaller_side is None:
        return images, []
    if not in_memory and _estimated_bytes(images, smaller_side) > limit:
        return images, []

    def read(number: int) -> Pixels | Unreadable:
        name = images.names[number]
        try:
            image = images.source.read(number)
        except ImageError as error:
            return Unreadable(name, str(error))
        try:
            return np.asarray(image if smaller_side is None else rescale(image, smaller_side))
        except ImageError as error:
            return Unreadable(name, f"{name}: {error}")

    arrays: list[Pixels | Unreadable] = []
    lost: list[Unreadable] = []
    num_bytes = 0
    threads = num_threads()
    for result in prefetch(read, range(len(images)), ahead=2 * threads, threads=threads):
        advance(1)
        arrays.append(result)
        if isinstance(result, Unreadable):
            lost.append(result)
            continue
        num_bytes += result.nbytes
        if num_bytes > limit and not in_memory:
            return images, []
    return replace(images, source=Arrays(tuple(arrays))), lost


def _estimated_bytes(images: ImageSet, smaller_side: int | None) -> float:
    sizes = []
    for number in np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int):
        try:
            width, height = images.source.size(int(number))
        except ImageError:
            continue
        if smaller_side is not None:
            width, height = rescaled_size(width, height, smaller_side)
        sizes.append(3 * width * height)
    return len(images) * float(np.mean(sizes)) if sizes else 0.0
