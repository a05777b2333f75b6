"""Mean RGB and principal colors of a training set: measured in one pass, and remembered for the next run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ImageError
from verydeep.files import read_json, write_json
from verydeep.images.color import Statistics, measure
from verydeep.images.image_set import ImageSet
from verydeep.images.storage import cache_folder
from verydeep.typed import as_type

Triple = tuple[float, float, float]

MEASURED_SIDE = 256  # JPEGs are decoded no larger than that
MOST_IMAGES = 20_000  # beyond as many the mean no longer moves


def measure_images(
    images: ImageSet, most: int = MOST_IMAGES, advance: Callable[[int], None] = lambda count: None
) -> Statistics:
    """Measure the pixels of a training set; of more than `most` images as many, evenly spaced.

    What was measured is kept in the user's cache folder, under a digest of the images' names, labels and stamps
    (of files, sizes and times), so that a second run on the same images need not read them first.

    Args:
        images: the training set. Those that cannot be read are passed by: training names them in their turn.
        most: images to measure.
        advance: called with 1 after each image.

    Raises:
        DataError: not one image can be read.

    """
    numbers = range(0, len(images), max(1, -(-len(images) // most)))
    kept = _cache_file(images, numbers)
    known = _read(kept) if kept else None
    if known is not None:
        return known
    statistics = measure(_readable(images, numbers, advance))
    if kept:
        with suppress(OSError):  # a run does not fail for want of a cache
            write_json(kept, {"mean": statistics.mean.tolist(), "covariance": statistics.covariance.tolist()})
    return statistics


def _readable(images: ImageSet, numbers: range, advance: Callable[[int], None]) -> Iterator[NDArray[np.uint8]]:
    for number in numbers:
        try:
            yield np.asarray(images.source.read(number, MEASURED_SIDE))
        except ImageError:
            continue
        finally:
            advance(1)


def _cache_file(images: ImageSet, numbers: range) -> Path | None:
    """Where the statistics of these images are kept; None where it cannot be told whether one is changed."""
    digest = hashlib.sha256(f"1 {images.fingerprint}".encode())
    for number in numbers:
        stamp = images.source.stamp(number)
        if not stamp:
            return None
        digest.update(f"{stamp}\n".encode())
    return cache_folder() / "colors" / f"{digest.hexdigest()[:32]}.json"


def _read(kept: Path) -> Statistics | None:
    try:
        fields = as_type(dict[str, tuple[Any, ...]], read_json(kept))
        mean = np.array(as_type(Triple, fields.get("mean")))
        covariance = np.array(as_type(tuple[Triple, Triple, Triple], fields.get("covariance")))
    except (OSError, ValueError):
        return None
    return Statistics(mean, covariance) if covariance.diagonal().min() >= 0 else None
