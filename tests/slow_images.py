"""A source of images that is slow, stuck or broken; apart, so that a process that is spawned imports no torch."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event

import numpy as np

from verydeep.images.batches import TrainingBatches
from verydeep.images.image_set import Arrays, ImageSet
from verydeep.images.views import TrainingView

STUCK = 20.0  # seconds: longer than a test takes


@dataclass(frozen=True)
class Slow(Arrays):
    """A source on a disk that takes its time for some images; below 0 seconds, it fails.

    `woke` is set where a process was left alone until it had read such an image.
    """

    slow: frozenset[int] = frozenset()
    seconds: float = 0.0
    woke: Event | None = None

    def read(self, number: int, smallest_side: int | None = None) -> np.ndarray:
        if number in self.slow:
            if self.seconds < 0:
                raise ZeroDivisionError("a fault of the program's own")
            time.sleep(self.seconds)
            if self.woke:
                self.woke.set()
                raise TimeoutError("left alone")
        return self.arrays[number]


def slow_batches(slow: tuple[int, ...] = (), seconds: float = 0.0, woke: Event | None = None) -> TrainingBatches:
    """Batches of two of sixteen images whose labels are their numbers."""
    arrays = tuple(np.full((36, 36, 3), number, np.uint8) for number in range(16))
    names = tuple(str(number) for number in range(16))
    images = ImageSet(names, np.arange(16), names, Slow(arrays, frozenset(slow), seconds, woke))
    return TrainingBatches(images, TrainingView((36, 36), 32), 2, seed=0)
