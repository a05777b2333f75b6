"""What a person is told while a command works, on standard error; results go to standard output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verydeep.files import json_text
from verydeep.notes import say as say
from verydeep.notes import speaks
from verydeep.linear.classifier import classifier_file


@contextmanager
def progress(what: str, total: int, unit: str = "pictures") -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work has come, its speed and the time left; gives the function to advance it.

    Nothing is shown where standard error is no terminal, and by the first of several processes alone.
    """
    if not sys.stderr.isatty() or not speaks():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeftColumn
    from rich.text import Text

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
    bar = Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=60)
    task = bar.add_task(what, total=total)
    with bar:
        yield lambda count: bar.advance(task, count)


def say_skipped(where: str, what: str) -> None:
    """Name what lay in a folder and was not taken, if there was anything."""
    if what:
        say(f"skipped in {where}: {what}")


def say_network_alone(model: Path, what: str) -> None:
    """Say so where a classifier lies beside a model and only the network itself is, for instance, tested."""
    if classifier_file(model).is_file():
        say(
            f"{model}: the network's own classes are {what}; the classifier of `verydeep transfer` beside it, by "
            f"which `verydeep predict` answers, is not {what}"
        )


def json_line(value: Any, **options: Any) -> str:
    """JSON to be printed: in ASCII alone where standard output is not UTF-8, as programs that read it expect."""
    encoding = (sys.stdout.encoding or "").lower().replace("_", "-")
    return json_text(value, ensure_ascii=encoding not in ("utf-8", "utf8"), **options)
