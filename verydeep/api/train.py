"""`verydeep.train`: data + recipe -> a run folder with a trained model."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from verydeep.accounting import num_parameters, training_memory
from verydeep.arguments import checked
from verydeep.distributed import World, launched_at, num_restarts, world
from verydeep.errors import (
    DataError,
    DeniedError,
    DiskError,
    TrainingError,
    UsageError,
    check_least,
    command_line,
    escaped,
    few,
    require,
)
from verydeep.evaluation.test_set import Training, split_again, trained_on
from verydeep.files import write_json
from verydeep.images import imagenet
from verydeep.images.batches import check_share
from verydeep.images.color import Preprocessing
from verydeep.images.image_set import ImageSet, Unreadable, tell_unreadable
from verydeep.images.in_memory import keep_in_memory
from verydeep.images.sources import open_data, refuse_inside
from verydeep.images.statistics import MOST_IMAGES, measure_images
from verydeep.lock import writing_folder
from verydeep.notes import progress, say, say_skipped
from verydeep.processes import check_processes
from verydeep.reports.watched import open_run
from verydeep.results import Result
from verydeep.run_folder import (
    CONFIG,
    JOURNAL,
    SKIPPED,
    WEIGHTS,
    ModelConfig,
    TrainedOn,
    has_state,
    is_empty,
    provenance,
    read_config,
    read_split,
    read_training_images,
    refuse_existing,
    remove_unbegun,
    resume_command,
    write_training_images,
    write_training_names,
)
from verydeep.run_folder.origin import recorded
from verydeep.run_folder.split import write_split
from verydeep.training import start
from verydeep.training.journal import is_epoch, read_journal
from verydeep.training.recipe import DEFAULT_RECIPE, Recipe, check_names, find_recipe
from verydeep.training.start import Earlier
from verydeep.training.training_images import Hashes, training_hashes
from verydeep.training.unreadable import UnreadableLog
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate, with_network

if TYPE_CHECKING:
    import torch

    from verydeep.evaluation.posterior import Posteriors
    from verydeep.images.data import Data
    from verydeep.inference.engine import Engine
    from verydeep.network.vgg import VGG
    from verydeep.training.engine import TrainingEngine
    from verydeep.training.loop import Trainer


@dataclass(frozen=True, repr=False)
class Trained(Result):
    """A run that has come to its end.

    Attributes:
        run: its folder.
        best_error: least validation error, top-1 in %, with whole images at one scale.
        test_scale: that scale, Q.
        epochs: how many it has in all.
        num_unreadable: images that were left out.
        seconds: that this call took.

    """

    run: Path
    best_error: float
    test_scale: int
    epochs: int
    num_unreadable: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The attributes by their names."""
        return {**asdict(self), "run": str(self.run)}

    def __str__(self) -> str:
        return (
            f"{escaped(self.run)}: least validation error {self.best_error:.2f} % (top-1, Q = {self.test_scale})"
        )


