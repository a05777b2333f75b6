"""What a run writes of each step and each epoch, a line of JSON: `journal.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import takewhile
from math import isfinite
from pathlib import Path
from typing import Any

from verydeep.files import Lines, read_json_lines, write_text
from verydeep.typed import is_of


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
        wait: of these, the seconds spent waiting for images.

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
        images_per_second: images a second, of training alone.

    """

    step: int
    epoch: int
    train_loss: float
    train_error: float
    validation_error: float
    best: bool
    images_per_second: float


Record = StepRecord | EpochRecord
Listener = Callable[[Record], object]
"""What hears of each step and each epoch's end."""


def is_epoch(record: dict[str, Any]) -> bool:
    """Whether a journal's record is of an epoch's end, and not of a step."""
    return "validation_error" in record


def best_epoch(epochs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The epoch whose weights `model.safetensors` has: of equally good ones the last that was kept.

    Args:
        epochs: a journal's records of epochs, at least one.

    """
    least = min(float(record["validation_error"]) for record in epochs)
    alike = [record for record in epochs if float(record["validation_error"]) == least]
    return next((record for record in reversed(alike) if record.get("best")), alike[0])


_EARLIER_NAMES = {"pictures_per_second": "images_per_second"}


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read a journal's lines, as far as they are records; a last line that was cut short is left out."""
    if not path.is_file():
        return []
    return list(takewhile(_is_record, map(with_current_names, read_json_lines(path))))


def with_current_names(record: dict[str, Any]) -> dict[str, Any]:
    """A record with the names of this version's fields, whichever version wrote it."""
    return {_EARLIER_NAMES.get(name, name): value for name, value in record.items()}


def _is_record(record: dict[str, Any]) -> bool:
    """Whether a line has a step's numbers, or an epoch's; those of earlier versions may lack some.

    A loss may be NaN or infinite, of a run that diverged.
    """
    kind, needed = (EpochRecord, {"train_loss", "train_error"}) if is_epoch(record) else (StepRecord, {"loss"})
    numbers = {field.name: record[field.name] for field in fields(kind) if field.name in record}
    return (
        needed <= numbers.keys()
        and all(is_of(record.get(name), int) and record[name] >= 0 for name in ("step", "epoch"))
        and all(type(value) in (bool, float) or is_of(value, int) for value in numbers.values())
        and all(isfinite(record.get(name, 0)) for name in ("seconds", "wait"))
    )


@contextmanager
def journal(path: Path, first: int) -> Iterator[Listener]:
    """Write a run's journal.

    Args:
        path: of the journal.
        first: the next step; lines from there on, which a resumed run will write again, are removed.

    Raises:
        DiskError: it cannot be written.

    """
    kept = [json.dumps(record) + "\n" for record in read_journal(path) if _is_before(record, first)]
    write_text(path, "".join(kept))
    with Lines(path) as lines:
        yield lambda record: lines.add(json.dumps(asdict(record)))


def _is_before(record: dict[str, Any], first: int) -> bool:
    step: int = record["step"]
    return step < first or (step == first and is_epoch(record))
