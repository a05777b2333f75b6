"""A run's journal, read on while it grows -> its numbers, and how the run is getting on."""

from __future__ import annotations

import json
import math
import os
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, VerydeepError
from verydeep.reports.runs import run_folder
from verydeep.run_folder import JOURNAL, read_config
from verydeep.training.optimizer import Schedule
from verydeep.training.recipe import Recipe

State = Literal["running", "validating", "stalled", "finished"]

STEP_FIELDS = ("step", "loss", "error", "rate", "seconds", "wait")
EPOCH_FIELDS = ("epoch", "step", "validation_error", "pictures_per_second")
MOST_BYTES = 30_000_000  # of step lines that are parsed, some 200,000; of a longer journal, evenly spaced ones
WHOLE_TAIL = 500_000  # bytes at the journal's end of which every line is parsed
RECENT_STEPS = 1000  # the most steps that tell the speed
MOST = 1e30  # a greater number is as good as infinite
PATIENCE = 60.0  # seconds without a line that are nothing unusual, at any speed
PATIENCE_STEPS = 20  # likewise, as a number of steps


class JournalNumbers:
    """The numbers of a journal, one column a field; `read` goes on where it stopped.

    A number that is missing, not finite or no number at all is NaN; lines that are not JSON are passed over.

    Args:
        path: of the journal.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.changed = 0.0
        self._inode = -1
        self._start(0)

    def _start(self, size: int) -> None:
        self.steps = {name: array("d") for name in STEP_FIELDS}
        self.epochs = {name: array("d") for name in EPOCH_FIELDS}
        self._place = 0
        self._lines = 0
        self._stride = max(1, math.ceil(size / MOST_BYTES))

    def read(self) -> None:
        """Read what has been added; everything anew where a resumed run has written the journal anew.

        Raises:
            OSError: it is gone.

        """
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._place:
                self._start(status.st_size)
            self._inode, self.changed = status.st_ino, status.st_mtime
            file.seek(self._place)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._place += len(line)
                self._lines += 1
                near_end = self._place > status.st_size - WHOLE_TAIL
                if near_end or self._lines % self._stride == 0 or b'"validation_error"' in line:
                    self._note(line)

    def _note(self, line: bytes) -> None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not isinstance(record, dict) or not 0 <= _number(record.get("step")) < 1e12:
            return
        if "validation_error" in record:
            for name, column in self.epochs.items():
                column.append(_number(record.get(name)))
        elif "loss" in record:
            for name, column in self.steps.items():
                column.append(_number(record.get(name)))


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < MOST else math.nan


@dataclass(frozen=True)
class Headline:
    """How a run is getting on. What is not known is None.

    Attributes:
        run: its folder, as it was given.
        state: running; validating, at an epoch's end; stalled, with no line for longer than usual; finished.
        quiet: seconds since the journal's last line.
        configuration: column of Table 1.
        recipe: name of the recipe.
        epoch: the one that is going on, from 1; at the end the last; 0 before the first step.
        epochs: the most there will be.
        step: steps done.
        steps: the most there will be.
        loss: mean over the last epoch's worth of steps.
        training_error: likewise, in %.
        validation_error: the last, in %.
        best_error: the least, in %.
        best_epoch: the one that reached it, from 1.
        pictures_per_second: of the last steps.
        waiting: share of their time spent waiting for pictures, from 0 to 1.
        seconds_left: of training steps, if all epochs are run; validation comes on top.

    """

    run: str
    state: State
    quiet: float
    configuration: str | None
    recipe: str | None
    epoch: int
    epochs: int | None
    step: int
    steps: int | None
    loss: float | None
    training_error: float | None
    validation_error: float | None
    best_error: float | None
    best_epoch: int | None
    pictures_per_second: float | None
    waiting: float | None
    seconds_left: float | None

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data."""
        return asdict(self)


