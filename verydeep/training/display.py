"""What a person sees of a run: a table with a line for each epoch, and a bar in the terminal with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from verydeep.bars import make_bar
from verydeep.notes import say
from verydeep.training.journal import EpochRecord, Listener, Record, StepRecord

HEADINGS = "    epoch     loss  training error  validation error  images/s"
"""Above the lines of epochs. With their last words these fit into 80 columns."""


@contextmanager
def display(
    first: int, epochs: int, steps_per_epoch: int, batch_size: int, before: Sequence[StepRecord] = ()
) -> Iterator[Listener]:
    """Show how a run is getting on, in a terminal or a notebook.

    Args:
        first: the next step.
        epochs: of the whole run.
        steps_per_epoch: for the bar's length.
        batch_size: for the images a second.
        before: the steps of the first epoch that were done before, of a run that is resumed.

    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),  # what the facts leave
        MofNCompleteColumn(),
        TextColumn("{task.fields[facts]}"),
        TimeRemainingColumn(compact=True),
    )
    bar = make_bar(*columns, speed_estimate_period=120)
    task = bar.add_task("training", total=epochs * steps_per_epoch, completed=first, facts="")
    # Of the epoch that is going on: steps, their losses, their errors.
    sums = np.array([(1, record.loss, record.error) for record in before], float).reshape(-1, 3).sum(0)
    validated, speed = "", 0.0

    def show(record: Record) -> None:
        nonlocal sums, validated, speed
        if isinstance(record, EpochRecord):
            if not validated:
                say(HEADINGS)
            validated = f", val {record.validation_error:.1f} %"
            sums = np.zeros(3)
            say(_line(record, epochs))
            return
        sums += (1, record.loss, record.error)
        latest = batch_size / record.seconds
        speed = 0.95 * (speed or latest) + 0.05 * latest
        _, loss, error = sums / sums[0]
        facts = f"loss {loss:.3f}  error {error:.1f} %{validated}  {speed:.0f}/s"
        bar.update(task, description=f"epoch {record.epoch + 1}/{epochs}", completed=record.step + 1, facts=facts)

    with bar:
        yield show


def _line(record: EpochRecord, epochs: int) -> str:
    """An epoch's line, under `HEADINGS`."""
    return (
        f"{record.epoch + 1:>4}/{epochs:<4}{record.train_loss:>9.3f}{record.train_error:>14.2f} %"
        f"{record.validation_error:>16.2f} %{record.images_per_second:>10.0f}" + "  best so far" * record.best
    )
