"""What a person sees of a run: a line for each epoch, and a bar in the terminal that has the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from verydeep.bars import make_bar
from verydeep.notes import say
from verydeep.training.journal import EpochRecord, Listener, Record


@contextmanager
def display(first: int, epochs: int, steps_per_epoch: int, batch_size: int) -> Iterator[Listener]:
    """Show how a run is getting on, in a terminal or a notebook.

    Args:
        first: the next step.
        epochs: of the whole run.
        steps_per_epoch: for the bar's length.
        batch_size: for the images a second.

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
    smooth: dict[str, float] = {}
    validated = ""

    def show(record: Record) -> None:
        nonlocal validated
        if isinstance(record, EpochRecord):
            validated = f", val {record.validation_error:.1f} %"
            say(f"epoch {record.epoch + 1:3d}/{epochs}  {_summary(record)}")
            return
        latest = {"loss": record.loss, "error": record.error, "speed": batch_size / record.seconds}
        smooth.update({name: 0.95 * smooth.get(name, value) + 0.05 * value for name, value in latest.items()})
        facts = f"loss {smooth['loss']:.3f}  error {smooth['error']:.1f} %{validated}  {smooth['speed']:.0f}/s"
        bar.update(task, description=f"epoch {record.epoch + 1}/{epochs}", completed=record.step + 1, facts=facts)

    with bar:
        yield show


def _summary(record: EpochRecord) -> str:
    return (
        f"loss {record.train_loss:.3f}  training error {record.train_error:5.2f} %  "
        f"validation error {record.validation_error:5.2f} %{' *' if record.best else '  '} "
        f"{record.images_per_second:.0f} images/s"
    )
