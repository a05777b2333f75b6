"""`verydeep watch`: runs -> how they are getting on, and their learning curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command
from verydeep.errors import UsageError
from verydeep.results import Result


@command
class Watch(Answering):
    """Show how runs are getting on: training loss and error, validation error, learning rate.

    A running run can be watched, and one that has ended; several are drawn over each other. Curves of steps are
    means of up to a hundred parts of the run.
    """

    renamed: ClassVar[Mapping[str, str]] = {"--png": "--out"}

    runs: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN")]
    """Run folders that `verydeep train` has made."""
    follow: FlagCreatePairsOff[bool] = False
    """Draw again and again until all runs have finished, or Ctrl-C."""
    out: Path | None = None
    """.png file to make of the curves instead."""

    def execute(self) -> None:
        """Watch the runs, in one of the three ways."""
        if self.follow + bool(self.out) + self.json > 1:
            raise UsageError("`follow`, `out` and `json` exclude each other; choose one of them")
        super().execute()

    def show(self, answer: Result) -> None:
        """Print the answer where it is not an image."""
        if not self.out:
            super().show(answer)
