"""`verydeep train`: data + recipe -> run folder."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from verydeep.accounting import num_parameters
from verydeep.configurations import STARTS, Architecture, LocalResponseNorm
from verydeep.distributed import World, num_restarts, world
from verydeep.errors import DataError, DiskError, ModelError, TrainingError, UsageError, require
from verydeep.files import write_json
from verydeep.images.color import ColorShift, Preprocessing, Statistics
from verydeep.images.pictures import few
from verydeep.images.statistics import MOST_PICTURES, measure_pictures
from verydeep.notes import progress, say, say_skipped
from verydeep.run_folder import (
    CONFIG,
    SKIPPED,
    SPLIT,
    ModelConfig,
    TrainedOn,
    has_state,
    provenance,
    read_config,
    read_split,
    refuse_existing,
    story_of,
    write_training_images,
)
from verydeep.training.recipe import Recipe, named
from verydeep.training.skipped import Skipped
from verydeep.training.training_images import Hashes, training_hashes
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate, with_network

if TYPE_CHECKING:
    from verydeep.evaluation.posterior import Posteriors
    from verydeep.images.batches import TrainingBatches
    from verydeep.images.data import Data
    from verydeep.images.pictures import Pictures, Unreadable
    from verydeep.inference import Engine
    from verydeep.network.vgg import VGG

DEFAULT_RECIPE = "photos"

Hidden = tuple[int, int] | None  # as `Architecture.hidden`


@dataclass
class Train:
    """Train a network on labelled pictures.

    A named recipe gives every setting, and any of them can be changed. The settings below are shown with the
    values of the recipe that --recipe names.
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    """A folder with a folder of images for each class, or with train/ and val/ that hold these; or ImageNet's; or
    `digits`; or the folder or URL of what `verydeep shard` has made."""
    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder to make for the model, its journal and its state."""
    recipe: str = DEFAULT_RECIPE
    """Named recipe to start from: digits, cifar10, photos, paper, paper_384 or paper_jittered."""
    settings: OmitArgPrefixes[Recipe] = field(default_factory=Recipe)
    grow_from: Path | None = None
    """Run folder of a trained net A, whose first four convolutions and FC layers the network starts with."""
    start_from: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Run folder of an earlier run, or another library's weights, all of whose layers the network starts with; fc8
    is new where the classes are others. Its configuration, width and preprocessing are kept."""
    resume: FlagCreatePairsOff[bool] = False
    """Go on with an interrupted run, with the settings it was started with."""
    max_unreadable: int = 0
    """Pictures that may be left out because they cannot be read; RUN/skipped.jsonl names them."""
    save_seconds: float = 120.0
    """The run's state is saved at the end of each epoch, and within it at least so often,"""
    save_steps: int | None = None
    """and after as many steps."""
    workers: int | None = None
    """Processes that read pictures; by default none where they fit in memory, else one for each processor."""
    tensors: str | None = None
    """Which network to take from a checkpoint that holds several: state_dict_ema, say."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, mps."""

    def __post_init__(self) -> None:
        if self.tensors and self.start_from:
            self.start_from = Path(with_network(self.start_from, self.tensors))
        if self.tensors and self.grow_from:
            self.grow_from = Path(with_network(self.grow_from, self.tensors))

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

        with world() as here:
            try:
                self._run(here)
            except InterruptedRunError as interrupted:
                if not here.first:
                    sys.exit(1)
                raise InterruptedRunError(f"{interrupted}; go on with: {self._again()}") from None
            except DiskError as error:
                raise TrainingError(
                    f"the run cannot be saved: {error}; "
                    + (
                        f"what was saved before is whole: make room, and go on with: {self._again()}"
                        if (self.run_folder / CONFIG).is_file()
                        else "nothing has been trained yet: make room, remove the folder, and start again"
                    )
                ) from None

    def _again(self) -> str:
        """The command that goes on with the run."""
        return shlex.join(["verydeep", "train", self.data, str(self.run_folder), "--resume"])

    def _run(self, here: World) -> None:
        begun, recipe, hidden, held_out_before = here.from_first(self._begin)
        self._check(recipe)
        data = self._open(begun, held_out_before)
        skipped = Skipped(self.run_folder / SKIPPED, self.max_unreadable)
        pictures, held_out, lost = self._read(recipe, data, here)
        tell_unreadable(lost, self.max_unreadable)
        if not len(held_out):
            raise DataError(f"not one of the {len(data.held_out)} held-out pictures can be read")
        say(
            f"{len(pictures):,} images of {len(data.class_names)} classes to train on, "
            f"{len(held_out):,} to validate on ({data.split}); the classes are {few(data.class_names)}"
        )
        network = self._network(recipe, len(data.class_names), hidden)
        start = self.run_folder if begun else self.grow_from or self.start_from
        with progress("hashing", here.num_counted(len(data.train))) as advance:
            hashes = training_hashes(data.train, pictures, locate(start).path if start else None, here, advance)
        config = here.from_first(lambda: self._config(network, recipe, data, pictures, begun, hashes))
        if here.first:
            skipped.read()
            for picture in lost:
                skipped.add(picture)
        self._train(
            recipe, network, config, self._batches(recipe, config, pictures, here), held_out, skipped, here
        )

    def _begin(self) -> tuple[bool, Recipe, Hidden, frozenset[str]]:
        """Whether the run has begun before, its recipe, its hidden FC layers, and what it held out.

        The first process finds out for all.
        """
        # torchrun starts all processes again when it has lost one, with the same arguments.
        begun = self.resume or (num_restarts() > 0 and (self.run_folder / CONFIG).is_file())
        if begun:
            hidden = read_config(self.run_folder).architecture.hidden
            return True, self._recipe_to_resume(), hidden, read_split(self.run_folder)
        if num_restarts() == 0:
            refuse_existing(self.run_folder)
        start = self.start_from or self.grow_from
        return False, *self._recipe(), read_split(locate(start).path) if start else frozenset()

    def _recipe(self) -> tuple[Recipe, Hidden]:
        """The settings, and the hidden FC layers; what an earlier network decides is its own."""
        if self.grow_from and self.start_from:
            raise UsageError("--grow-from and --from exclude each other: a network has one start")
        if self.tensors and not (self.grow_from or self.start_from):
            raise UsageError("--tensors chooses a network of --from or --grow-from; give one of them")
        if self.settings.freeze != "none" and not (self.grow_from or self.start_from):
            raise UsageError("--freeze keeps layers as they came: it takes --from or --grow-from")
        if not self.start_from:
            return self.settings, None
        architecture = open_source(self.start_from)[0].architecture
        if architecture.local_response_norm != LocalResponseNorm():
            raise UsageError(
                f"--from {self.start_from} has {architecture.local_response_norm}; networks are trained with "
                f"{LocalResponseNorm()} alone"
            )
        kept = {name: getattr(architecture, name) for name in ("configuration", "width", "batch_norm")}
        for name, value in kept.items():
            if getattr(self.settings, name) not in (value, getattr(named(self.recipe), name)):
                raise UsageError(
                    f"--from {self.start_from} has {name} {value}; it cannot become {getattr(self.settings, name)}"
                )
        return replace(self.settings, **kept), architecture.hidden

    def _recipe_to_resume(self) -> Recipe:
        """The run's own settings."""
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

    def _check(self, recipe: Recipe) -> None:
        """Refuse what cannot be before the data is read, which may take long."""
        from verydeep.images.views import TrainingView
        from verydeep.inference.torch_engine import choose_device

        Architecture(recipe.config, 2, recipe.width, recipe.window, recipe.batch_norm)
        TrainingView(recipe.train_scale, recipe.window)
        if recipe.init not in STARTS:
            raise UsageError(f"no start is called {recipe.init!r}; there are {', '.join(STARTS)}")
        choose_device(self.device)
        for name, number in (("workers", self.workers), ("max-unreadable", self.max_unreadable)):
            if number is not None and number < 0:
                raise UsageError(f"--{name} is {number}; it has to be 0 or more")
        if self.save_seconds <= 0 or (self.save_steps is not None and self.save_steps < 1):
            raise UsageError("--save-seconds and --save-steps have to be more than 0")

    def _open(self, begun: bool, held_out: frozenset[str]) -> Data:
        """The data, of which the run holds out again what it held out, or what the run that it starts from did."""
        from verydeep.images.sources import open_data

        data = open_data(self.data, held_out) if begun else open_data(self.data).split_as(held_out)
        if len(data.class_names) < 2:
            raise DataError(
                f"{self.data} has the one class {data.class_names[0]!r}; telling classes apart takes two or more: "
                "give the folder that holds the class folders"
            )
        say_skipped(self.data, data.skipped)
        return data

    def _read(self, recipe: Recipe, data: Data, here: World) -> tuple[Pictures, Pictures, list[Unreadable]]:
        """Both parts, in memory where they fit, at the scale they are shown at; and what cannot be read."""
        from verydeep.images.pictures import KEEP_BYTES, keep_in_memory

        least, greatest = recipe.train_scale
        limit = KEEP_BYTES // here.local_size
        test_scale = TrainedOn(recipe.train_scale).test_scale
        train, validation = data.train, data.held_out
        with progress("reading", len(train) + len(validation)) as advance:
            pictures, lost = keep_in_memory(train, least if least == greatest else None, limit, advance)
            held_out, lost_too = keep_in_memory(validation, test_scale, limit, advance)
        return pictures, held_out, lost + lost_too

    def _batches(self, recipe: Recipe, config: ModelConfig, pictures: Pictures, here: World) -> TrainingBatches:
        from verydeep.images.batches import TrainingBatches
        from verydeep.images.views import TrainingView

        colors = config.principal_colors
        shift = ColorShift(colors, recipe.color_shift, recipe.color_shift_form) if colors else None
        view = TrainingView(recipe.train_scale, recipe.window, recipe.mirror, shift)
        return TrainingBatches(pictures, view, recipe.batch_size, recipe.seed, (here.rank, here.size))

    def _network(self, recipe: Recipe, num_classes: int, hidden: Hidden) -> VGG:
        """The network, as the recipe's start draws it."""
        from verydeep.network.initialize import initialize
        from verydeep.network.vgg import VGG

        architecture = Architecture(
            *(recipe.config, num_classes, recipe.width, recipe.window, recipe.batch_norm),
            hidden=hidden,
        )
        network = VGG(architecture, dropout=recipe.dropout)
        initialize(network, recipe.init, recipe.seed)
        return network

    def _config(
        self, network: VGG, recipe: Recipe, data: Data, pictures: Pictures, begun: bool, hashes: Hashes
    ) -> ModelConfig:
        """What stands beside the weights, on disk from now on; a new run's network gets what is not drawn."""
        import torch

        if begun:
            config = read_config(self.run_folder)
            self._check_data(config, data)
            if hashes is not None:  # files may have been saved anew since
                write_training_images(self.run_folder, hashes)
            if not has_state(self.run_folder):  # it was ended before it saved any: it begins again, as it began
                grown, started = (config.provenance.get(name) for name in ("grown_from", "started_from"))
                self._earlier(network, recipe, data, grown and Path(grown), started and Path(started))
            return config
        preprocessing, facts = self._earlier(network, recipe, data, self.grow_from, self.start_from)
        if preprocessing is None or recipe.color_shift:
            with progress("measuring colors", min(len(pictures), MOST_PICTURES)) as advance:
                statistics = measure_pictures(pictures, advance=advance)
        config = ModelConfig(
            network.architecture,
            preprocessing or preprocessing_for(recipe.init, statistics),
            data.class_names,
            TrainedOn(recipe.train_scale, recipe.mirror),
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
                **facts,
                threads=torch.get_num_threads(),
            ),
            statistics.principal_colors if recipe.color_shift else None,
        )
        split = {"split": data.split, "held_out": list(data.held_out.names)}
        write_json(self.run_folder / SPLIT, split)
        if hashes is not None:
            write_training_images(self.run_folder, hashes)
        write_json(self.run_folder / CONFIG, config.to_json())
        return config

    def _check_data(self, config: ModelConfig, data: Data) -> None:
        """Refuse to go on with other data: a run that has not saved a state yet would not notice."""
        begun_with = config.provenance.get("data", {}).get("fingerprint")
        if config.class_names != data.class_names or begun_with not in (None, data.train.fingerprint):
            raise TrainingError(
                f"{self.run_folder} was begun with other images or classes than {self.data} has now; bring the "
                "data back to what it was, or start a new run, by --from if it is to begin with this one's weights"
            )

    def _earlier(
        self, network: VGG, recipe: Recipe, data: Data, grow_from: Path | None, started_from: Path | None
    ) -> tuple[Preprocessing | None, dict[str, Any]]:
        """Put an earlier network's tensors into this one; give its preprocessing, and what to remember of it."""
        import torch

        from verydeep.network.initialize import grow, start_from

        path = grow_from or started_from
        if path is None:
            return None, {}
        earlier, tensors = open_source(path)
        weights = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
        if grow_from:
            grown = grow(network, earlier.architecture, weights)
            say(f"{', '.join(grown)} come from {path}, the other layers from the start {recipe.init}")
            return earlier.preprocessing, {"grown_from": str(path), "grown_layers": grown, **story_of(earlier)}
        new = start_from(network, data.class_names, earlier.architecture, earlier.class_names, weights)
        say(
            f"all layers come from {path}"
            + (f" but {', '.join(new)}, which have the start {recipe.init}" if new else "")
            + (f"; up to {recipe.freeze} they stay as they are" if recipe.freeze != "none" else "")
        )
        return earlier.preprocessing, {"started_from": str(path), "new_layers": new, **story_of(earlier)}

    def _train(
        self,
        recipe: Recipe,
        network: VGG,
        config: ModelConfig,
        batches: TrainingBatches,
        held_out: Pictures,
        skipped: Skipped,
        here: World,
    ) -> None:
        from verydeep.inference.torch_engine import TorchEngine, choose_device
        from verydeep.training.loop import Trainer, uses_bfloat16

        device = choose_device(self.device)
        precision = "bfloat16" if uses_bfloat16(recipe.precision, device) else "float32"
        engine = TorchEngine(network, config, device, precision)
        say(
            f"configuration {recipe.config}, {num_parameters(config.architecture):,} parameters, "
            f"on {f'{here.size} x ' if here.size > 1 else ''}{device} in {precision}"
        )
        trainer = Trainer(
            network,
            recipe,
            batches,
            self._validator(engine, held_out, skipped, here),
            config,
            self.run_folder,
            device,
            skipped,
            here,
            config.provenance.get("new_layers") or None,
            self.workers,
            self.save_seconds,
            self.save_steps,
        )
        best = trainer.train()
        if not here.first:
            return
        if len(skipped):
            say(
                f"left out, because {'they' if len(skipped) > 1 else 'it'} cannot be read: {len(skipped)} "
                f"picture{'s' * (len(skipped) > 1)}, named in {skipped.path}"
            )
        print(
            f"{self.run_folder}: least validation error {best:.2f} % (top-1, Q = {config.trained_on.test_scale})"
        )

    def _validator(self, engine: Engine, held_out: Pictures, skipped: Skipped, here: World) -> Callable[[], float]:
        """What tests the network as it is then: its top-1 error in %, dense at one scale, the same everywhere."""
        from verydeep.evaluation.error_rates import error_rates
        from verydeep.evaluation.evaluate import Member, evaluate
        from verydeep.evaluation.protocols import Dense
        from verydeep.images.pictures import readable

        members = [Member(engine, (Dense((engine.config.trained_on.test_scale,), mirror=False),))]

        def validate() -> float:
            lost: list[Unreadable] = []
            posteriors = evaluate(
                members, held_out, world=here, max_unreadable=self.max_unreadable, unreadable=lost.append
            )
            return here.from_first(lambda: top1_error(posteriors, lost))

        def top1_error(posteriors: Posteriors, lost: list[Unreadable]) -> float:
            for picture in lost:
                if skipped.add(picture):
                    say(f"left out: {picture.reason}")
            tested = readable(len(held_out), lost)
            if not len(tested):
                raise DataError(f"not one of the {len(held_out)} held-out pictures can be read")
            return error_rates(posteriors[tested], held_out.labels[tested]).top1_error

        return validate


def preprocessing_for(start: str, statistics: Statistics) -> Preprocessing:
    """Subtract the training set's mean, and divide by its deviation where the start wants inputs of unit variance.

    Args:
        start: `normal` starts want levels of 0 to 255 less the mean, as in the paper.
        statistics: of the training set.

    """
    deviation = np.ones(3) if start.startswith("normal") else statistics.deviation
    red, green, blue = (float(number) for number in statistics.mean.round(3))
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
