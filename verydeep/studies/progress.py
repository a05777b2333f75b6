"""How a study is getting on, told on standard error: a line for each step, and a bar where there is a terminal."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from verydeep.notes import say
from verydeep.reports.runs import duration
from verydeep.studies.workflow import Step


class Progress:
    """Tells a person how a study is getting on; a context manager.

    Args:
        count: of the steps.

    """

    def __init__(self, count: int) -> None:
        self._count, self._step = count, ""
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def begin(self, number: int, step: Step, left: float | None) -> None:
        """Tell that a step begins, and the seconds that are left in all, where they are known."""
        self._step = f"[{number}/{self._count}] {step.name}"
        if self._bar:
            self.update(None, left)
        else:
            say(self._step + _left(left))

    def update(self, share: float | None, left: float | None) -> None:
        """Tell the share of all that is done, and the seconds left."""
        if self._bar:
            description = self._step.replace("[", "\\[") + _left(left)
            self._bar.update(self._task, completed=share, description=description)

    def end(self, step: Step, seconds: float, problem: str) -> None:
        """Tell that a step has ended; a sentence where it failed."""
        line = f"{step.name}: {problem or duration(seconds)}"
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            say(line)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", about {duration(seconds)} left in all"
