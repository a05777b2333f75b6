"""`verydeep report`: results -> a table in the paper's form, or one page with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import Positional

from verydeep.commands.command import Answering, command
from verydeep.results import Result

PRINTED = Path("-")


@command
class Report(Answering):
    """Show results in the form of the paper's Tables 3 to 6, or make one HTML page of them.

    The page shows what was trained, its learning curves, the table with the paper's figures beside it, what the
    networks see, and their worst mistakes. It is one file that needs no network.
    """

    results: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULT")]
    """Files that `evaluate --out` and `fuse --out` have made, of one data set; or what `--json` printed."""
    out: Path | None = None
    """Write the table as Markdown (.md) or CSV (.csv); - prints it as Markdown."""
    page: Path | None = None
    """Make this HTML page."""
    models: tuple[Path, ...] = ()
    """Run folders of the networks, for the page's learning curves, filters and score maps. Nothing that a result
    names is opened."""
    data: str | None = None
    """Where the tested images are, for the page's pictures."""

    renamed: ClassVar = {"--markdown": "--out TABLE.md", "--csv": "--out TABLE.csv"}

    def arguments(self) -> dict[str, Any]:
        """Arguments of the function, which prints nothing."""
        return super().arguments() | {"out": None if self.out == PRINTED else self.out}

    def show(self, answer: Result) -> None:
        """Print the table, unless it goes into a file."""
        if self.out == PRINTED and not self.json:
            print(answer.markdown())  # type: ignore[attr-defined]
        elif self.json or not (self.out or self.page):
            super().show(answer)