@recorded
@checked
def train(
    data: str | PathLike[str],
    run: str | PathLike[str],
    *,
    recipe: str | Recipe | None = None,
    grow_from: str | PathLike[str] | None = None,
    start_from: str | PathLike[str] | None = None,
    resume: bool = False,
    max_unreadable: int = 0,
    save_seconds: float = 120.0,
    save_steps: int | None = None,
    workers: int | None = None,
    tensors: str | None = None,
    device: str = "auto",
    engine: Literal["auto", "native", "torch"] = "auto",
    **settings: Any,
) -> Trained:
    """Train a network on labelled images.

    A recipe gives the default of every setting; options override it. The help of the command shows the settings
    of the given recipe. Under torchrun, all processes train one network together.

    With fewer than 3,000 training images it starts from the bundled model tiny-imagenet, unless a start, a recipe
    or settings of the network are asked for. It then has that model's network, window and S.
    `verydeep.transfer` trains a classifier on the model's features, which takes seconds.

    Args:
        data: labelled images: a folder with a folder of images for each class, or with train/ and val/ that hold
            these; ImageNet's folder; `digits`; or the folder or URL that `verydeep.shard` made.
        run: run folder to make for the model, its journal and its state.
        recipe: named recipe to start from: digits, cifar10, photos, paper, paper_384 or paper_jittered (default:
            photos). In Python also a `Recipe`.
        grow_from: run folder of a trained net A, whose first four convolutions and FC layers the network starts
            with; fc8 is new where the classes are others.
        start_from: an earlier run, or another library's weights, all of whose layers the network starts with; fc8
            is new where the classes are others. Its configuration, width and preprocessing are kept; its window
            and S too, unless a recipe or a setting says otherwise. `none` means random weights (default:
            tiny-imagenet with few images, else random weights).
        resume: continue an interrupted run, with the settings it was started with. `epochs` may be more than it
            had: a finished run is trained on.
        max_unreadable: continue if up to this many images cannot be read; RUN/skipped.jsonl lists them.
        save_seconds: most seconds between two saves of the run's state; it is also saved at the end of each epoch.
        save_steps: most steps between two saves of the run's state (default: no limit).
        workers: processes that read images (default: none where they fit in memory, else one for each processor).
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.
        device: where to compute: auto, cpu, cuda or mps.
        engine: what computes 3x3 convolutions: our own kernels on the CPU (native) or torch. Auto is native where
            it can train and is faster. A resumed run keeps its own.
        settings: fields of `verydeep.Recipe` that are to differ from the recipe's.

    Raises:
        UsageError: the request cannot be carried out.
        BusyError: another process trains in `run`.
        DataError: there is no such data, or more images than allowed cannot be read.
        ModelError: an earlier network cannot be used.
        TrainingError: the training has diverged, was interrupted (`InterruptedRunError`), or cannot be saved.

    """
    require("torch", "train", "training")
    begun, folder = time.monotonic(), Path(run)
    at_random = start_from is not None and start.is_at_random(start_from)
    if at_random:
        start_from = None
    origin = start_from or grow_from
    if grow_from and (start_from or at_random):
        raise UsageError("`grow_from` and `start_from` cannot be combined: a network has one start")
    if tensors and not origin:
        raise UsageError("`tensors` chooses a network of `start_from` or `grow_from`; give one of them")
    check_least("max_unreadable", max_unreadable, 0)
    if save_steps is not None:
        check_least("save_steps", save_steps, 1)
    check_processes(workers or 0, "workers", 0)
    if not save_seconds > 0:
        raise UsageError(f"`save_seconds` is {save_seconds}; it must be more than 0")
    from verydeep.inference.torch_engine import choose_device
    from verydeep.training.engine import choose_training_engine

    earlier = Earlier(with_network(origin, tensors), grown=not start_from) if origin else None
    name, chosen = None, recipe
    if not isinstance(chosen, Recipe):
        name = chosen or DEFAULT_RECIPE
        chosen = find_recipe(name)
    if resume:  # the settings are compared with the run's own, and need not fit this recipe
        check_names(settings)
        given = settings if name else asdict(chosen) | settings
    else:
        chosen = chosen.with_settings(settings)
        given = {setting: getattr(chosen, setting) for setting in settings} if name else asdict(chosen)
    if name and not resume and (why := chosen.ineffective(settings)):
        raise UsageError(why)
    if "rate_below" in settings and not resume and not start_from:
        raise UsageError("`rate_below` is of layers that come from another network: it needs `start_from`")
    asked = {"recipe_name": name, "data": {"name": fspath(data)}}
    with world() as here, ExitStack() as stack:

        def begin_alone() -> start.Beginning:
            stack.enter_context(writing_folder(folder))
            named = name if recipe is not None else None
            if resume or _restarted(folder, launches):
                return _resumed(folder, fspath(data), given, named, earlier, at_random=at_random)
            return _begin(folder, fspath(data), chosen, given, earlier, recipe_named=recipe is not None)

        try:
            launches = here.gather(launched_at())
            begin = here.from_first(begin_alone)
            start.check_recipe(begin.recipe)
            where = choose_device(device)
            _check_gpus(where, here)
            opened = _open(fspath(data), begin, here)
            if not (begin.config or origin or at_random or recipe):
                begin = start.beginning_by_size(begin, len(opened.train), given)
            # Runs that do not tell their engine were begun when torch was the only one.
            before = begin.config.provenance.get("engine", "torch") if begin.config else None
            work = begin.recipe.batch_size * start.multiply_adds_of(begin, len(opened.class_names))
            asked["engine"] = choose_training_engine(engine, begin.recipe.precision, where, before, work)
            trainer = _trainer(folder, begin, opened, where, max_unreadable, asked, here)
            trainer.num_workers, trainer.save_seconds, trainer.save_steps = workers, save_seconds, save_steps
            if odd := begin.recipe.at_the_edge():
                say(f"note: {odd}")
            best_error = trainer.train()
        except DiskError as error:
            raise TrainingError(f"the run cannot be saved: {error}; {_advice(folder, error)}") from None
    lost, scale = len(trainer.unreadable), trainer.config.trained_on.test_scale
    if lost:
        say(f"skipped {lost} image{'s' * (lost > 1)} that cannot be read; see {trainer.unreadable.path}")
    return Trained(folder, best_error, scale, trainer.epochs, lost, time.monotonic() - begun)


