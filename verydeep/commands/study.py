"""`verydeep study`: a description -> trainings, tests and fusions -> the paper's tables and claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command
from verydeep.errors import UsageError, VerydeepError, command_line
from verydeep.results import Result


@command
class Study(Answering):
    """Train, test and fuse a table's worth of networks, and put the paper's claims to the test.

    FILE says in TOML which networks, how each is trained and tested, and what is fused; or it is one of those that
    are shipped: digits, cifar10, photos, imagenet. Each step is a command that --dry-run shows. A study that was
    interrupted goes on by the same command.

    The folder of --out gets the paper's Tables 3 to 6 with the published figures beside: tables.md, tables.csv,
    claims.json and a page, index.html. `verydeep study --out DIR --report` makes them of what is there.
    """

    file: Annotated[Positional[tuple[str, ...]], tyro.conf.arg(metavar="FILE")] = ()
    """The description."""
    out: Path | None = None
    """Folder for all that comes of it."""
    data: str | None = None
    """Where the images are, as for `train`; by default where the description says."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Show the steps, what they need, and about how long they take; run nothing."""
    report: FlagCreatePairsOff[bool] = False
    """Make the tables and the page of the study that is in --out; run nothing."""
    processes: int = 1
    """Processes of this machine that share each step."""
    launch: str = ""
    """Words that start each step's processes, put before `-m verydeep ...`: "torchrun --nproc-per-node 4", or what
    starts torchrun on several machines."""
    speed: float | None = None
    """Tera multiply-adds a second that a training reaches here, for the estimates; by default it is guessed."""

    def arguments(self) -> dict[str, Any]:
        """Arguments of the function.

        Raises:
            UsageError: the folder is given as it was before, by its place.

        """
        if len(self.file) > 1 or (self.file and self.report and not self.out):
            file, report = ([], ["--report"]) if self.report else ([self.file[0]], [])
            same = command_line("study", *file, "--out", self.file[-1], *report)
            raise UsageError(f"the folder stands behind --out: {same}")
        return super().arguments() | {"file": self.file[0] if self.file else None}

    def show(self, answer: Result) -> None:
        """Print the answer.

        Raises:
            VerydeepError: steps could not be done.

        """
        super().show(answer)
        failed = getattr(answer, "failed", {})
        if failed:
            first, reason = next(iter(failed.items()))
            raise VerydeepError(
                f"{len(failed)} steps could not be done; the first is {first}: {reason}; the same command tries "
                "them again"
            )
