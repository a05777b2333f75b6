"""Pictures + view -> training batches. A batch is a pure function of the seed and the step.

Nothing but the step number decides what a batch holds, so that it does not matter which process makes it, when,
or whether the run was interrupted before.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError, VerydeepError
from verydeep.images.pictures import Arrays, Pictures, Unreadable
from verydeep.images.views import Pixels, TrainingView

_SHUFFLE, _VIEWS = 0, 1  # two streams of random numbers from one seed


@dataclass(frozen=True)
class Batch:
    """One step's pictures.

    Attributes:
        pixels: of shape (batch, window, window, 3): channels last, as they come from the decoder.
        labels: of shape (batch,).
        unreadable: pictures that another one had to stand in for.

    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    unreadable: tuple[Unreadable, ...] = ()


class TrainingBatches:
    """The batches of a run, by step number from 0 on.

    Each epoch shuffles the pictures anew and cuts them into full batches; what is left at its end, less than a
    batch, is left out of that epoch.

    Args:
        pictures: the training set.
        view: what is shown of each picture.
        batch_size: pictures in a batch; a smaller set gives batches of its own size.
        seed: decides the order and the views.

    Raises:
        DataError: there are no pictures.

    """

    def __init__(self, pictures: Pictures, view: TrainingView, batch_size: int, seed: int) -> None:
        if not len(pictures):
            raise DataError("there are no pictures to train on; not one could be read")
        self.pictures = pictures
        self.view = view
        self.batch_size = min(batch_size, len(pictures))
        self.seed = seed
        self.steps_per_epoch = len(pictures) // self.batch_size

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(len(self.pictures), self.seed, epoch)
        draws = self.view.draw(np.random.default_rng([self.seed, _VIEWS, step]), self.batch_size)
        pixels = np.empty((self.batch_size, self.view.window, self.view.window, 3), np.uint8)
        labels = np.empty(self.batch_size, np.int64)
        unreadable: list[Unreadable] = []
        for place in range(self.batch_size):
            # Where a picture cannot be read, the next one of this epoch's order stands in.
            first = position * self.batch_size + place
            candidates = itertools.chain(order[first:], order[:first])
            number, picture = self._first_readable(candidates, int(draws.scale[place]), unreadable)
            pixels[place] = self.view.make(picture, draws, place)
            labels[place] = self.pictures.labels[number]
        return Batch(pixels, labels, tuple(unreadable))

    def _first_readable(
        self, numbers: Iterator[np.int64], scale: int, unreadable: list[Unreadable]
    ) -> tuple[int, Image.Image | Pixels]:
        for number in map(int, numbers):
            try:
                return number, self.pictures.source.read(number, smallest_side=scale)
            except PictureError as error:
                unreadable.append(Unreadable(self.pictures.names[number], str(error)))
        raise DataError("not one of the training pictures can be read")


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, _SHUFFLE, epoch]).permutation(count)


def feed(batches: TrainingBatches, first: int, last: int, num_workers: int | None = None) -> Iterable[Batch]:
    """Feed the batches of steps `first` to `last - 1`, made ahead of their use.

    Args:
        batches: of the run.
        first: the first step.
        last: the step after the last.
        num_workers: processes that make batches. None for as many as there are processors, at most 8; but where
            the pictures are in memory for none, and a thread makes them: there is little to do.

    """
    if num_workers is None:
        num_workers = 0 if isinstance(batches.pictures.source, Arrays) else min(8, os.cpu_count() or 1)
    if num_workers == 0:
        return _from_thread(batches, first, last)
    return _from_processes(batches, first, last, num_workers)


def _from_processes(batches: TrainingBatches, first: int, last: int, num_workers: int) -> Iterator[Batch]:
    from torch import Generator
    from torch.utils.data import DataLoader

    loader: DataLoader[Batch | VerydeepError] = DataLoader(
        _Outcomes(batches),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(first, last),
        num_workers=num_workers,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        prefetch_factor=4,
        worker_init_fn=_leave_signals_to_the_loop,
        # Its own: it draws a number from it, and dropout must not depend on how often a loader was made.
        generator=Generator(),
    )
    for outcome in loader:
        if isinstance(outcome, VerydeepError):
            raise outcome
        yield outcome


@dataclass(frozen=True)
class _Outcomes:
    """Batches by step, and errors as values: DataLoader would put a worker's traceback into their sentence."""

    batches: TrainingBatches

    def __getitem__(self, step: int) -> Batch | VerydeepError:
        try:
            return self.batches[step]
        except VerydeepError as error:
            return error


def _from_thread(batches: TrainingBatches, first: int, last: int, ahead: int = 2) -> Iterator[Batch]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        queue = deque(pool.submit(batches.__getitem__, step) for step in range(first, min(first + ahead, last)))
        for step in range(first, last):
            batch = queue.popleft()
            if step + ahead < last:
                queue.append(pool.submit(batches.__getitem__, step + ahead))
            yield batch.result()


def _as_it_is(outcome: Batch | VerydeepError) -> Batch | VerydeepError:
    return outcome


def _leave_signals_to_the_loop(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the loop decides when to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
