"""`verydeep report`: results -> a table in the paper's form, or one page with figures."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import json_line
from verydeep.errors import ModelError, UsageError
from verydeep.evaluation.results import Evaluation, read_result
from verydeep.files import write_whole
from verydeep.notes import say
from verydeep.reports.tables import Row, comma_separated, in_order, make_rows, markdown, rich_table, row_of_summary


@dataclass
class Report:
    """Show results in the form of the paper's Tables 3 to 6, or make one HTML page of them.

    The page shows what was trained, its learning curves, the table with the paper's figures beside it, what the
    networks see, and their worst mistakes. It is one file that needs no network.
    """

    results: Annotated[Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RESULT")]
    """Files that `evaluate --out` and `fuse --out` have made, of one data set; or what `--json` printed."""
    page: Path | None = None
    """Make this HTML page instead of printing the table."""
    markdown: FlagCreatePairsOff[bool] = False
    """Print the table as Markdown."""
    csv: FlagCreatePairsOff[bool] = False
    """Print the table as CSV."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> None:
        """Make the page, print the table."""
        self._check()
        summaries = [path for path in self.results if path.suffix == ".json"]
        files = [path for path in self.results if path not in summaries]
        results = [read_result(path) for path in files]
        check_together(results, files)
        if self.page:
            self._write_page(self.page, results, files)
        if self.markdown or self.json or self.csv or not self.page:
            self._print(in_order([*make_rows(results), *map(read_summary, summaries)]))

    def _check(self) -> None:
        if not self.results:
            raise UsageError("no result is given; `verydeep evaluate MODEL DATA --out FILE.npz` makes one")
        if self.markdown + self.json + self.csv > 1:
            raise UsageError("--markdown, --json and --csv exclude each other; choose one of them")
        if self.page and any(path.suffix == ".json" for path in self.results):
            raise UsageError("a page shows pictures, and needs .npz files; `evaluate --out` makes them")
        if self.page and self.page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"--page {self.page} has to end with .html")

    def _write_page(self, page: Path, results: list[Evaluation], files: list[Path]) -> None:
        from verydeep.reports.page import render

        html = render(results, files, page)
        write_whole(page, lambda aside: aside.write_text(html, encoding="utf-8"))
        say(f"{page}: {len(results)} result{'s' * (len(results) != 1)}, {page.stat().st_size / 1e6:.1f} MB")

    def _print(self, rows: list[Row]) -> None:
        if self.json:
            print(json_line({"rows": [row.to_json() for row in rows]}))
        elif self.csv:
            print(comma_separated(rows))
        elif self.markdown:
            print(markdown(rows))
        else:
            from rich.console import Console

            Console().print(rich_table(rows))


def read_summary(path: Path) -> Row:
    """Read what `verydeep evaluate --json` or `verydeep fuse --json` printed.

    Raises:
        ModelError: there is no such file, or it is something else.

    """
    try:
        return row_of_summary(json_format.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{path} does not exist; `verydeep evaluate --json` prints what it may hold") from None
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not what `verydeep evaluate --json` printed ({error})") from None


def check_together(results: list[Evaluation], paths: list[Path]) -> None:
    """Make sure that results can stand in one table.

    Raises:
        UsageError: one has no pictures, or two are of different classes.

    """
    for result, path in zip(results, paths, strict=True):
        if not len(result.labels):
            raise UsageError(f"{path} is a result of no pictures; test the model on some")
        if result.facts.class_names != results[0].facts.class_names:
            raise UsageError(
                f"{path} is of other classes than {paths[0]}; make a report of each data set by itself"
            )
