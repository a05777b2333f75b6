"""Commands with more to them than their function: what they do otherwise, a class each."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter
from typing import Any

from verydeep.commands.command import Command
from verydeep.results import Result


class Bench(Command):
    """SIGTERM leaves no gigabyte of networks behind."""

    def call(self, given: dict[str, Any]) -> Result | None:
        """Measure."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return super().call(given)


class Evaluate(Command):
    """The data is the last of the words: MODEL [MODEL ...] DATA."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.help["models"] += f" The last word is the data, {self.help['data']}"

    def shown(self, arguments: Sequence[str]) -> dict[str, Parameter]:
        """Models and data are one position."""
        return {name: one for name, one in self.parameters.items() if name != "data"}

    def metavar(self, parameter: Parameter) -> str:
        """As the usage has it."""
        return super().metavar(parameter) + " DATA" * (parameter.name == "models")

    def call(self, given: dict[str, Any]) -> Result | None:
        """Test the models on the data."""
        *given["models"], given["data"] = given["models"] or ("",)
        return super().call(given)


class Push(Command):
    """On a terminal it asks before it sends."""

    def call(self, given: dict[str, Any]) -> Result | None:
        """Ask, unless that was said, and send."""
        if not given["yes"] and sys.stdin.isatty():
            try:
                answer = input(f"Send {given['folder']} to hf:{given['repository']}? [y/N] ")
            except EOFError:  # Ctrl-D
                print()
                answer = ""
            given["yes"] = answer.strip().lower() in ("y", "yes")
        return super().call(given)


class Report(Command):
    """`--out -` prints the table as Markdown."""

    def call(self, given: dict[str, Any]) -> Result | None:
        """Make the table; the function prints nothing."""
        self.markdown = str(given["out"]) == "-"
        return super().call(given | {"out": None} if self.markdown else given)

    def show(self, answer: Any, given: Mapping[str, Any], json: bool) -> None:
        """Print the table."""
        if self.markdown and not json:
            print(answer.markdown())
        else:
            super().show(answer, given, json)


class Serve(Command):
    """It gives no answer that JSON could be."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        del self.parameters["json"]


SPECIAL: dict[str, type[Command]] = {
    "bench": Bench,
    "evaluate": Evaluate,
    "push": Push,
    "report": Report,
    "serve": Serve,
}


def command(name: str) -> Command:
    """The command of a name."""
    if name == "train":
        from verydeep.commands.train import Train  # not above: no other command has recipes

        return Train(name)
    return SPECIAL.get(name, Command)(name)
