"""A table of text, laid out for the terminal, as Markdown, as CSV and as HTML."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import TYPE_CHECKING

from verydeep.errors import escaped
from verydeep.results import html_table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table

NOTHING = "–"  # in a cell without a number
GAP = 3  # columns between two columns of a terminal's table; there is one more at its left end
LONGEST_WORD = 24  # that a terminal's table does not break
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
        sections: rows after which a terminal leaves a line free.

    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Container[int]
    caption: str = ""
    theirs: int | None = None
    sections: Container[int] = ()

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

    def rich(self) -> InTerminal:
        """The table for a terminal, as wide as it is."""
        return InTerminal(self)

    def html(self) -> str:
        """The table as an HTML element, for notebooks."""
        return html_table(self.headings, self.rows, self.title)


def in_markdown(text: str) -> str:
    """Text with Markdown's special characters escaped, and control characters written out."""
    return escaped("".join("\\" + letter if letter in SPECIAL_IN_MARKDOWN else letter for letter in text))


class InTerminal:
    """A table for `rich`, of which nothing is cut off, however narrow the terminal.

    Where the table is too wide, what is the same in all rows moves into the caption. Where that is not enough,
    texts wrap between words. Where even so it does not fit, it is divided into several tables, one below the
    other, each with the columns that tell the rows apart.
    """

    def __init__(self, table: TextTable) -> None:
        self._table = table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        """Lay the table out for a terminal of this width."""
        for part in fitted(self._table, options.max_width):
            yield _rich(part, _column_widths(part, options.max_width))


def fitted(table: TextTable, width: int) -> list[TextTable]:
    """The table as one or several that a terminal has room for."""
    if _total(_natural(table)) > width:
        table = _without_common(table)
    if _total(_least(table)) <= width:
        return [table]
    names = _naming(table)
    others = [number for number in range(len(table.headings)) if number not in names]
    in_one_line = all(_total(_natural(_columns(table, [*names, one]))) <= width for one in others)
    parts: list[list[int]] = []
    for number in others:
        wider = [*parts[-1], number] if parts else []
        if wider and _total((_natural if in_one_line else _least)(_columns(table, wider))) <= width:
            parts[-1] = wider
        else:
            parts.append([*names, number])
    made = [replace(_columns(table, chosen), title="", caption="") for chosen in parts]
    made[0], made[-1] = replace(made[0], title=table.title), replace(made[-1], caption=table.caption)
    return made


def _without_common(table: TextTable) -> TextTable:
    """Leave out columns that tell no rows apart, and say in the caption what they have."""
    columns = dict(enumerate(map(set, zip(*table.rows, strict=True))))
    empty = [number for number, cells in columns.items() if cells <= {"", NOTHING}]
    common = [number for number, cells in columns.items() if len(cells) == 1 and number not in empty]
    if len(table.rows) < 2 or len(common) + len(empty) == len(columns):
        common = []
    told = ", ".join(f"{table.headings[number]} {table.rows[0][number]}" for number in common)
    kept = [number for number in columns if number not in (*common, *empty)]
    return replace(_columns(table, kept), caption="; ".join(filter(None, [table.caption, told])))


def _naming(table: TextTable) -> list[int]:
    """The first columns, as many as it takes to tell the rows apart; without numbers where there are others."""
    texts = [number for number in range(len(table.headings)) if number not in table.numbers] or [0]
    for count in range(1, len(texts) + 1):
        if len({tuple(row[number] for number in texts[:count]) for row in table.rows}) == len(table.rows):
            return texts[:count]
    return texts


def _columns(table: TextTable, chosen: Sequence[int]) -> TextTable:
    """Some of a table's columns."""
    return replace(
        table,
        headings=[table.headings[number] for number in chosen],
        rows=[[row[number] for number in chosen] for row in table.rows],
        numbers=[place for place, number in enumerate(chosen) if number in table.numbers],
    )


def _natural(table: TextTable) -> list[int]:
    """Widths of the columns where nothing wraps."""
    columns = zip(table.headings, *table.rows, strict=True)
    return [max(map(len, cells)) for cells in columns]


def _least(table: TextTable) -> list[int]:
    """Widths of the columns where texts and headings wrap between words, very long ones within; numbers do not."""
    found = []
    for number, (heading, *cells) in enumerate(zip(table.headings, *table.rows, strict=True)):
        whole = cells if number in table.numbers else []
        words = [word[:LONGEST_WORD] for text in (heading, *cells) for word in text.split()]
        found.append(max(map(len, [*whole, *words]), default=0))
    return found


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * len(widths) + 1


def _column_widths(table: TextTable, width: int) -> list[int]:
    """Widths of the columns: the widest that can wrap are made narrower until all fit."""
    widths, least = _natural(table), _least(table)
    while _total(widths) > width and widths != least:
        spare = [number for number, one in enumerate(widths) if one > least[number]]
        widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _rich(table: TextTable, widths: Sequence[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title, caption = (Text(escaped(words)) if words else None for words in (table.title, table.caption))
    style = {"box": box.SIMPLE_HEAD, "title_style": "bold", "title_justify": "left"}
    made = Table(title=title, caption=caption, **style)  # type: ignore[arg-type]
    for column, (heading, width) in enumerate(zip(table.headings, widths, strict=True)):
        justify = "right" if column in table.numbers else "left"
        made.add_column(Text(heading), justify=justify, width=width, overflow="fold")  # type: ignore[arg-type]
    for number, row in enumerate(table.rows):
        made.add_row(*(Text(escaped(cell)) for cell in row), end_section=number in table.sections)
    return made