def _advice(run: Path, error: DiskError) -> str:
    """What to do about a run that cannot be saved, where that is more than the error says."""
    full = _may_be_full(error)
    if os.path.isfile(run / CONFIG):  # noqa: PTH113  # it does not fail where the folder cannot be read
        return f"what was saved before is intact: {'make room, and ' if full else ''}resume with `resume=True`"
    return "nothing has been trained yet" + (": make room, and start again" if full else "")


def _may_be_full(error: DiskError) -> bool:
    """Whether room may be what is lacking, and not leave to write."""
    cause = error.__context__
    return not isinstance(error, DeniedError) and getattr(cause, "errno", None) != errno.EROFS


def _check_gpus(device: torch.device, here: World) -> None:
    """Make sure that each process of this machine has a GPU of its own, where they train on GPUs.

    Raises:
        UsageError: there are fewer GPUs.

    """
    import torch

    if device.type == "cuda" and here.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{here.local_size} processes train on this machine, which has {torch.cuda.device_count()} "
            f"GPU{'s' * (torch.cuda.device_count() != 1)}: start one for each GPU, or use `device=cpu`"
        )


def _restarted(run: Path, launches: Sequence[float | None]) -> bool:
    """Whether torchrun has begun this run, has lost a process, and starts all again, with the same arguments.

    A run that was there before is none of its own: that was refused, for which torchrun starts all again, too.

    Args:
        run: the run folder.
        launches: when each process's torchrun was started, as far as that is known.

    """
    if num_restarts() == 0 or not (run / CONFIG).is_file():
        return False
    known = [launch for launch in launches if launch is not None]
    written = max(path.stat().st_mtime for path in (run / CONFIG, run / JOURNAL) if path.is_file())
    return not known or written >= min(known)


def _resumed(
    run: Path,
    data: str,
    given: dict[str, Any],
    recipe_name: str | None,
    earlier: Earlier | None,
    *,
    at_random: bool,
) -> start.Beginning:
    """With what a run is resumed: its own settings; on the first process for all.

    Raises:
        UsageError: there is no run, or none that can be resumed so.

    """
    if is_empty(run):
        raise UsageError(f"{run} has no run to resume; start one without `resume`")
    config = read_config(run)
    begun = start.resumed(run, config, given, recipe_name)
    if (earlier or at_random) and earlier != begun.earlier:
        began = f"from {begun.earlier.name}" if begun.earlier else "from random weights"
        raise UsageError(f"{run} began {began}, and is resumed so: leave `grow_from` and `start_from` out")
    whole = (config.provenance.get("recipe") or {}).get("epochs") == 1
    if not has_state(run) and (run / WEIGHTS).is_file() and (whole or _num_epochs(run) != 1):
        # After the first epoch of several a run may have been killed between the two. It begins anew.
        again = command_line("train", data, "NEW-RUN", "--from", run)
        raise UsageError(
            f"{run} has a trained model and no state to resume from; start a new run with it: {again}"
        )
    return begun


def _num_epochs(run: Path) -> int:
    """How many epochs a run has told of."""
    return sum(map(is_epoch, read_journal(run / JOURNAL)))


