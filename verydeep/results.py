"""What a function of the package answers: it prints itself, and turns into plain data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any


class Result:
    """An answer that shows itself in a terminal (`print`), in a notebook, and as JSON.

    A subclass is a dataclass that defines `__str__`, and `to_dict` where its attributes are not plain data.
    """

    def to_dict(self) -> dict[str, Any]:
        """The answer as plain data that `json.dumps` takes."""
        return asdict(self)  # type: ignore[call-overload, no-any-return]

    def records(self) -> Iterator[dict[str, Any]]:
        """The objects that `--json` prints, a line each; one where an answer does not say otherwise."""
        yield self.to_dict()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from html import escape  # not above: a command has no use for it

        return f"<pre>{escape(str(self))}</pre>"


def rendered(*renderables: Any) -> str:
    """Tables of `rich` as text, as wide as the terminal or `COLUMNS` says; 120 letters where nothing does."""
    from rich.console import Console

    console = Console(highlight=False, width=None if Console().is_terminal or "COLUMNS" in os.environ else 120)
    with console.capture() as captured:
        for renderable in renderables:
            console.print(renderable)
    return captured.get().rstrip("\n")
