"""What a function of the package answers: it prints itself, and turns into plain data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from verydeep.errors import VerydeepError

MOST_LINES = 40  # of a result that is shown without being printed


class Result:
    """An answer that shows itself in a terminal, in a notebook, and as JSON.

    `print` shows all of it; where it is only looked at, a long one is cut short. A subclass is a dataclass that
    defines `__str__`, and `to_dict` where its attributes are not plain data.
    """

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data that `json.dumps` takes."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    def records(self) -> Iterator[dict[str, Any]]:
        """The objects that `--json` prints, a line each; one where an answer does not say otherwise."""
        yield self.to_dict()

    def failure(self) -> VerydeepError | None:
        """What to fail with on the command line, after the answer is printed; None where everything was done."""
        return None

    def exact(self) -> str:
        """The answer for a file or another program: where it is a table for programs, names are as they are."""
        return str(self)

    def __repr__(self) -> str:
        lines = str(self).splitlines()
        more = len(lines) - MOST_LINES
        return "\n".join(
            [*lines[:MOST_LINES], f"... and {more} more lines: print() shows them"] if more > 0 else lines
        )

    def _repr_html_(self) -> str | None:
        from html import escape  # not above: a command has no use for it

        return f"<pre>{escape(repr(self))}</pre>"


def in_bytes(count: int) -> str:
    """A number of bytes for people."""
    from rich.filesize import decimal  # not above: few commands want it

    return decimal(count)


def html_table(headings: Iterable[str], rows: Iterable[Iterable[str]], title: str = "") -> str:
    """A table of text as an HTML element, for notebooks."""
    from html import escape

    def row(cells: Iterable[str], kind: str) -> str:
        return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"

    caption = f"<caption>{escape(title)}</caption>" if title else ""
    return f"<table>{caption}{row(headings, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def rendered(*renderables: Any) -> str:
    """Tables of `rich` as text, as wide as the terminal or `COLUMNS` says; 120 letters where nothing does."""
    from rich.console import Console

    from verydeep.bars import in_notebook

    in_terminal = Console().is_terminal and not in_notebook()
    console = Console(
        highlight=False,
        width=None if in_terminal or "COLUMNS" in os.environ else 120,
        color_system="auto" if in_terminal else None,
        force_jupyter=False,
    )
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    return captured.get().rstrip("\n")
