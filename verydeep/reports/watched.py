"""A run's journal, read on while it grows -> its numbers, and how the run is getting on."""

from __future__ import annotations

import math
import os
import time
from array import array
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, VerydeepError, near_path
from verydeep.files import MOST_LINE_BYTES, parse_json
from verydeep.lock import is_written
from verydeep.run_folder import CONFIG, JOURNAL, ModelConfig, folder_of, holds_instead, read_config, resume_command
from verydeep.training.journal import is_epoch, with_current_names
from verydeep.training.optimizer import Schedule
from verydeep.training.recipe import Recipe

State = Literal["running", "validating", "stalled", "interrupted", "finished"]

STEP_FIELDS = ("step", "loss", "error", "rate", "seconds", "wait")
EPOCH_FIELDS = ("epoch", "step", "validation_error", "best", "images_per_second")
MOST_BYTES = 30_000_000  # of step lines that are parsed, some 200,000; of a longer journal, evenly spaced ones
WHOLE_TAIL = 500_000  # bytes at the journal's end of which every line is parsed
RECENT_STEPS = 1000  # the most steps that tell the speed
MOST = 1e30  # a greater number is as good as infinite
PATIENCE = 60.0  # seconds without a line that are nothing unusual, at any speed
PATIENCE_STEPS = 20  # likewise, as a number of steps


class JournalNumbers:
    """The numbers of a journal, one column a field; `read` continues where it stopped.

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
        self._place = self._lines = 0
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
            while line := file.readline(MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    break  # it is being written
                self._place += len(line)
                self._lines += 1
                near_end = self._place > status.st_size - WHOLE_TAIL
                if near_end or self._lines % self._stride == 0 or b'"validation_error"' in line:
                    self._note(line)

    def _note(self, line: bytes) -> None:
        try:
            record = parse_json(line, finite=False)
        except ValueError:
            return
        if isinstance(record, dict) and 0 <= _number(record.get("step")) < 1e12:
            columns = self.epochs if is_epoch(record) else self.steps if "loss" in record else {}
            record = with_current_names(record)
            for name, column in columns.items():
                value = record.get(name)
                column.append(float(value is True) if name == "best" else _number(value))


def _best(errors: NDArray[np.float64], kept: NDArray[np.float64]) -> int | None:
    """Which epoch's weights `model.safetensors` has: of equally good ones the last that was kept."""
    if not np.isfinite(errors).any():
        return None
    least = np.flatnonzero(errors == np.nanmin(errors))
    return int(max(least[kept[least] == 1], default=least[0]))


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < MOST else math.nan


@dataclass(frozen=True)
class Headline:
    """How a run is getting on. What is not known is None.

    Attributes:
        run: its folder, as it was given.
        state: running; validating, at an epoch's end; stalled, with no line for longer than usual; interrupted,
            with no process that trains it; finished.
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
        images_per_second: of the last steps.
        waiting: share of their time spent waiting for images, from 0 to 1.
        seconds_left: of training steps, if all epochs are run; validation comes on top.
        resume: the command that resumes an interrupted run.

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
    images_per_second: float | None
    waiting: float | None
    seconds_left: float | None
    resume: str | None

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data."""
        return asdict(self)


