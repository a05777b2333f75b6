"""Journals of a study's trainings -> OUT/curves.csv: the rate and the errors of each epoch of each run.

A run's lines stay where its folder is not: networks take megabytes, and a study is told and carried on without
them. They count for the training that they are of, by its fingerprint.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from io import StringIO
from math import isfinite
from pathlib import Path

from verydeep.errors import ModelError, printable, refusal
from verydeep.files import write_text
from verydeep.run_folder import JOURNAL
from verydeep.studies.state import fingerprints
from verydeep.studies.workflow import DATA, Workflow
from verydeep.training.journal import is_epoch, read_journal

CURVES = "curves.csv"


@dataclass(frozen=True)
class Epoch:
    """One epoch of a run.

    Attributes:
        run: the step's name.
        fingerprint: of the training.
        epoch: from 1.
        rate: learning rate of its last step.
        train_error: mean over the epoch's batches, in %.
        validation_error: at its end, in %.

    """

    run: str
    fingerprint: str
    epoch: int
    rate: float
    train_error: float
    validation_error: float


Curves = Mapping[str, Sequence[Epoch]]
COLUMNS = tuple(field.name for field in fields(Epoch))


def gather_curves(workflow: Workflow, out: Path) -> dict[str, list[Epoch]]:
    """Epochs of each run, by its step's name: of its journal, or as they were kept where these are more.

    Raises:
        ModelError: what was kept is damaged.

    """
    prints = fingerprints(workflow, DATA)
    kept: dict[str, list[Epoch]] = {}
    for epoch in _read(out / CURVES):
        if prints.get(epoch.run) == epoch.fingerprint:
            kept.setdefault(epoch.run, []).append(epoch)
    runs = [name for name, step in workflow.steps.items() if step.kind == "train"]
    found = {
        name: max(list(_of_journal(out / name / JOURNAL, name, prints[name])), kept.get(name, []), key=len)
        for name in runs
    }
    return {name: epochs for name, epochs in found.items() if epochs}


def write_curves(workflow: Workflow, out: Path, curves: Curves) -> None:
    """Write OUT/curves.csv, whole; lines that are not of this workflow stay, behind the others."""
    prints = fingerprints(workflow, DATA)
    others = [one for one in _read(out / CURVES) if prints.get(one.run) != one.fingerprint]
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        [
            *(one.run, one.fingerprint, one.epoch),
            *(f"{number:.6g}" for number in (one.rate, one.train_error, one.validation_error)),
        ]
        for epochs in (*curves.values(), others)
        for one in epochs
    )
    write_text(out / CURVES, text.getvalue())


def _of_journal(path: Path, name: str, fingerprint: str) -> Iterator[Epoch]:
    rate = 0.0
    for record in read_journal(path):
        if is_epoch(record):
            errors = float(record["train_error"]), float(record["validation_error"])
            yield Epoch(name, fingerprint, int(record["epoch"]) + 1, rate, *errors)
        else:
            rate = float(record.get("rate", 0.0))


def _read(path: Path) -> Iterator[Epoch]:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        why = refusal(path, "read", error) if isinstance(error, OSError) else f"{path} is no text file"
        raise ModelError(why) from None
    for number, row in enumerate(rows, 1):
        if number == 1 and tuple(row) == COLUMNS:
            continue
        try:
            run, fingerprint, epoch, *numbers = row
            rate, train_error, validation_error = map(float, numbers)
            if not all(map(isfinite, (rate, train_error, validation_error))):
                raise ValueError("a number is not finite")
            yield Epoch(run, fingerprint, int(epoch), rate, train_error, validation_error)
        except ValueError as error:
            raise ModelError(f"line {number} of {path} is damaged ({printable(error)}); remove it") from None
