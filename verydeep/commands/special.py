"""Commands with more to them than their function: what they do otherwise, a class each."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter, get_annotations
from itertools import pairwise
from typing import Any

from verydeep.commands.command import Command, read_docstring
from verydeep.errors import TrainingError
from verydeep.notes import speaks
from verydeep.results import Result
from verydeep.training.recipe import Recipe, find_recipe, read_scale


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
            answer = input(f"Send {given['folder']} to hf:{given['repository']}? [y/N] ")
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


class Train(Command):
    """The settings of a recipe are options, whose defaults are those of the recipe that is named."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        del self.parameters["settings"]
        self.help = read_docstring(Recipe)[1] | self.help
        self.settings = get_annotations(Recipe, eval_str=True) | {"train_scale": read_scale}
        self.parameters |= self.with_defaults(Recipe())

    def with_defaults(self, recipe: Recipe) -> dict[str, Parameter]:
        """The settings, with the values of a recipe; each can be turned on and off."""
        return {
            name: Parameter(
                name,
                Parameter.KEYWORD_ONLY,
                default=getattr(recipe, name),
                annotation=bool | None if hint is bool else hint,
            )
            for name, hint in self.settings.items()
        }

    def shown(self, arguments: Sequence[str]) -> dict[str, Parameter]:
        """With the settings of the recipe that the arguments name."""
        name = self.parameters["recipe"].default
        for argument, following in pairwise([*arguments, ""]):
            if argument == "--recipe":
                name = following
            elif argument.startswith("--recipe="):
                name = argument.removeprefix("--recipe=")
        return self.parameters | self.with_defaults(find_recipe(name))

    def call(self, given: dict[str, Any]) -> Result | None:
        """Train; of the settings the function gets those that are other than the recipe's."""
        recipe = find_recipe(given["recipe"])
        same = [name for name in self.settings if given[name] == getattr(recipe, name)]
        try:
            return super().call({name: value for name, value in given.items() if name not in same})
        except TrainingError as error:
            if not speaks():
                sys.exit(1)  # the first process says it
            again = shlex.join(["verydeep", "train", given["data"], given["run"], "--resume"])
            raise type(error)(str(error).replace("`resume=True`", again)) from None

    def show(self, answer: Result, given: Mapping[str, Any], json: bool) -> None:
        """Print the answer, on the first process."""
        if speaks():
            super().show(answer, given, json)


SPECIAL: dict[str, type[Command]] = {
    "bench": Bench,
    "evaluate": Evaluate,
    "push": Push,
    "report": Report,
    "train": Train,
}


def command(name: str) -> Command:
    """The command of a name."""
    return SPECIAL.get(name, Command)(name)
