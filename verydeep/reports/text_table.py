"""A table of text, laid out for the terminal, as Markdown, as CSV and as HTML."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING

from verydeep.errors import escaped
from verydeep.results import html_table

if TYPE_CHECKING:
    from rich.table import Table

NOTHING = "–"  # in a cell without a number
SPECIAL_IN_MARKDOWN = "\\|*_`<["


@dataclass(frozen=True)
class TextTable:
    """Headings and rows of text.

    Attributes:
        title: in a few words.
        headings: of the columns.
        rows: cells, as many as there are headings.
        numbers: columns of numbers, which are aligned right.
        caption: what the rows have in common.
        theirs: the first column of the paper's figures, where there are such.

    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: range
    caption: str = ""
    theirs: int | None = None

    def markdown(self) -> str:
        """The table as Markdown, without its title."""
        rules = ["--:" if column in self.numbers else ":--" for column in range(len(self.headings))]
        lines = [map(in_markdown, self.headings), rules, *(map(in_markdown, row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def csv(self, first: str = "", name: str = "") -> str:
        """The table as CSV.

        Args:
            first: heading of one more column before all others; empty for none.
            name: that every row has there.

        """
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([first, *self.headings] if first else self.headings)
        writer.writerows([name, *row] if first else row for row in self.rows)
        return text.getvalue()

    def rich(self) -> Table:
        """The table for a terminal."""
        from rich import box
        from rich.table import Table
        from rich.text import Text

        caption = Text(escaped(self.caption)) if self.caption else None
        style = {"box": box.SIMPLE_HEAD, "title_style": "bold", "title_justify": "left"}
        table = Table(title=Text(self.title), caption=caption, **style)  # type: ignore[arg-type]
        for column, heading in enumerate(self.headings):
            table.add_column(Text(heading), justify="right" if column in self.numbers else "left")
        for row in self.rows:
            table.add_row(*(Text(escaped(cell)) for cell in row))
        return table

    def html(self) -> str:
        """The table as an HTML element, for notebooks."""
        return html_table(self.headings, self.rows, self.title)


def in_markdown(text: str) -> str:
    """Text with Markdown's special characters escaped, and control characters written out."""
    return escaped("".join("\\" + letter if letter in SPECIAL_IN_MARKDOWN else letter for letter in text))
