"""The journal's numbers as TensorBoard's curves, where the `tensorboard` package is installed.

A point stands for about a second of training and is the mean of its steps, so that short steps are not slowed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from verydeep.errors import in_words
from verydeep.notes import say
from verydeep.training.journal import EpochRecord, Listener, Record, StepRecord

SECONDS_PER_POINT = 1.0
SECONDS_PER_FLUSH = 10
QUEUE = 1000  # points that may wait for the disk before a step does


@contextmanager
def curves(folder: Path, first: int) -> Iterator[Listener]:
    """Write curves; whatever goes wrong is told in one line, and the training goes on without.

    Args:
        folder: for TensorBoard's files.
        first: the next step; points from there on, of a run that was interrupted, are taken back.

    """
    if find_spec("tensorboard") is None:
        yield lambda record: None
        return
    hook = threading.excepthook

    def quietly(failed: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's own thread: what ended it comes back with the next point."""
        if not _is_tensorboards(failed.thread):
            hook(failed)

    threading.excepthook = quietly
    scalars = Scalars(lambda: _open(folder, first))
    try:
        yield scalars.add
    finally:
        scalars.close()
        threading.excepthook = hook


def _open(folder: Path, first: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own parts' future
        from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first, max_queue=QUEUE, flush_secs=SECONDS_PER_FLUSH)


class Scalars:
    """The points of the curves.

    Args:
        open_writer: gives TensorBoard's writer.

    Attributes:
        writer: None once something has gone wrong.

    """

    def __init__(self, open_writer: Callable[[], Any]) -> None:
        self._steps: list[StepRecord] = []
        self._failed = False
        self.writer = self._try(open_writer)

    def add(self, record: Record) -> None:
        """Note a step, of which a point is written now and then; write an epoch's end."""
        if self.writer is None:
            return
        if isinstance(record, EpochRecord):
            self._try(lambda: self._write_epoch(record))
            return
        self._steps.append(record)
        if _seconds(self._steps) >= SECONDS_PER_POINT:
            self._try(self._write_steps)

    def close(self) -> None:
        """Write what is left."""
        for work in (self._write_steps, lambda: self.writer.close()):
            if self.writer is not None:
                self._try(work)
        if self._failed:  # what failed has come back here perhaps before its thread has ended
            for thread in filter(_is_tensorboards, threading.enumerate()):
                thread.join(timeout=1)

    def _write_steps(self) -> None:
        steps, self._steps = self._steps, []
        if not steps:
            return
        points = {
            "step/loss": sum(record.loss for record in steps) / len(steps),
            "step/error": sum(record.error for record in steps) / len(steps),
            "step/rate": steps[-1].rate,
            "step/waiting": sum(record.wait for record in steps) / max(_seconds(steps), 1e-9),
        }
        for name, value in points.items():
            self.writer.add_scalar(name, value, steps[-1].step)

    def _write_epoch(self, record: EpochRecord) -> None:
        self._write_steps()
        points = {
            "epoch/training_loss": record.train_loss,
            "epoch/training_error": record.train_error,
            "epoch/validation_error": record.validation_error,
            "epoch/images_per_second": record.images_per_second,
        }
        for name, value in points.items():
            # At its last step, not at the next, which a resumed run takes back with all that follows.
            self.writer.add_scalar(name, value, record.step - 1)

    def _try(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Exception as error:  # of any kind: other people's package, and a full disk
            self.writer, self._failed = None, True
            say(f"no curves for TensorBoard: {in_words(error)}")
            return None


def _is_tensorboards(thread: threading.Thread | None) -> bool:
    return type(thread).__module__.startswith("tensorboard.")


def _seconds(steps: list[StepRecord]) -> float:
    return sum(record.seconds for record in steps)
