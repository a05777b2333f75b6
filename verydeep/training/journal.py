"""What a run tells while it runs: a line a step for programs, a progress bar for people, TensorBoard's curves."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from verydeep.files import Lines, write_whole
from verydeep.run_folder import TENSORBOARD
from verydeep.training.tensorboard import Scalars


@dataclass(frozen=True)
class StepRecord:
    """One step.

    Attributes:
        step: counted from 0 over the whole run.
        epoch: counted from 0.
        loss: mean cross-entropy of the batch.
        error: top-1 error of the batch, in %.
        rate: learning rate.
        seconds: of the whole step.
        wait: of these, the seconds spent waiting for pictures.

    """

    step: int
    epoch: int
    loss: float
    error: float
    rate: float
    seconds: float
    wait: float


@dataclass(frozen=True)
class EpochRecord:
    """One epoch's end.

    Attributes:
        step: the next step.
        epoch: the one that ended.
        train_loss: mean over the epoch's steps.
        train_error: likewise, in %.
        validation_error: top-1, in %.
        best: whether this is the least so far.
        pictures_per_second: of training alone.

    """

    step: int
    epoch: int
    train_loss: float
    train_error: float
    validation_error: float
    best: bool
    pictures_per_second: float


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal's lines; a last line that was cut short is left out."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


class Journal:
    """Writes a run's journal and shows its progress, as a context manager.

    Args:
        path: of the journal; lines from step `first` on, which a resumed run will write again, are removed.
        first: the next step.
        epochs: of the whole run.
        steps_per_epoch: for the bar's length.
        batch_size: for the pictures a second.

    """

    def __init__(self, path: Path, first: int, epochs: int, steps_per_epoch: int, batch_size: int) -> None:
        kept = [record for record in read_journal(path) if _is_before(record, first)]
        text = "".join(json.dumps(record) + "\n" for record in kept)
        write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))
        self._lines = Lines(path)
        self._batch_size = batch_size
        self._total = epochs * steps_per_epoch
        self._epochs = epochs
        self._terminal = sys.stderr.isatty()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            disable=not self._terminal,
            speed_estimate_period=120,
        )
        self._task: TaskID = self._progress.add_task("training", total=self._total, completed=first, facts="")
        self._loss = float("nan")
        self._error = float("nan")
        self._speed = float("nan")
        self._scalars = Scalars(path.parent / TENSORBOARD, first, self.say)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scalars.close()
        self._progress.stop()
        self._lines.close()

    def step(self, record: StepRecord) -> None:
        """Note a step."""
        self._write(asdict(record))
        self._scalars.step(record)
        self._loss = _smooth(self._loss, record.loss)
        self._error = _smooth(self._error, record.error)
        self._speed = _smooth(self._speed, self._batch_size / record.seconds)
        facts = f"loss {self._loss:.3f}  error {self._error:.1f} %  rate {record.rate:.2g}  {self._speed:.0f}/s"
        self._progress.update(
            self._task,
            description=f"epoch {record.epoch + 1}/{self._epochs}",
            completed=record.step + 1,
            facts=facts,
        )

    def epoch(self, record: EpochRecord) -> None:
        """Note an epoch's end, and tell it in a line."""
        self._write(asdict(record))
        self._scalars.epoch(record)
        self.say(
            f"epoch {record.epoch + 1:3d}/{self._epochs}  loss {record.train_loss:.3f}  "
            f"training error {record.train_error:5.2f} %  validation error {record.validation_error:5.2f} %"
            f"{' *' if record.best else '  '} {record.pictures_per_second:.0f} pictures/s"
        )

    def note(self, **facts: Any) -> None:
        """Note anything else, such as a picture that was left out."""
        self._write(facts)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _write(self, record: dict[str, Any]) -> None:
        self._lines.add(json.dumps(record))


def _is_before(record: dict[str, Any], first: int) -> bool:
    step = int(record.get("step", 0))
    return step < first or (step == first and "validation_error" in record)


def _smooth(old: float, new: float) -> float:
    return new if old != old else 0.95 * old + 0.05 * new
