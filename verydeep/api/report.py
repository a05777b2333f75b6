"""`verydeep.report`: results -> a table in the paper's form, and one page with figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.arguments import checked
from verydeep.errors import UsageError
from verydeep.evaluation.results import Facts, read_result
from verydeep.files import check_out, write_text
from verydeep.notes import say
from verydeep.reports import tables
from verydeep.reports.tables import Row
from verydeep.reports.templates import check_page
from verydeep.results import Result, in_bytes, rendered


@dataclass(frozen=True, repr=False)
class Report(Result):
    """Results in the form of the paper's Tables 3 to 6.

    Attributes:
        rows: one for each result, in the paper's order.

    """

    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """The rows, each with how it came about and with the paper's figures."""
        return {"rows": [row.to_json() for row in self.rows]}

    def __str__(self) -> str:
        return rendered(tables.table(self.rows).rich())

    def _repr_html_(self) -> str:
        return tables.table(self.rows).html()

    def markdown(self) -> str:
        """The table as Markdown, its title above."""
        return tables.markdown(self.rows)

    def csv(self) -> str:
        """The table as CSV, with the paper's errors in three more columns."""
        return tables.table(self.rows, papers_errors=True).csv()


@checked
def report(
    results: Sequence[str | PathLike[str]],
    *,
    out: str | PathLike[str] | None = None,
    page: str | PathLike[str] | None = None,
    models: Sequence[str | PathLike[str]] = (),
    data: str | None = None,
) -> Report:
    """Show results in the form of the paper's Tables 3 to 6, or as an HTML page.

    The page shows the networks, their learning curves, the table with the paper's figures, score maps and the
    worst mistakes. It is one file that needs no network connection.

    Args:
        results: files that `verydeep.evaluate` and `verydeep.fuse` wrote, of one data set; or .json files of what
            `verydeep evaluate --json` printed.
        out: file for the table: Markdown (.md) or CSV (.csv). On the command line - prints Markdown.
        page: HTML page to make.
        models: run folders of the tested networks, for the page's learning curves, filters and score maps. Nothing
            that a result names is opened.
        data: folder of the tested images, for the images on the page.

    Raises:
        UsageError: there is no result, two are of different classes, a file cannot have its ending, or a model is
            of none of the results.
        ModelError: a file is no result.
        VerydeepError: what makes pages is not installed.

    """
    paths = [Path(path) for path in results]
    table_file, page_file = Path(out) if out else None, check_page(page)
    summaries = [path for path in paths if path.suffix == ".json"]
    if not paths:
        raise UsageError("no result is given; `verydeep evaluate MODEL DATA --out FILE.npz` makes one")
    if table_file and table_file.suffix not in (".md", ".csv"):
        raise UsageError(f"`out` {table_file} has to end with .md or .csv")
    if table_file:
        check_out(table_file)
    if (models or data) and not page_file:
        raise UsageError("`models` and `data` need a page; give `page`")
    if page_file and summaries:
        raise UsageError("a page needs .npz files, which `verydeep evaluate --out` writes")
    files = [path for path in paths if path not in summaries]
    found, told = [read_result(path) for path in files], [tables.read_row(path) for path in summaries]
    empty = next((path for result, path in zip(found, files, strict=True) if not len(result.labels)), None)
    if empty:
        raise UsageError(f"{empty} is a result of no images; test the model on some")
    facts = [*(result.facts for result in found), *(row.facts for row in told)]
    check_together(facts, [*files, *summaries])
    made = Report(tuple(tables.in_order([*tables.make_rows(found), *told])))
    if page_file:
        from verydeep.reports.page import render

        write_text(page_file, render(found, files, page_file, list(map(Path, models)), data))
        say(f"{page_file}: {len(found)} result{'s' * (len(found) != 1)}, {in_bytes(page_file.stat().st_size)}")
    if table_file:
        write_text(table_file, made.csv() if table_file.suffix == ".csv" else made.markdown() + "\n")
    return made


def check_together(facts: Sequence[Facts], paths: Sequence[Path]) -> None:
    """Make sure that results can stand in one table.

    Raises:
        UsageError: two are of different classes.

    """
    for one, path in zip(facts, paths, strict=True):
        if one.class_names != facts[0].class_names:
            raise UsageError(f"{path} is of other classes than {paths[0]}; make one report for each data set")
