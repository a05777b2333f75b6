"""`verydeep watch`: run folders -> their learning curves, in the terminal or as a picture, while they train."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.errors import UsageError
from verydeep.files import write_whole
from verydeep.notes import say

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from verydeep.reports.watched import WatchedRun

SECONDS_BETWEEN_DRAWINGS = 2.0
WIDTH_OF_A_FILE = 100  # characters, where there is no terminal
HEIGHT_OF_A_FILE = 1000  # as much as is wanted
MOST_RUNS = 6  # that colours and characters tell apart


@dataclass
class Watch:
    """Show how runs are getting on: training loss and error, validation error, learning rate.

    A running run can be watched, and one that has ended; several are drawn over each other. Curves of steps are
    means of up to a hundred parts of the run.
    """

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Run folders that `verydeep train` has made."""
    follow: FlagCreatePairsOff[bool] = False
    """Go on drawing until all runs have finished, or Ctrl-C."""
    png: Path | None = None
    """Make this picture instead."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object, with the facts of each run's headline."""

    def run(self) -> None:
        """Read the journals, and show them."""
        self._check()
        from verydeep.reports.watched import watch

        runs = [watch(path) for path in self.runs]
        if self.json:
            facts = [run.headline().to_json() for run in runs]
            print(json_line({"runs": facts}, allow_nan=False))
        elif self.png:
            self._write_png(self.png, runs)
        else:
            show(runs, follow=self.follow)

    def _check(self) -> None:
        if not self.runs:
            raise UsageError("no run is given; `verydeep train DATA RUN` makes one")
        if len(self.runs) > MOST_RUNS and not self.json:
            raise UsageError(f"{len(self.runs)} runs are too many to tell apart; give at most {MOST_RUNS}")
        if bool(self.png) + self.json + self.follow > 1:
            raise UsageError("--follow, --png and --json exclude each other; choose one of them")
        if self.png and self.png.suffix.lower() != ".png":
            raise UsageError(f"--png {self.png} has to end with .png")
        if self.follow and not sys.stdout.isatty():
            raise UsageError("--follow draws in a terminal, and the output goes elsewhere; leave --follow out")

    def _write_png(self, png: Path, runs: Sequence[WatchedRun]) -> None:
        from verydeep.reports.figures import watched_png
        from verydeep.reports.headlines import names, title
        from verydeep.reports.panels import make_panels

        labels = [title(run.headline(), name) for run, name in zip(runs, names(runs), strict=True)]
        picture = watched_png(make_panels(runs), labels)
        write_whole(png, lambda aside: aside.write_bytes(picture))
        say(f"{png}: {len(runs)} run{'s' * (len(runs) != 1)}")


def show(runs: Sequence[WatchedRun], *, follow: bool) -> None:
    """Draw once, or again and again on a screen of its own and a last time on the ordinary one."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, width=WIDTH_OF_A_FILE)
    if follow:
        _follow(console, runs)
    console.print(_drawing(console, runs, fixed=False))


def _follow(console: Console, runs: Sequence[WatchedRun]) -> None:
    from rich.live import Live

    try:
        with Live(_drawing(console, runs, fixed=True), console=console, screen=True, auto_refresh=False) as live:
            while any(run.headline().state != "finished" for run in runs):
                time.sleep(SECONDS_BETWEEN_DRAWINGS)
                for run in runs:
                    run.numbers.read()
                live.update(_drawing(console, runs, fixed=True), refresh=True)
    except KeyboardInterrupt:
        pass  # it is how one stops watching


def _drawing(console: Console, runs: Sequence[WatchedRun], *, fixed: bool) -> RenderableType:
    from rich.console import Group

    from verydeep.reports.headlines import headlines
    from verydeep.reports.panels import make_panels
    from verydeep.reports.terminal import draw_panels

    marks = len(runs) > 1 and console.color_system is None
    heads = headlines(runs, marks=marks)
    taken = len(console.render_lines(heads)) + 1
    height = console.height if console.is_terminal else HEIGHT_OF_A_FILE
    panels = make_panels(runs)
    return Group(heads, draw_panels(panels, console.width, height - taken, marks=marks, fixed=fixed))
