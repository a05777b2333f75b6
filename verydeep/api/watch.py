"""`verydeep.watch`: runs -> how they are getting on, and their learning curves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verydeep.arguments import checked
from verydeep.errors import UsageError
from verydeep.files import check_out, write_whole
from verydeep.notes import say
from verydeep.reports.headlines import headlines, names, title
from verydeep.reports.panels import Panel, make_panels
from verydeep.reports.terminal import draw_panels
from verydeep.reports.watched import WatchedRun, open_run
from verydeep.results import Result

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SECONDS_BETWEEN_DRAWINGS = 2.0
WIDTH_OF_A_FILE = 100  # characters, where there is no terminal
HEIGHT_OF_A_FILE = 1000  # as much as is wanted
MOST_RUNS = 6  # that colours and characters tell apart


@dataclass(frozen=True, repr=False)
class Watched(Result):
    """Runs as they were when their journals were read."""

    runs: tuple[WatchedRun, ...]

    def to_dict(self) -> dict[str, Any]:
        """The facts of each run's headline, under `runs`."""
        return {"runs": [run.headline().to_json() for run in self.runs]}

    def __str__(self) -> str:
        """The headlines, and the curves in characters, as wide as the terminal."""
        console = _console()
        with console.capture() as captured:
            console.print(_drawing(console, self.runs, fixed=False))
        return captured.get().rstrip("\n")


@checked
def watch(
    runs: str | PathLike[str] | Iterable[str | PathLike[str]],
    *,
    follow: bool = False,
    out: str | PathLike[str] | None = None,
) -> Watched:
    """Show the learning curves of runs: training loss and error, validation error, learning rate.

    Runs may be running or finished. Several runs are drawn over each other. Curves of steps are averages over up
    to a hundred parts of the run.

    Args:
        runs: run folders that `verydeep.train` made, one or several.
        follow: draw again and again in the terminal until all runs have finished, or Ctrl-C.
        out: .png file to make of the curves.

    Raises:
        UsageError: there is none, or they are too many to be drawn; or there is no terminal to draw in.
        ModelError: one is no run, or has not begun its first step.
        VerydeepError: matplotlib, which draws the image, is not installed.

    """
    paths = [Path(run) for run in ([runs] if isinstance(runs, (str, PathLike)) else runs)]
    if not paths:
        raise UsageError("no run is given; `verydeep train DATA RUN` makes one")
    if out and Path(out).suffix.lower() != ".png":
        raise UsageError(f"`out` {out} has to end with .png")
    if out:
        check_out(Path(out))
    if follow and not sys.stdout.isatty():
        raise UsageError("`follow` needs a terminal, and the output is not one; leave it out")
    watched = Watched(tuple(map(open_run, paths)))
    if follow:
        draw_until_finished(watched.runs)
    if out:
        _write_image(Path(out), watched.runs)
    return watched


def draw_until_finished(runs: Sequence[WatchedRun]) -> None:
    """Draw on a screen of its own, again and again."""
    from rich.live import Live

    console = _console()
    try:
        with Live(_drawing(console, runs, fixed=True), console=console, screen=True, auto_refresh=False) as live:
            while any(run.headline().state != "finished" for run in runs):
                time.sleep(SECONDS_BETWEEN_DRAWINGS)
                for run in runs:
                    run.read()
                live.update(_drawing(console, runs, fixed=True), refresh=True)
    except KeyboardInterrupt:
        pass  # it is how one stops watching


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    elsewhere = not console.is_terminal and "COLUMNS" not in os.environ
    return Console(highlight=False, width=WIDTH_OF_A_FILE) if elsewhere else console


def _drawing(console: Console, runs: Sequence[WatchedRun], *, fixed: bool) -> RenderableType:
    from rich.console import Group

    panels = _panels(runs)
    marks = len(runs) > 1 and console.color_system is None
    heads = headlines(runs, marks=marks)
    taken = len(console.render_lines(heads)) + 1
    height = console.height if console.is_terminal else HEIGHT_OF_A_FILE
    return Group(heads, draw_panels(panels, console.width, height - taken, marks=marks, fixed=fixed))


def _panels(runs: Sequence[WatchedRun]) -> list[Panel]:
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs are too many for one chart; give at most {MOST_RUNS}")
    return make_panels(runs)


def _write_image(out: Path, runs: Sequence[WatchedRun]) -> None:
    from verydeep.reports.figures import watched_png

    labels = [title(run.headline(), name) for run, name in zip(runs, names(runs), strict=True)]
    image = watched_png(_panels(runs), labels)
    write_whole(out, lambda aside: aside.write_bytes(image))
    say(f"{out}: {len(runs)} run{'s' * (len(runs) != 1)}")
