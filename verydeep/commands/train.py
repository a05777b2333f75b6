"""`verydeep train`: data + recipe -> run folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from verydeep.commands.progress import progress, say
from verydeep.configurations import Architecture, num_parameters
from verydeep.errors import DataError, ModelError, PictureError, UsageError, require
from verydeep.files import write_json
from verydeep.images.color import Preprocessing, measure
from verydeep.run_folder import (
    CONFIG,
    SPLIT,
    ModelConfig,
    TrainedOn,
    provenance,
    read_config,
    read_model,
    read_split,
    refuse_existing,
)
from verydeep.training.recipe import Recipe, named

if TYPE_CHECKING:
    from verydeep.images.batches import TrainingBatches
    from verydeep.images.pictures import Data, Pictures, Unreadable
    from verydeep.network.vgg import VGG

DEFAULT_RECIPE = "photos"
MEASURED_SIDE = 256  # JPEGs are decoded no larger than needed to measure their mean


@dataclass
class Train:
    """Train a network on labelled pictures.

    A named recipe gives every setting, and any of them can be changed. The settings below are shown with the
    values of the recipe that --recipe names.
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """A folder with train/<class>/ and val/<class>/, or with <class>/ alone, or ImageNet's; or `digits`."""
    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder to make for the model, its journal and its state."""
    recipe: str = DEFAULT_RECIPE
    """Named recipe to start from: digits, cifar10, photos or paper."""
    settings: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    grow_from: Path | None = None
    """Run folder of a trained net A, whose first four convolutions and FC layers the network starts with."""
    resume: FlagCreatePairsOff[bool] = False
    """Go on with an interrupted run, with the settings it was started with."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read."""
    workers: int | None = None
    """Processes that read pictures; by default none where they fit in memory, else one for each processor."""
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
        return Train(tyro.MISSING, tyro.MISSING, recipe=name, settings=named(name))

    def run(self) -> None:
        """Train, or go on."""
        require("torch", "train", "training")
        from verydeep.training.loop import InterruptedRunError

        if not self.resume:
            refuse_existing(self.run_folder)
        recipe = self._recipe()
        self._check(recipe)
        data, held_out, batches = self._pictures(recipe)
        network, config = self._network(recipe, data, batches.pictures)
        try:
            self._train(recipe, network, config, batches, held_out)
        except InterruptedRunError as interrupted:
            again = shlex.join(["verydeep", "train", self.data, str(self.run_folder), "--resume"])
            raise InterruptedRunError(f"{interrupted}; go on with: {again}") from None

    def _check(self, recipe: Recipe) -> None:
        """Refuse what cannot be before the data is read, which may take long."""
        from verydeep.engines.torch_engine import choose_device
        from verydeep.network.initialize import STARTS

        Architecture(recipe.configuration, 2, recipe.width, recipe.image_size, recipe.batch_norm)
        if recipe.start not in STARTS:
            raise UsageError(f"no start is called {recipe.start!r}; there are {', '.join(STARTS)}")
        choose_device(self.device)
        for name, number in (("workers", self.workers), ("max-unreadable", self.max_unreadable)):
            if number is not None and number < 0:
                raise UsageError(f"--{name} is {number}; it has to be 0 or more")

    def _recipe(self) -> Recipe:
        """The settings; those of the run itself where it is gone on with."""
        if not self.resume:
            return self.settings
        recorded = read_config(self.run_folder).provenance.get("recipe")
        if recorded is None:
            raise ModelError(
                f"{self.run_folder} was not trained, so there is nothing to go on with; start a new run"
            )
        begun = Recipe.from_json(recorded)
        changed = [
            name
            for name, value in asdict(self.settings).items()
            if value != getattr(named(self.recipe), name) and value != getattr(begun, name)
        ]
        if changed:
            raise UsageError(
                f"--resume goes on with the run's own settings; {', '.join(changed)} cannot be changed: "
                "start a new run for that"
            )
        return begun

    def _pictures(self, recipe: Recipe) -> tuple[Data, Pictures, TrainingBatches]:
        """The data, its held-out part rescaled for validation, and the batches to train on."""
        from verydeep.images.batches import TrainingBatches
        from verydeep.images.pictures import keep_in_memory
        from verydeep.images.sources import open_data
        from verydeep.images.views import TrainingView

        view = TrainingView(recipe.scale, recipe.image_size, recipe.mirror)
        data = open_data(self.data, held_out=read_split(self.run_folder) if self.resume else frozenset())
        if len(data.class_names) < 2:
            raise DataError(
                f"{self.data} has the one class {data.class_names[0]!r}; telling classes apart takes two or more"
            )
        with progress("reading", len(data.train) + len(data.held_out)) as advance:
            test_scale = TrainedOn(recipe.scale).test_scale
            pictures, lost = keep_in_memory(data.train, view.fixed_scale, advance=advance)
            held_out, lost_too = keep_in_memory(data.held_out, test_scale, advance=advance)
        tell_unreadable(lost + lost_too, self.max_unreadable)
        if not len(held_out):
            raise DataError(f"not one of the {len(data.held_out)} held-out pictures can be read")
        say(
            f"{len(pictures):,} pictures of {len(data.class_names)} classes to train on, "
            f"{len(held_out):,} held out ({data.split})"
        )
        return data, held_out, TrainingBatches(pictures, view, recipe.batch_size, recipe.seed)

    def _network(self, recipe: Recipe, data: Data, pictures: Pictures) -> tuple[VGG, ModelConfig]:
        """The network at its start, and what will stand beside its weights."""
        import torch

        from verydeep.network.initialize import grow, initialize
        from verydeep.network.vgg import VGG

        architecture = Architecture(
            recipe.configuration, len(data.class_names), recipe.width, recipe.image_size, recipe.batch_norm
        )
        network = VGG(architecture, dropout=recipe.dropout)
        initialize(network, recipe.start, recipe.seed)
        if self.resume:
            return network, read_config(self.run_folder)
        if self.grow_from:
            shallow, tensors = read_model(self.grow_from)
            weights = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
            grown = grow(network, shallow.architecture, weights)
            preprocessing = shallow.preprocessing
            say(f"{', '.join(grown)} come from {self.grow_from}, the other layers from the start {recipe.start}")
        else:
            grown = ()
            preprocessing = measure_preprocessing(pictures, recipe.start)
        config = ModelConfig(
            architecture,
            preprocessing,
            data.class_names,
            TrainedOn(recipe.scale, recipe.mirror),
            provenance(
                recipe=asdict(recipe),
                recipe_name=self.recipe,
                data={
                    "name": self.data,
                    "fingerprint": data.train.fingerprint,
                    "num_images": len(pictures),
                    "num_unreadable": len(data.train) - len(pictures),
                    "split": data.split,
                },
                grown_from=str(self.grow_from) if self.grow_from else None,
                grown_layers=grown,
                threads=torch.get_num_threads(),
            ),
        )
        write_json(self.run_folder / SPLIT, {"split": data.split, "held_out": data.held_out.names})
        write_json(self.run_folder / CONFIG, config.to_json())
        return network, config

    def _train(
        self,
        recipe: Recipe,
        network: VGG,
        config: ModelConfig,
        batches: TrainingBatches,
        held_out: Pictures,
    ) -> None:
        from verydeep.engines.torch_engine import TorchScorer, choose_device
        from verydeep.evaluation.error_rates import error_rates
        from verydeep.evaluation.evaluate import Member, evaluate
        from verydeep.evaluation.protocols import Dense
        from verydeep.training.loop import Trainer, uses_bfloat16

        device = choose_device(self.device)
        precision = "bfloat16" if uses_bfloat16(recipe.precision, device) else "float32"
        protocol = Dense((config.trained_on.test_scale,), mirror=False)
        members = [Member(TorchScorer(network, config, device, precision), (protocol,))]

        def validate() -> float:
            return error_rates(evaluate(members, held_out), held_out.labels).top1_error

        say(
            f"configuration {recipe.configuration}, {num_parameters(config.architecture):,} parameters, "
            f"on {device} in {precision}"
        )
        trainer = Trainer(
            network,
            recipe,
            batches,
            validate,
            config,
            self.run_folder,
            device,
            num_workers=self.workers,
            max_unreadable=self.max_unreadable,
        )
        best = trainer.train(resume=self.resume)
        if trainer.unreadable:
            count = len(trainer.unreadable)
            say(f"{count} picture{'s were' if count > 1 else ' was'} left out: they cannot be read")
        print(f"{self.run_folder}: least validation error {best:.2f} % (top-1, Q = {protocol.scales[0]})")


