"""`verydeep train`, whose options are also the settings of a recipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from inspect import Parameter, get_annotations
from itertools import pairwise
from pathlib import Path
from typing import Any

from verydeep.commands.command import Command, read_docstring
from verydeep.errors import TrainingError
from verydeep.notes import speaks
from verydeep.results import Result
from verydeep.run_folder import resume_command
from verydeep.training.recipe import DEFAULT_RECIPE, Recipe, find_recipe
from verydeep.training.scale import read_scale


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

    def read(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Read the words; of the settings those that they name, as the others are the recipe's or the run's."""
        options = {word.partition("=")[0].replace("_", "-").replace("--no-", "--") for word in arguments}
        given = super().read(arguments)
        return {
            name: one for name, one in given.items() if name not in self.settings or self.words[name] in options
        }

    def shown(self, arguments: Sequence[str]) -> dict[str, Parameter]:
        """With the settings of the recipe that the arguments name."""
        name = DEFAULT_RECIPE
        for argument, following in pairwise([*arguments, ""]):
            if argument == "--recipe":
                name = following
            elif argument.startswith("--recipe="):
                name = argument.removeprefix("--recipe=")
        return self.parameters | self.with_defaults(find_recipe(name))

    def call(self, given: dict[str, Any]) -> Result | None:
        """Train; where the run can be resumed, say by which command."""
        try:
            return super().call(given)
        except TrainingError as error:
            if not speaks():
                sys.exit(1)  # the first process says it
            skipping = {"max-unreadable": most} if (most := given.get("max_unreadable")) else {}
            again = resume_command(given["data"], Path(given["run"]), **skipping)
            raise type(error)(str(error).replace("`resume=True`", again)) from None

    def show(self, answer: Result, given: Mapping[str, Any], json: bool) -> None:
        """Print the answer, on the first process."""
        if speaks():
            super().show(answer, given, json)
