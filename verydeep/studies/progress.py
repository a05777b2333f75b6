"""How a study is getting on, told on standard error: a line for each step, and a bar where there is a terminal."""

from __future__ import annotations

import sys

from rich import progress
from rich.console import Console

from verydeep.notes import say
from verydeep.reports.runs import duration
from verydeep.studies.workflow import Step


class Progress(progress.Progress):
    """Tells a person how a study is getting on; a context manager.

    Args:
        count: of the steps.

    """

    def __init__(self, count: int) -> None:
        columns = (progress.TextColumn("{task.description}", markup=False), progress.BarColumn())
        super().__init__(
            *columns,
            progress.TaskProgressColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._count, self._step = count, ""
        self._task = self.add_task("", total=1.0)

    def begin(self, number: int, step: Step, left: float | None) -> None:
        """Tell that a step begins, and the seconds that are left in all, where they are known."""
        self._step = f"[{number}/{self._count}] {step.name}"
        self.show(None, left)
        if self.disable:
            say(self._step + _left(left))

    def show(self, share: float | None, left: float | None) -> None:
        """Tell the share of all that is done, and the seconds left."""
        self.update(self._task, completed=share, description=self._step + _left(left))

    def end(self, step: Step, seconds: float, problem: str) -> None:
        """Tell that a step has ended; a sentence where it failed."""
        say(f"{step.name}: {problem or duration(seconds)}")


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", about {duration(seconds)} left in all"
