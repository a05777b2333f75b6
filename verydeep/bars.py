"""Progress bars: in a terminal; in a notebook, where one line is updated; and nowhere else."""

from __future__ import annotations

import sys
from importlib import import_module
from io import StringIO
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn

SECONDS = 0.25  # between two updates of a notebook's line
WIDTH = 120  # of it, in letters


def make_bar(*columns: ProgressColumn, **options: Any) -> Progress:
    """A bar of `rich` on standard error; options are those of `Progress`."""
    if in_notebook():
        return NotebookBar(*columns, **options)
    return Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), **options)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    interactive = sys.modules.get("IPython")
    return interactive is not None and hasattr(interactive.get_ipython(), "kernel")


class NotebookBar(Progress):
    """A bar that is one output of a cell and is updated in place.

    `rich` has one too, which needs ipywidgets; without them it shows a warning and no bar.
    """

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        text = Console(file=StringIO(), width=WIDTH, force_jupyter=False, color_system=None)
        super().__init__(*columns, console=text, auto_refresh=False, **options)
        self._line: Any = None  # IPython's handle of the output
        self._shown_at = 0.0

    def start(self) -> None:
        """Show the line."""
        display = import_module("IPython.display").display  # in a notebook it is there
        self._line = display(self._content(), raw=True, display_id=True)
        self._shown_at = monotonic()

    def update(self, *arguments: Any, **options: Any) -> None:
        """Update a task, and the line if it has been shown for long enough."""
        super().update(*arguments, **options)
        self._update_line()

    def advance(self, *arguments: Any, **options: Any) -> None:
        """Advance a task, likewise."""
        super().advance(*arguments, **options)
        self._update_line()

    def stop(self) -> None:
        """Leave the line as the work has left it; a transient one of work that is done is cleared."""
        if self._line:
            cleared = self.live.transient and self.finished
            self._line.update({"text/plain": ""} if cleared else self._content(), raw=True)

    def _update_line(self) -> None:
        if self._line and monotonic() - self._shown_at >= SECONDS:
            self._shown_at = monotonic()
            self._line.update(self._content(), raw=True)

    def _content(self) -> dict[str, str]:
        with self.console.capture() as captured:
            self.console.print(self.get_renderable())
        return {"text/plain": captured.get().rstrip()}