@dataclass
class WatchedRun:
    """A run that is looked at while it goes on.

    Attributes:
        run: its folder.
        numbers: what its journal has said so far.
        configuration: column of Table 1, if known.
        recipe_name: likewise.
        recipe: likewise.
        num_images: training pictures, likewise.

    """

    run: str
    numbers: JournalNumbers
    configuration: str | None = None
    recipe_name: str | None = None
    recipe: Recipe | None = None
    num_images: int | None = None

    @property
    def batch_size(self) -> int | None:
        """Pictures in a step: a training set that is smaller than a batch is one."""
        if self.recipe is None:
            return None
        return min(self.recipe.batch_size, self.num_images or self.recipe.batch_size)

    @property
    def steps_per_epoch(self) -> int | None:
        """As the first epoch took; before its end, as the pictures and the batch give."""
        epoch, step = self.column("epoch"), self.column("step", of_epochs=True)
        whole = np.flatnonzero((epoch >= 0) & (step > epoch))
        if len(whole):
            return round(float(step[whole[0]] / (epoch[whole[0]] + 1)))
        if self.num_images and self.batch_size:
            return self.num_images // self.batch_size
        return None

    def column(self, name: str, *, of_epochs: bool = False) -> NDArray[np.float64]:
        """A field of the steps, or of the epochs."""
        epochs = self.numbers.epochs
        column = epochs[name] if of_epochs or name not in self.numbers.steps else self.numbers.steps[name]
        return np.array(column, np.float64)

    def headline(self) -> Headline:
        """Say how it is getting on, by what has been read."""
        step, validation = self.column("step"), self.column("validation_error")
        done = int(max([-1, *step[-1:]])) + 1
        done = int(max([done, *self.column("step", of_epochs=True)[-1:]]))
        per_epoch = self.steps_per_epoch
        recent = slice(-min(RECENT_STEPS, per_epoch or RECENT_STEPS), None)
        seconds, wait = self.column("seconds")[recent], self.column("wait")[recent]
        second = _mean(seconds)
        state = self._state(done, second or 0.0)
        finished = state == "finished"
        epochs = self.recipe.epochs if self.recipe else None
        steps = epochs * per_epoch if epochs and per_epoch else None
        best = int(np.nanargmin(validation)) if np.isfinite(validation).any() else None
        return Headline(
            run=self.run,
            state=state,
            quiet=self._quiet(),
            configuration=self.configuration,
            recipe=self.recipe_name,
            epoch=self._epoch(done, finished),
            epochs=epochs,
            step=done,
            steps=steps,
            loss=_mean(self.column("loss")[recent]),
            training_error=_mean(self.column("error")[recent]),
            validation_error=_known(validation[-1]) if len(validation) else None,
            best_error=None if best is None else float(validation[best]),
            best_epoch=None if best is None else self._number_of(best),
            pictures_per_second=self._speed(second),
            waiting=_share(wait, seconds),
            seconds_left=None if finished or not steps or not second else max(0, steps - done) * second,
        )

    def _quiet(self) -> float:
        return max(0.0, time.time() - self.numbers.changed)

    def _number_of(self, place: int) -> int:
        epoch = self.column("epoch")[place]
        return int(epoch) + 1 if 0 <= epoch < 1e12 else place + 1

    def _epoch(self, done: int, finished: bool) -> int:
        ended = len(self.numbers.epochs["epoch"])
        last = self._number_of(ended - 1) if ended else 0
        if finished or not done:
            return last
        per_epoch = self.steps_per_epoch
        return max(last, (done - 1) // per_epoch + 1) if per_epoch else last + 1

    def _speed(self, second: float | None) -> float | None:
        """Pictures a second, by the last steps, or as the last epoch's record says."""
        if second and second > 0 and self.batch_size:
            return _known(self.batch_size / second)
        said = self.column("pictures_per_second")
        return _known(said[-1]) if len(said) else None

    def _state(self, done: int, second: float) -> State:
        if self._finished():
            return "finished"
        quiet, patience = self._quiet(), PATIENCE + PATIENCE_STEPS * second
        per_epoch = self.steps_per_epoch
        ended = max([0.0, *self.column("step", of_epochs=True)[-1:]])
        if per_epoch and done - ended >= per_epoch:
            # Nothing is written during validation. It shows each picture once, forward only: were they as many as
            # are trained on, it would still take less than an epoch.
            return "validating" if quiet < patience + per_epoch * second else "stalled"
        return "running" if quiet < patience else "stalled"

    def _finished(self) -> bool:
        """Whether all epochs are done, or the last plateau has been reached."""
        if self.recipe is None or not self.numbers.epochs["epoch"]:
            return False
        schedule = Schedule(self.recipe, self.steps_per_epoch or 1)
        for error in self.numbers.epochs["validation_error"]:
            schedule.after_epoch(error)
        return schedule.finished or self._number_of(-1) >= self.recipe.epochs


def watch(run: Path) -> WatchedRun:
    """Find a run, and read its journal for the first time.

    Raises:
        ModelError: there is no such folder, or it has no journal.

    """
    folder = run_folder(str(run))
    if not folder.is_dir():
        raise ModelError(f"{run} does not exist; give a run folder, as `verydeep train` makes")
    numbers = JournalNumbers(folder / JOURNAL)
    try:
        numbers.read()
    except FileNotFoundError:
        raise ModelError(
            f"{run} has no {JOURNAL}: it was not made by `verydeep train`, or has not begun its first step"
        ) from None
    return WatchedRun(str(run), numbers, **_particulars(folder))


def _particulars(folder: Path) -> dict[str, Any]:
    """What config.json says of the run; curves can be drawn without."""
    try:
        config = read_config(folder)
    except (VerydeepError, OSError):
        return {}
    facts = config.provenance
    data = facts.get("data")
    num_images = data.get("num_images") if isinstance(data, dict) else None
    return {
        "configuration": config.architecture.configuration,
        "recipe_name": str(facts["recipe_name"]) if facts.get("recipe_name") else None,
        "recipe": _recipe(facts.get("recipe")),
        "num_images": num_images if isinstance(num_images, int) and num_images > 0 else None,
    }


def _recipe(fields: Any) -> Recipe | None:
    try:
        return Recipe.from_json(fields)
    except (VerydeepError, AttributeError, TypeError, ValueError):
        return None  # of another version


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _mean(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float | None:
    known = np.isfinite(part) & np.isfinite(whole)
    total = whole[known].sum()
    return _known(part[known].sum() / total) if total > 1e-9 else None
