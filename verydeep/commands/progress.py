"""A progress bar for people, on standard error, where it is a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work has come, its speed and the time left; gives the function to advance it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True, text_format_no_percentage="{task.speed:.0f}/s"),
        TimeLeft(compact=True),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    task = bar.add_task(what, total=total)
    with bar:
        yield lambda count: bar.advance(task, count)


def say(line: str) -> None:
    """Tell a person what is going on; results go elsewhere, to standard output."""
    print(line, file=sys.stderr, flush=True)
