"""What a person is told on standard error while work goes on, from any room; results go to standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from time import monotonic

from verydeep.errors import escaped

LINE_SECONDS = 60.0  # between two lines of progress in a log

_render: Callable[[str], str] = str


def say(line: str) -> None:
    """Tell a person what is going on; of several processes that work together the first does."""
    if speaks() and sys.stderr:
        with suppress(OSError, ValueError):  # nobody listens: standard error is closed
            print(escaped(_render(line)), file=sys.stderr, flush=True)


@contextmanager
def said_as(render: Callable[[str], str]) -> Iterator[None]:
    """Put what is told through a function: the command line writes arguments as its options."""
    global _render
    before, _render = _render, render
    try:
        yield
    finally:
        _render = before


@cache
def note(line: str) -> None:
    """Tell something that the answer depends on, once."""
    say(f"note: {line}")


def speaks() -> bool:
    """Whether this process speaks for all: of torchrun's, and of those that it has started, the first does."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def progress(what: str, total: int, unit: str = "images") -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work has come, its speed and the time left; gives the function to advance it.

    It is shown in a terminal and in a notebook as a bar, elsewhere as a line every minute; of several processes by
    the first alone.
    """
    if not speaks():
        yield lambda count: None
        return
    if not (sys.stderr.isatty() or "IPython" in sys.modules):
        yield _Lines(what, total, unit).advance
        return
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn
    from rich.text import Text

    from verydeep.bars import make_bar

    class SpeedColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:.3g} {unit}/s" if speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        SpeedColumn(),
        TimeLeftColumn(compact=True),
    )
    bar = make_bar(*columns, transient=True, speed_estimate_period=60)
    task = bar.add_task(what, total=total)
    with bar:
        yield lambda count: bar.advance(task, count)


class _Lines:
    """Progress as lines in a log."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._done, self._done_then, self._then = 0, 0, monotonic()

    def advance(self, count: int) -> None:
        """Count, and tell a line if it is time for one."""
        self._done += count
        seconds = monotonic() - self._then
        if seconds < LINE_SECONDS:
            return
        speed = (self._done - self._done_then) / seconds
        left = timedelta(seconds=round((self._total - self._done) / speed)) if speed else "unknown"
        say(
            f"{self._what}: {self._done:,} of {self._total:,} {self._unit}, {speed:,.3g} {self._unit}/s, "
            f"{left} left"
        )
        self._done_then, self._then = self._done, monotonic()


def say_skipped(where: str, what: str) -> None:
    """Name what lay in a folder and was not taken, if there was anything."""
    if what:
        say(f"skipped in {where}: {what}")