@dataclass
class WatchedRun:
    """A run that is looked at while it goes on.

    Attributes:
        run: its folder.
        numbers: what its journal has said so far.
        config: its config.json; None where there is none that can be read.
        recipe: None where it is not known.
        num_images: training images, likewise.
        data: what the data was called; DATA where it is not known.

    """

    run: str
    numbers: JournalNumbers
    config: ModelConfig | None = None

    def __post_init__(self) -> None:
        self._take_config()

    def read(self) -> None:
        """Read what has been added to the journal, and the config, which a run that is extended writes anew.

        Raises:
            OSError: the journal is gone.

        """
        self.numbers.read()
        with suppress(VerydeepError, OSError):
            self.config = read_config(folder_of(Path(self.run)))
            self._take_config()

    def _take_config(self) -> None:
        facts = self.config.provenance if self.config else {}
        data = facts.get("data")
        data = data if isinstance(data, dict) else {}
        number, self.data = data.get("num_images"), str(data.get("name", "DATA"))
        self.num_images = number if isinstance(number, int) and number > 0 else None
        self.recipe_name = str(facts["recipe_name"]) if facts.get("recipe_name") else None
        self.recipe: Recipe | None = None
        with suppress(LookupError, ValueError):  # of another version
            self.recipe = Recipe.from_json(facts["recipe"])

    @property
    def batch_size(self) -> int | None:
        """Images in a step: a training set that is smaller than a batch is one."""
        return min(self.recipe.batch_size, self.num_images or self.recipe.batch_size) if self.recipe else None

    @property
    def steps_per_epoch(self) -> int | None:
        """As the first epoch took; before its end, as the images and the batch give."""
        epoch, step = self.column("epoch"), self.column("step", of_epochs=True)
        whole = np.flatnonzero((epoch >= 0) & (step > epoch))
        if len(whole):
            return round(float(step[whole[0]] / (epoch[whole[0]] + 1)))
        return self.num_images // self.batch_size if self.num_images and self.batch_size else None

    def column(self, name: str, *, of_epochs: bool = False) -> NDArray[np.float64]:
        """A field of the steps, or of the epochs."""
        columns = self.numbers.epochs if of_epochs or name not in self.numbers.steps else self.numbers.steps
        return np.array(columns[name], np.float64)

    def headline(self) -> Headline:
        """Say how it is getting on, by what has been read."""
        step, validation = self.column("step"), self.column("validation_error")
        ended = int(max([0, *self.column("step", of_epochs=True)[-1:]]))
        done = int(max([ended, *(step[-1:] + 1)]))
        per_epoch = self.steps_per_epoch
        recent = slice(-min(RECENT_STEPS, per_epoch or RECENT_STEPS), None)
        seconds, wait = self.column("seconds")[recent], self.column("wait")[recent]
        second = _mean(seconds)
        state = self._state(done - ended, second or 0.0)
        epochs = self.recipe.epochs if self.recipe else None
        steps = epochs * per_epoch if epochs and per_epoch else None
        best = _best(validation, self.column("best"))
        return Headline(
            run=self.run,
            state=state,
            quiet=self._quiet,
            configuration=self.config.architecture.configuration if self.config else None,
            recipe=self.recipe_name,
            epoch=self._epoch(0 if state == "finished" else done),
            epochs=epochs,
            step=done,
            steps=steps,
            loss=_mean(self.column("loss")[recent]),
            training_error=_mean(self.column("error")[recent]),
            validation_error=_last(validation),
            best_error=None if best is None else float(validation[best]),
            best_epoch=None if best is None else self._number_of(best),
            images_per_second=self._speed(second),
            waiting=_share(wait, seconds),
            seconds_left=max(0, steps - done) * second if steps and second and state != "finished" else None,
            resume=resume_command(self.data, folder_of(Path(self.run))) if state == "interrupted" else None,
        )

    @property
    def _quiet(self) -> float:
        return max(0.0, time.time() - self.numbers.changed)

    def _number_of(self, place: int) -> int:
        """The number, from 1, of the epoch that ended as the one at a place; 0 where none has ended."""
        epochs = self.column("epoch")
        if not len(epochs):
            return 0
        return int(epochs[place]) + 1 if 0 <= epochs[place] < 1e12 else place % len(epochs) + 1

    def _epoch(self, done: int) -> int:
        """The epoch that is going on after so many steps; the last that ended where that is none."""
        last, per_epoch = self._number_of(-1), self.steps_per_epoch
        if not done:
            return last
        return max(last, (done - 1) // per_epoch + 1) if per_epoch else last + 1

    def _speed(self, second: float | None) -> float | None:
        """Images a second, by the last steps, or as the last epoch's record says."""
        if second and second > 0 and self.batch_size:
            return _last(np.array([self.batch_size / second]))
        return _last(self.column("images_per_second"))

    def _state(self, since_epoch: int, second: float) -> State:
        """By the steps since an epoch ended, and the seconds that one takes."""
        if self._finished():
            return "finished"
        if is_written(folder_of(Path(self.run))) is False:
            return "interrupted"
        patience, per_epoch = PATIENCE + PATIENCE_STEPS * second, self.steps_per_epoch
        if per_epoch and since_epoch >= per_epoch:
            # Nothing is written during validation. It shows each image once, forward only: were they as many as
            # are trained on, it would still take less than an epoch.
            return "validating" if self._quiet < patience + per_epoch * second else "stalled"
        return "running" if self._quiet < patience else "stalled"

    def _finished(self) -> bool:
        """Whether all epochs are done, or the last plateau has been reached."""
        if self.recipe is None or not self.numbers.epochs["epoch"]:
            return False
        schedule = Schedule(self.recipe, self.steps_per_epoch or 1)
        for error in self.numbers.epochs["validation_error"]:
            schedule.after_epoch(error)
        return schedule.finished or self._number_of(-1) >= self.recipe.epochs


def open_run(run: Path) -> WatchedRun:
    """Find a run, and read its journal for the first time.

    Raises:
        ModelError: there is no such folder, or it has no journal.

    """
    folder = folder_of(run)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        wanted = "give a run folder, as `verydeep train` makes"
        raise ModelError(f"{run} {what}; {wanted}{near_path(run) * (not folder.exists())}")
    numbers = JournalNumbers(folder / JOURNAL)
    try:
        numbers.read()
    except FileNotFoundError:
        instead = "" if (folder / CONFIG).is_file() else holds_instead(folder)
        why = instead or "it was not made by `verydeep train`, or has not begun its first step"
        raise ModelError(f"{run} has no {JOURNAL}: {why}") from None
    try:
        return WatchedRun(str(run), numbers, read_config(folder))
    except (VerydeepError, OSError):  # curves can be drawn without
        return WatchedRun(str(run), numbers)


def _last(values: NDArray[np.float64]) -> float | None:
    return float(values[-1]) if len(values) and math.isfinite(values[-1]) else None


def _mean(values: NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> float | None:
    known = np.isfinite(part) & np.isfinite(whole)
    total = whole[known].sum()
    return _last(part[known].sum(keepdims=True) / total) if total > 1e-9 else None
