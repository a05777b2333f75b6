"""`verydeep train`: data + recipe -> a run folder with a trained model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from verydeep.commands.command import Answering, command
from verydeep.errors import TrainingError
from verydeep.notes import speaks
from verydeep.results import Result
from verydeep.training.recipe import Recipe, find_recipe

DEFAULT_RECIPE = "photos"


@command
class Train(Answering):
    """Train a network on labelled images.

    A named recipe gives every setting, and any of them can be changed. The settings below are shown with the
    values of the recipe that --recipe names.
    """

    renamed: ClassVar = {
        "--image-size": "--window",
        "--scale": "--train-scale",
        "--start": "--init",
        "--configuration": "--config",
    }

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """A folder with a folder of images for each class, or with train/ and val/ that hold these; or ImageNet's; or
    `digits`; or the folder or URL of what `verydeep shard` has made."""
    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder to make for the model, its journal and its state."""
    recipe: str | None = None
    """Named recipe to start from: digits, cifar10, photos (the default), paper, paper_384 or paper_jittered."""
    settings: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    """How a network is trained; the defaults are the paper's."""
    grow_from: Path | None = None
    """Run folder of a trained net A, whose first four convolutions and FC layers the network starts with."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Run folder of an earlier run, or another library's weights, all of whose layers the network starts with; fc8
    is new where the classes are others. Its configuration, width and preprocessing are kept."""
    resume: FlagCreatePairsOff[bool] = False
    """Continue an interrupted run, with the settings it was started with."""
    max_unreadable: int = 0
    """Continue if up to N images cannot be read; RUN/skipped.jsonl lists them."""
    save_seconds: float = 120.0
    """The run's state is saved at the end of each epoch, and within it at least so often,"""
    save_steps: int | None = None
    """and after as many steps."""
    workers: int | None = None
    """Processes that read images; by default none where they fit in memory, else one for each processor."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""

    @staticmethod
    def defaults(arguments: Sequence[str]) -> Train:
        """Take the settings of the recipe that the arguments name."""
        name = DEFAULT_RECIPE
        for argument, following in zip(arguments, [*arguments[1:], ""], strict=False):
            if argument == "--recipe":
                name = following
            elif argument.startswith("--recipe="):
                name = argument.removeprefix("--recipe=")
        return Train(data=tyro.MISSING, run=tyro.MISSING, recipe=name, settings=find_recipe(name))

    def arguments(self) -> dict[str, Any]:
        """Arguments of the function: of the settings those that are other than the recipe's."""
        named, recipe = super().arguments(), find_recipe(self.recipe or DEFAULT_RECIPE)
        settings = {one.name: getattr(named["settings"], one.name) for one in fields(Recipe)}
        del named["settings"]
        return named | {name: value for name, value in settings.items() if value != getattr(recipe, name)}

    def execute(self) -> None:
        """Train; where the run can be resumed, say by which command."""
        again = shlex.join(["verydeep", "train", self.data, str(self.run), "--resume"])
        try:
            super().execute()
        except TrainingError as error:
            if not speaks():
                sys.exit(1)  # the first process says it
            raise type(error)(str(error).replace("`resume=True`", again)) from None

    def show(self, answer: Result) -> None:
        """Print the answer, on the first process."""
        if speaks():
            super().show(answer)