def measure_preprocessing(pictures: Pictures, start: str, most: int = 20_000) -> Preprocessing:
    """Measure the mean RGB of a training set, and its deviation where the start wants inputs of unit variance.

    Args:
        pictures: the training set; of more than `most`, as many, evenly spaced, are measured.
        start: `normal` starts want levels of 0 to 255 less the mean, as in the paper.
        most: the number of pictures beyond which the mean no longer moves.

    """
    step = -(-len(pictures) // most)
    numbers = range(0, len(pictures), step)

    def readable() -> Iterator[NDArray[np.uint8]]:
        for number in numbers:
            try:
                yield np.asarray(pictures.source.read(number, MEASURED_SIDE))
            except PictureError:
                continue  # training names it when its turn comes

    mean, deviation = measure(readable())
    if start.startswith("normal"):
        deviation = np.ones(3)
    red, green, blue = (float(number) for number in mean.round(3))
    across = tuple(float(number) for number in np.maximum(deviation, 1.0).round(3))
    return Preprocessing((red, green, blue), (across[0], across[1], across[2]))


def tell_unreadable(lost: Sequence[Unreadable], allowed: int) -> None:
    """Name the pictures that cannot be read; end if they are more than allowed."""
    for picture in lost[:20]:
        say(f"left out: {picture.reason}")
    if len(lost) > allowed:
        raise DataError(
            f"{len(lost)} picture{'s' * (len(lost) > 1)} cannot be read, the first is {lost[0].reason}; "
            f"remove them, or leave them out by --max-unreadable {len(lost)}"
        )
