"""Pictures + view -> training batches. A batch is a pure function of the seed and the step.

Nothing but the step number decides what a batch holds, so that it does not matter which process makes it, when,
or whether the run was interrupted before.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from threading import Timer
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, PictureError, UsageError, VerydeepError
from verydeep.images.pictures import Arrays, Pictures, Unreadable
from verydeep.images.views import Pixels, TrainingView

_SHUFFLE, _VIEWS = 0, 1  # two streams of random numbers from one seed


@dataclass(frozen=True)
class Batch:
    """One step's pictures.

    Attributes:
        pixels: of shape (batch, window, window, 3): channels last, as they come from the decoder.
        labels: of shape (batch,).
        color_shifts: of shape (batch, 3), to be added to R, G and B of all of a picture's pixels, in levels of 0
            to 255; None adds nothing. Not in `pixels`, which would cut it off at 0 and 255.
        unreadable: pictures that another one had to stand in for.

    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    color_shifts: NDArray[np.float32] | None = None
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
        share: of several processes this one's number and how many there are: each makes its part of each batch.

    Raises:
        DataError: there are no pictures.

    """

    def __init__(
        self, pictures: Pictures, view: TrainingView, batch_size: int, seed: int, share: tuple[int, int] = (0, 1)
    ) -> None:
        if not len(pictures):
            raise DataError("there are no pictures to train on; not one could be read")
        self.pictures = pictures
        self.view = view
        self.batch_size = min(batch_size, len(pictures))
        self.seed = seed
        self.steps_per_epoch = len(pictures) // self.batch_size
        number, count = share
        if self.batch_size < count:
            raise UsageError(
                f"a batch of {self.batch_size} pictures cannot be shared by {count} processes; use fewer of them"
            )
        self.places = range(self.batch_size * number // count, self.batch_size * (number + 1) // count)

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(len(self.pictures), self.seed, epoch)
        draws = self.view.draw(np.random.default_rng([self.seed, _VIEWS, step]), self.batch_size)
        pixels = np.empty((len(self.places), self.view.window, self.view.window, 3), np.uint8)
        labels = np.empty(len(self.places), np.int64)
        unreadable: list[Unreadable] = []
        for here, place in enumerate(self.places):
            # Where a picture cannot be read, the next one of this epoch's order stands in.
            first = position * self.batch_size + place
            candidates = itertools.chain(order[first:], order[:first])
            number, picture = self._first_readable(candidates, int(draws.scale[place]), unreadable)
            pixels[here] = self.view.make(picture, draws, place)
            labels[here] = self.pictures.labels[number]
        shift = self.view.color_shift
        shifts = shift.shifts(draws.color[self.places.start : self.places.stop]) if shift else None
        return Batch(pixels, labels, shifts, tuple(unreadable))

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


def feed(
    batches: TrainingBatches,
    first: int,
    last: int,
    num_workers: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterable[Batch]:
    """Feed the batches of steps `first` to `last - 1`, made ahead of their use.

    Args:
        batches: of the run.
        first: the first step.
        last: the step after the last.
        num_workers: processes that make batches. None for as many as there are processors, at most 8; but where
            the pictures are in memory for none, and a thread makes them: there is little to do.
        tell: is called with a sentence when a process has been waited for for a minute.

    Raises:
        DataError: a process that makes batches has ended.

    """
    if num_workers is None:
        num_workers = 0 if isinstance(batches.pictures.source, Arrays) else min(8, os.cpu_count() or 1)
    if num_workers == 0:
        return _from_thread(batches, first, last)
    return _from_processes(batches, first, last, num_workers, tell)


PATIENCE = 60.0  # seconds after which a worker that keeps the step waiting is named


def _from_processes(
    batches: TrainingBatches, first: int, last: int, num_workers: int, tell: Callable[[str], None]
) -> Iterator[Batch]:
    from torch import Generator, multiprocessing
    from torch.utils.data import DataLoader

    processes = multiprocessing.Array("i", num_workers)
    loader: DataLoader[Batch | VerydeepError] = DataLoader(
        _Outcomes(batches),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(first, last),
        num_workers=num_workers,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        prefetch_factor=4,
        worker_init_fn=_Worker(processes),
        # Its own: it draws a number from it, and dropout must not depend on how often a loader was made.
        generator=Generator(),
    )
    outcomes = iter(loader)
    for step in range(first, last):
        worker = (step - first) % num_workers  # DataLoader hands steps out in turns

        def name_it(worker: int = worker, step: int = step) -> None:
            tell(
                f"waiting for the pictures of step {step}: process {processes[worker]}, which reads them, has "
                f"taken {PATIENCE:g} s and more; is the disk slow, or a picture huge?"
            )

        impatience = Timer(PATIENCE, name_it)
        impatience.daemon = True
        impatience.start()
        try:
            outcome = next(outcomes)
        except RuntimeError as error:
            if "exited unexpectedly" not in str(error):
                raise
            raise DataError(
                f"a process that reads pictures has been ended ({str(error).partition(' exited')[0]}), most often "
                "for want of memory: use fewer --workers, and go on with --resume"
            ) from None
        finally:
            impatience.cancel()
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


@dataclass(frozen=True)
class _Worker:
    """What a process that makes batches does first."""

    processes: Any  # the number of each worker's process

    def __call__(self, worker: int) -> None:
        self.processes[worker] = os.getpid()
        # Ctrl-C reaches every process of a terminal; the loop decides when to end.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