def _begin(
    run: Path,
    data: str,
    recipe: Recipe,
    given: dict[str, Any],
    earlier: Earlier | None,
    *,
    recipe_named: bool,
) -> start.Beginning:
    """Find out, on the first process for all, with what a new run begins, before the data is read."""
    refuse_inside(run, data)
    _refuse_run(run, data)
    remove_unbegun(run)
    refuse_existing(run)
    if earlier is None:
        return start.Beginning(None, recipe)
    config = open_source(earlier.name)[0]
    held_out = read_split(locate(earlier.name).path)
    return start.beginning_with(earlier, config, held_out, recipe, given, recipe_named=recipe_named)


def _refuse_run(run: Path, data: str) -> None:
    """Make sure that a folder has no run; where it has one, say how that goes on.

    Raises:
        UsageError: it has one.

    """
    if not (run / CONFIG).is_file() or "recipe" not in read_config(run).provenance:
        return
    if (run / WEIGHTS).is_file() and not has_state(run):  # a copy of a trained model
        return
    seen = open_run(run).headline() if (run / JOURNAL).is_file() else None
    if seen is None or seen.state != "finished":
        said = f"is a run that has not finished; resume it with `{resume_command(data, run)}`, or"
        if not has_state(run):
            again = resume_command(data, run)
            said = f"is a run that has saved nothing yet; begin it anew with `{again}`, remove that folder, or"
    elif seen.epochs and seen.epoch == seen.epochs:
        more = resume_command(data, run, epochs=2 * seen.epochs)
        said = f"is a run that has finished (epochs: {seen.epochs}); add more with `{more}`, or"
    else:
        said = f"is a run that has finished in epoch {seen.epoch}, as its validation error no longer improved;"
    raise UsageError(f"{run} {said} choose another name")


def _open(name: str, begin: start.Beginning, here: World) -> Data:
    """The data, of which the run holds out again what it held out, or what the run that it starts with did."""
    if begin.config or not begin.earlier:
        data = open_data(name, begin.held_out)
    else:
        before = locate(begin.earlier.name).path
        training = Training(read_training_images(before), begin.held_out)
        data = open_data(name)
        held_out = here.from_first(lambda: split_again(data, training).held_out_before)
        data = replace(data, held_out_before=held_out)
    if len(data.class_names) < 2:
        raise DataError(
            f"{name} has the one class {data.class_names[0]!r}; training needs at least two: "
            "give the folder that holds the class folders"
        )
    say_skipped(name, data.skipped)
    return data


def _trainer(
    run: Path,
    begin: start.Beginning,
    data: Data,
    device: torch.device,
    max_unreadable: int,
    asked: dict[str, Any],
    here: World,
) -> Trainer:
    """Read the images, make the network, and write what the run folder begins with."""
    from verydeep.inference.torch_engine import TorchEngine
    from verydeep.training.engine import uses_bfloat16
    from verydeep.training.loop import Trainer

    recipe = begin.recipe
    images, held_out, lost, lost_too = _read(data, recipe, max_unreadable, here, begun=begin.config is not None)
    check_share(recipe.batch_size, len(images), here.size)
    _check_alike(images, held_out, here)
    network = start.make_network(recipe, len(data.class_names), begin.hidden, asked["engine"])
    hashes = _hashes(run, begin, data, {image.name for image in lost}, here)
    config = here.from_first(lambda: _config(run, begin, network, data, images, hashes, len(lost), asked))
    log = UnreadableLog(run / SKIPPED, max_unreadable)
    if here.first and begin.config is None:
        _tell_of_validation(data, {image.name for image in lost_too}, hashes)
    if here.first:
        log.read()
        for image in (*lost, *lost_too):
            log.add(image)
    engine, batch_size = asked["engine"], min(recipe.batch_size, len(images))
    precision = "bfloat16" if uses_bfloat16(recipe.precision, device, engine) else "float32"
    more = f", width {recipe.width:g}" * (recipe.width != 1) + ", batch norm" * recipe.batch_norm
    say(
        f"configuration {recipe.config}{more}, {num_parameters(config.architecture):,} parameters, window of "
        f"{recipe.window} pixels, batches of {batch_size}: about {_memory(batch_size, config, engine, here)}, "
        f"on {f'{here.size} x ' if here.size > 1 else ''}{device} in {precision} ({engine} engine)"
    )
    if batch_size < recipe.batch_size:
        rate = recipe.learning_rate * batch_size / recipe.batch_size
        say(f"note: there are fewer images than a batch of {recipe.batch_size}; the learning rate is {rate:.2g}")
    validate = _validator(TorchEngine(network, config, device, precision), held_out, log, here)
    batches = start.make_batches(recipe, config, images, here)
    new_layers = config.provenance.get("new_layers") or None
    return Trainer(network, recipe, batches, validate, config, run, device, log, here, new_layers)


