"""The journal's numbers as TensorBoard's curves, where the `tensorboard` package is installed.

A point stands for about a second of training and is the mean of its steps, so that short steps are not slowed.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.training.journal import EpochRecord, StepRecord

SECONDS_PER_POINT = 1.0
SECONDS_PER_FLUSH = 10
QUEUE = 1000  # points that may wait for the disk before a step does


class Scalars:
    """Writes curves; whatever goes wrong is told in one line, and the training goes on without.

    Args:
        folder: for TensorBoard's files.
        first: the next step; points from there on, of a run that was interrupted, are taken back.
        say: prints a line.

    """

    def __init__(self, folder: Path, first: int, say: Callable[[str], None]) -> None:
        self._say = say
        self._writer: Any = None
        self._steps: list[StepRecord] = []
        self._seconds = 0.0
        self._failed = False
        self._hook = threading.excepthook
        if find_spec("tensorboard") is not None:
            threading.excepthook = self._quietly
            self._try(lambda: self._open(folder, first))

    def step(self, record: StepRecord) -> None:
        """Note a step; write a point now and then."""
        if self._writer is None:
            return
        self._steps.append(record)
        self._seconds += record.seconds
        if self._seconds >= SECONDS_PER_POINT:
            self._try(self._write_steps)

    def epoch(self, record: EpochRecord) -> None:
        """Write an epoch's end, at its last step."""
        if self._writer is None:
            return
        # Not at the next step, which a resumed run takes back with all that follows.
        self._try(lambda: self._write_epoch(record, record.step - 1))

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._try(self._write_steps)
        if self._writer is not None:
            self._try(self._writer.close)
        self._writer = None
        if self._failed:  # what failed has come back here perhaps before its thread has ended
            for thread in filter(_is_tensorboards, threading.enumerate()):
                thread.join(timeout=1)
        threading.excepthook = self._hook

    def _open(self, folder: Path, first: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own parts' future
            from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first, max_queue=QUEUE, flush_secs=SECONDS_PER_FLUSH)

    def _write_steps(self) -> None:
        steps, self._steps = self._steps, []
        seconds, self._seconds = self._seconds, 0.0
        if not steps:
            return
        last = steps[-1]
        points = {
            "step/loss": sum(record.loss for record in steps) / len(steps),
            "step/error": sum(record.error for record in steps) / len(steps),
            "step/rate": last.rate,
            "step/waiting": sum(record.wait for record in steps) / max(seconds, 1e-9),
        }
        self._write(points, last.step)

    def _write_epoch(self, record: EpochRecord, step: int) -> None:
        self._write_steps()
        points = {
            "epoch/training_loss": record.train_loss,
            "epoch/training_error": record.train_error,
            "epoch/validation_error": record.validation_error,
            "epoch/pictures_per_second": record.pictures_per_second,
        }
        self._write(points, step)

    def _write(self, points: dict[str, float], step: int) -> None:
        for name, value in points.items():
            self._writer.add_scalar(name, value, step)

    def _quietly(self, failed: threading.ExceptHookArgs) -> None:
        """Print no traceback of TensorBoard's own thread: what ended it comes back with the next point."""
        if not _is_tensorboards(failed.thread):
            self._hook(failed)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:  # of any kind: other people's package, and a full disk
            self._writer, self._failed = None, True
            reason = " ".join(str(error).split()) or type(error).__name__
            self._say(f"no curves for TensorBoard: {reason}")


def _is_tensorboards(thread: threading.Thread | None) -> bool:
    return type(thread).__module__.startswith("tensorboard.")
