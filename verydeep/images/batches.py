"""Images + view -> training batches. A batch is a pure function of the seed and the step.

Nothing but the step number decides what a batch holds, so that it does not matter which process makes it, when,
or whether the run was interrupted before.
"""

from __future__ import annotations

import itertools
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from verydeep.errors import DataError, ImageError, UsageError, VerydeepError
from verydeep.images.image_set import ImageSet, Unreadable
from verydeep.images.views import Pixels, TrainingView
from verydeep.interrupts import die_with_parent, held
from verydeep.prefetch import prefetch
from verydeep.processor import num_threads

PATIENCE = 60.0  # seconds after which a process that keeps the step waiting is named
# Ctrl-C reaches every process of a terminal, SIGTERM every one of a job: the loop decides when to end.
_NOT_FOR_READERS = (signal.SIGINT, signal.SIGTERM)
AHEAD = 4  # batches that a process makes before the first of them is wanted

_SHUFFLE, _VIEWS = 0, 1  # two streams of random numbers from one seed


@dataclass(frozen=True)
class Batch:
    """One step's images.

    Attributes:
        pixels: of shape (batch, window, window, 3): channels last, as they come from the decoder.
        labels: of shape (batch,).
        color_shifts: of shape (batch, 3), to be added to R, G and B of all of an image's pixels, in levels of 0
            to 255; None adds nothing. Not in `pixels`, which would cut it off at 0 and 255.
        unreadable: images that another one had to stand in for.

    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    color_shifts: NDArray[np.float32] | None = None
    unreadable: tuple[Unreadable, ...] = ()


class TrainingBatches:
    """The batches of a run, by step number from 0 on.

    Each epoch shuffles the images anew and cuts them into full batches; what is left at its end, less than a
    batch, is left out of that epoch.

    Args:
        images: the training set.
        view: what is shown of each image.
        batch_size: images in a batch; a smaller set gives batches of its own size.
        seed: decides the order and the views.
        share: of several processes this one's number and how many there are: each makes its part of each batch.

    Raises:
        DataError: there are no images.

    """

    def __init__(
        self, images: ImageSet, view: TrainingView, batch_size: int, seed: int, share: tuple[int, int] = (0, 1)
    ) -> None:
        if not len(images):
            raise DataError("there are no images to train on, as none could be read; replace them, or add images")
        self.images = images
        self.view = view
        self.batch_size = min(batch_size, len(images))
        self.seed = seed
        self.steps_per_epoch = len(images) // self.batch_size
        number, count = share
        check_share(batch_size, len(images), count)
        self.places = range(self.batch_size * number // count, self.batch_size * (number + 1) // count)

    def __getitem__(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        order = _order(len(self.images), self.seed, epoch)
        draws = self.view.draw(np.random.default_rng([self.seed, _VIEWS, step]), self.batch_size)
        pixels = np.empty((len(self.places), self.view.window, self.view.window, 3), np.uint8)
        labels = np.empty(len(self.places), np.int64)
        unreadable: list[Unreadable] = []
        for here, place in enumerate(self.places):
            # Where an image cannot be read, the next one of this epoch's order stands in.
            first = position * self.batch_size + place
            candidates = itertools.chain(order[first:], order[:first])
            number, image = self._first_readable(candidates, int(draws.scale[place]), unreadable)
            pixels[here] = self.view.make(image, draws, place)
            labels[here] = self.images.labels[number]
        shift = self.view.color_shift
        shifts = shift.shifts(draws.color[self.places.start : self.places.stop]) if shift else None
        return Batch(pixels, labels, shifts, tuple(unreadable))

    def _first_readable(
        self, numbers: Iterator[np.int64], scale: int, unreadable: list[Unreadable]
    ) -> tuple[int, Image.Image | Pixels]:
        for number in map(int, numbers):
            try:
                return number, self.images.source.read(number, smallest_side=scale)
            except ImageError as error:
                unreadable.append(Unreadable(self.images.names[number], str(error)))
        raise DataError("none of the training images can be read; replace them, or add images")


def check_share(batch_size: int, num_images: int, count: int) -> None:
    """Make sure that each of `count` processes has images in every batch.

    Raises:
        UsageError: there are too many processes.

    """
    if (size := min(batch_size, num_images)) < count:
        raise UsageError(f"a batch of {size} images cannot be shared by {count} processes; use fewer")


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
            the images are in memory for none, and a thread makes them: there is little to do.
        tell: is called with a sentence when a process has been waited for for a minute.

    Raises:
        DataError: a process that makes batches has been lost.

    """
    if num_workers is None:
        num_workers = 0 if batches.images.source.in_memory else min(8, num_threads())
    if num_workers == 0:
        return prefetch(batches.__getitem__, range(first, last), ahead=2, threads=1)
    return _from_processes(batches, first, last, num_workers, tell)


def _from_processes(
    batches: TrainingBatches, first: int, last: int, num_workers: int, tell: Callable[[str], None]
) -> Iterator[Batch]:
    count = min(num_workers, last - first)
    readers = [_Reader(batches, range(first + number, last, count)) for number in range(count)]
    try:
        for step in range(first, last):
            yield readers[(step - first) % count].batch(step, tell)
    finally:
        for reader in readers:
            reader.end()


class _Reader:
    """A process that makes the batches of some steps, one after the other.

    Not torch's DataLoader: where a process of its dies, it raises at whatever line the training has come to.
    """

    def __init__(self, batches: TrainingBatches, steps: range) -> None:
        self._connection, theirs = multiprocessing.Pipe(duplex=False)
        ends = self._connection, theirs
        self._process = multiprocessing.Process(target=_make, args=(batches, steps, *ends), daemon=True)
        with held(*_NOT_FOR_READERS):  # until it sets them aside
            self._process.start()
        theirs.close()  # so that the end of the process is the end of what it sends

    def batch(self, step: int, tell: Callable[[str], None]) -> Batch:
        """Take the next batch, which is of this step; whatever went wrong in making it is raised here."""
        try:
            if not self._connection.poll(PATIENCE):
                tell(
                    f"waiting for the images of step {step}: process {self._process.pid}, which reads them, has "
                    f"taken {PATIENCE:g} s and more; is the disk slow, or an image very large?"
                )
            outcome: Batch | Exception = self._connection.recv()
        except (EOFError, OSError):  # between two batches, within one
            raise DataError(self._how_it_ended(step)) from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _how_it_ended(self, step: int) -> str:
        self._process.join()
        code = self._process.exitcode or 0
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
        why = ", most often because memory ran out: use fewer `workers`, and" if code == -signal.SIGKILL else ":"
        return (
            f"process {self._process.pid}, which reads the images of step {step}, has ended with {how}{why} "
            "resume with `resume=True`"
        )

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._connection.close()


def _make(batches: TrainingBatches, steps: range, theirs: Connection, connection: Connection) -> None:
    """Make batches, and send them as they are wanted; an error is sent in place of a batch, and is the last."""
    die_with_parent()
    theirs.close()  # so that nobody is there to send to when whoever trains is gone
    for number in _NOT_FOR_READERS:  # not every way of starting a process keeps them held
        signal.signal(number, signal.SIG_IGN)
    try:
        for batch in prefetch(batches.__getitem__, steps, ahead=AHEAD, threads=1):
            connection.send(batch)
    except ConnectionError:  # whoever trains is gone
        pass
    except VerydeepError as error:
        connection.send(error)
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))  # the lines that it comes from do not cross
        connection.send(error)