def _memory(batch_size: int, config: ModelConfig, engine: TrainingEngine, here: World) -> str:
    """Memory of each process, as a person is told it."""
    share = -(-batch_size // here.size)
    count = training_memory(config.architecture, share, native=engine == "native").total
    return f"{count / 1e9:.1f} GB of memory" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB of memory"


def _read(
    data: Data, recipe: Recipe, max_unreadable: int, here: World, *, begun: bool
) -> tuple[ImageSet, ImageSet, list[Unreadable], list[Unreadable]]:
    """Both parts, in memory where they fit, at the scale they are shown at; and what of each cannot be read."""
    from verydeep.images.in_memory import KEEP_BYTES  # now: tests set it

    least, greatest = recipe.train_scale
    limit = KEEP_BYTES // here.local_size
    with progress("reading", len(data.train) + len(data.held_out), "images") as advance:
        images, lost = keep_in_memory(data.train, least if least == greatest else None, limit, advance)
        test_scale = TrainedOn(recipe.train_scale).test_scale
        held_out, lost_too = keep_in_memory(data.held_out, test_scale, limit, advance)
    tell_unreadable(lost + lost_too, max_unreadable, begun=begun)
    if len(lost) == len(images):
        raise DataError("none of the training images can be read; replace them, or add images")
    if len(lost_too) == len(held_out):
        raise DataError(f"none of the {len(held_out)} held-out images can be read")
    say(
        f"{len(images) - len(lost):,} images of {len(data.class_names)} classes to train on, "
        f"{len(held_out) - len(lost_too):,} to validate on ({data.split}); the classes are "
        f"{few(imagenet.words(data.class_names))}"
    )
    if lost:
        names = {image.name for image in lost}
        left = {int(label) for name, label in zip(images.names, images.labels, strict=True) if name not in names}
        if gone := [name for label, name in enumerate(data.class_names) if label not in left]:
            say(f"note: of {few(imagenet.words(tuple(gone)))} no training image can be read")
    return images, held_out, lost, lost_too


def _check_alike(images: ImageSet, held_out: ImageSet, here: World) -> None:
    """Make sure that all processes have the same images: each takes its part of every batch.

    Raises:
        DataError: one has others, as on a machine whose copy of the data differs.

    """
    if here.size == 1:
        return
    mine = (len(images), images.fingerprint, len(held_out), held_out.fingerprint)

    def compare() -> None:
        other = next((rank for rank, theirs in enumerate(every) if theirs != every[0]), None)
        if other is None:
            return
        raise DataError(
            f"process {other} has {every[other][0]:,} training and {every[other][2]:,} validation images, the "
            f"first {every[0][0]:,} and {every[0][2]:,}, or others; all machines need the same copy of the data"
        )

    every = here.gather(mine)
    here.from_first(compare)


def _hashes(run: Path, begin: start.Beginning, data: Data, lost: Collection[str], here: World) -> Hashes:
    """Of the images that are trained on, and of those that the network was trained on before."""
    before = run if begin.config else locate(begin.earlier.name).path if begin.earlier else None
    with progress("hashing", here.num_counted(len(data.train)), "images") as advance:
        return training_hashes(data.train, lost, before, here, advance)


def _config(
    run: Path,
    begin: start.Beginning,
    network: VGG,
    data: Data,
    images: ImageSet,
    hashes: Hashes,
    num_lost: int,
    asked: dict[str, Any],
) -> ModelConfig:
    """What stands beside the weights, on disk from now on; the network gets the layers that are not drawn."""
    config = begin.config
    if config:
        start.check_same_data(run, config, data, asked["data"]["name"])
    preprocessing: Preprocessing | None = None
    facts: dict[str, Any] = {}
    if begin.earlier and not (config and has_state(run)):  # without a state it begins as it began
        source, tensors = open_source(begin.earlier.name)
        preprocessing = source.preprocessing
        facts = start.take_layers(network, begin.recipe, data, begin.earlier, source, tensors)
    if config is None:
        facts |= asked | {"data": asked["data"] | start.facts_of(data, num_lost)}
        config = _new_config(begin.recipe, network, data, images, preprocessing, facts)
        write_split(run, data.split, data.held_out.names)
        write_training_names(run, data.train.names)
    else:
        changes: dict[str, Any] = {}
        if begin.recipe.epochs != config.provenance["recipe"]["epochs"]:
            before = [*config.provenance.get("epochs_before", ()), config.provenance["recipe"]["epochs"]]
            changes = {"recipe": asdict(begin.recipe), "epochs_before": before}
        if asked["engine"] != config.provenance.get("engine"):
            changes["engine"] = asked["engine"]
        if changes:
            config = replace(config, provenance=config.provenance | changes)
    if hashes is not None:  # of a run that is resumed too: files may have been saved anew since
        write_training_images(run, hashes)
    if config is not begin.config:  # last, as a folder with it is a run that has begun
        write_json(run / CONFIG, config.to_json())
    return config


def _tell_of_validation(data: Data, lost: Collection[str], hashes: Hashes) -> None:
    """Note classes without validation images, and validation images that are trained on: the error hides both."""
    readable = [number for number, name in enumerate(data.held_out.names) if name not in lost]
    held_out = data.held_out.select(readable)
    names = imagenet.words(data.class_names)
    missing = [name for label, name in enumerate(names) if label not in held_out.labels]
    if missing:
        say(f"note: there are no images to validate on of {few(missing)}")
    with progress("comparing with the training images", len(held_out)) as advance:
        copies = trained_on(held_out, [Training(hashes, frozenset())], advance, by_name=False)
    if count := int(copies.sum()):
        which = few([name for name, is_copy in zip(held_out.names, copies, strict=True) if is_copy], 2)
        say(
            f"note: the network is trained on {count:,} of the {len(held_out):,} images to validate on, or on "
            f"copies of them ({which}), so the validation error is too low"
        )


def _new_config(
    recipe: Recipe,
    network: VGG,
    data: Data,
    images: ImageSet,
    preprocessing: Preprocessing | None,
    facts: dict[str, Any],
) -> ModelConfig:
    import torch

    if preprocessing is None or recipe.color_shift:
        with progress("measuring colors", min(len(images), MOST_IMAGES), "images") as advance:
            statistics = measure_images(images, advance=advance)
    return ModelConfig(
        network.architecture,
        preprocessing or start.preprocessing_for(recipe.init, statistics),
        imagenet.words(data.class_names),
        TrainedOn(recipe.train_scale, recipe.mirror),
        provenance(recipe=asdict(recipe), **facts, threads=torch.get_num_threads()),
        statistics.principal_colors if recipe.color_shift else None,
    )


def _validator(engine: Engine, held_out: ImageSet, log: UnreadableLog, here: World) -> Callable[[], float]:
    """What tests the network as it is then: its top-1 error in %, dense at one scale, the same everywhere."""
    from verydeep.evaluation.error_rates import error_rates
    from verydeep.evaluation.evaluate import Member, evaluate
    from verydeep.evaluation.protocols import Dense

    members = [Member(engine, (Dense((engine.config.trained_on.test_scale,), mirror=False),))]

    def leave_out(image: Unreadable) -> None:
        if log.add(image):
            say(f"skipped: {image.reason}")

    def validate() -> float:
        posteriors = evaluate(members, held_out, world=here, max_unreadable=log.most, unreadable=leave_out)
        return here.from_first(lambda: top1_error(posteriors))

    def top1_error(posteriors: Posteriors) -> float:
        tested = np.isfinite(posteriors).all(1)
        if not tested.any():
            raise DataError(f"none of the {len(held_out)} held-out images can be read")
        return error_rates(posteriors[tested], held_out.labels[tested]).top1_error

    return validate
