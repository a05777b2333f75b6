"""How a run starts: its settings, what it takes from an earlier network, and what its config.json says."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.accounting import multiply_adds
from verydeep.configurations import STARTS, Architecture, LocalResponseNorm
from verydeep.distributed import World
from verydeep.errors import ModelError, TrainingError, UsageError, check_choice, command_line, few, printable
from verydeep.images import imagenet
from verydeep.images.batches import TrainingBatches
from verydeep.images.color import ColorShift, Preprocessing, Statistics
from verydeep.images.data import Data
from verydeep.images.image_set import ImageSet
from verydeep.images.names import nfc
from verydeep.images.views import TrainingView
from verydeep.notes import say
from verydeep.run_folder import CONFIG, ModelConfig, read_split, read_training_names
from verydeep.run_folder.origin import provenance_of_earlier
from verydeep.training.recipe import Recipe
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate

if TYPE_CHECKING:
    from verydeep.network.vgg import VGG
    from verydeep.training.engine import TrainingEngine


FEW_IMAGES = 3000
"""With fewer, a network that starts from `FOR_FEW` errs less: docs/results/training.md has the figures."""

FOR_FEW = "tiny-imagenet"
AT_RANDOM = "none"  # a start: random weights, also with few images
OF_NETWORK = ("config", "width", "window", "batch_norm", "init", "train_scale")
"""Settings that say which network is trained, of which window and scale; with one of them, no start is chosen."""


@dataclass(frozen=True)
class Earlier:
    """The network that a run starts with.

    Attributes:
        name: as the user called it.
        grown: whether it is a net A, of which a deeper network takes some layers; otherwise all layers are taken.

    """

    name: str
    grown: bool

    @staticmethod
    def of_run(config: ModelConfig) -> Earlier | None:
        """What a run of which this is the config.json has started with."""
        facts = config.provenance
        name = facts.get("grown_from") or facts.get("started_from")
        return Earlier(str(name), grown="grown_from" in facts) if name else None


def check_recipe(recipe: Recipe) -> None:
    """Refuse, before the data is read, what cannot be trained.

    Raises:
        UsageError: there is no such network, or no such view of an image.

    """
    architecture = recipe.architecture(2)
    if recipe.freeze != "none":
        architecture.frozen_layers(recipe.freeze)
    TrainingView(recipe.train_scale, recipe.window)
    check_choice("initialisation", recipe.init, STARTS)


@dataclass(frozen=True)
class Beginning:
    """What is known of a run before the data is read.

    Attributes:
        config: of a run that is resumed; None for a new one.
        recipe: its settings.
        hidden: its hidden FC layers, as `Architecture.hidden`.
        held_out: names of the images that it held out, or those that the run it starts with did.
        earlier: the network that it starts with.

    """

    config: ModelConfig | None
    recipe: Recipe
    hidden: tuple[int, int] | None = None
    held_out: frozenset[str] = frozenset()
    earlier: Earlier | None = None

    def __post_init__(self) -> None:
        if self.recipe.freeze != "none" and not self.earlier:
            raise UsageError("`freeze` keeps given layers as they are: it needs `start_from` or `grow_from`")


def beginning_with(
    earlier: Earlier,
    config: ModelConfig,
    held_out: frozenset[str],
    recipe: Recipe,
    given: Mapping[str, Any],
    *,
    recipe_named: bool,
) -> Beginning:
    """A new run that starts with an earlier network; one all of whose layers are taken decides the architecture.

    It also decides the window and S of the training, unless the recipe is asked for, or they are.

    Args:
        earlier: that network.
        config: what stands beside it.
        held_out: names of the images that its training held out.
        recipe: as it was asked for.
        given: the settings in it that were asked for by themselves.
        recipe_named: whether the recipe was asked for.

    Raises:
        UsageError: another architecture was asked for.

    """
    architecture = config.architecture
    if earlier.grown:
        return Beginning(None, recipe, None, held_out, earlier)
    if architecture.local_response_norm != LocalResponseNorm():
        raise UsageError(
            f"`start_from` {earlier.name} has {architecture.local_response_norm}; networks are trained with "
            f"{LocalResponseNorm()} alone"
        )
    kept: dict[str, Any] = {
        "config": architecture.configuration,
        "width": architecture.width,
        "batch_norm": architecture.batch_norm,
    }
    for name, value in kept.items():
        if given.get(name, value) != value:
            raise UsageError(f"`start_from` {earlier.name} has {name} {value}; it cannot become {given[name]}")
    if not recipe_named and given.get("window", architecture.window) == architecture.window:
        kept["window"] = architecture.window
        if "train_scale" not in given:
            kept["train_scale"] = config.trained_on.scale
    return Beginning(None, recipe.with_settings(kept), architecture.hidden, held_out, earlier)


def is_at_random(name: str | PathLike[str]) -> bool:
    """Whether a start means random weights: the word alone, where no run is called so."""
    return fspath(name) == AT_RANDOM and not (Path(AT_RANDOM) / CONFIG).is_file()


def beginning_by_size(begin: Beginning, num_images: int, given: Mapping[str, Any]) -> Beginning:
    """A new run whose user has chosen no start: few images do better with a bundled model's layers.

    Args:
        begin: the run, from random weights.
        num_images: that it is trained on.
        given: the settings that were asked for.

    """
    if num_images >= FEW_IMAGES or not locate(FOR_FEW).embedded:  # a model of the user's may be called so
        return begin
    if chosen := [f"`{name}`" for name in OF_NETWORK if name in given]:
        say(
            f"note: {num_images:,} images are few to train from random weights; without {', '.join(chosen)} the "
            f"training starts from {FOR_FEW}"
        )
        return begin
    say(
        f"note: {num_images:,} images are few, so the training starts from {FOR_FEW}; "
        f"`start_from={AT_RANDOM}` starts from random weights"
    )
    earlier, config = Earlier(FOR_FEW, grown=False), open_source(FOR_FEW)[0]
    return beginning_with(earlier, config, frozenset(), begin.recipe, given, recipe_named=False)


def resumed(run: Path, config: ModelConfig, given: Mapping[str, Any], recipe_name: str | None = None) -> Beginning:
    """A run that is resumed with its own settings.

    Args:
        run: its folder.
        config: its config.json.
        given: settings that are asked for.
        recipe_name: the recipe that is asked for.

    Raises:
        ModelError: it was not trained.
        UsageError: settings are asked for that it does not have.

    """
    recorded = config.provenance.get("recipe")
    if recorded is None:
        raise ModelError(f"{run} was never trained, so there is nothing to resume; start a new run")
    try:
        recipe = Recipe.from_json(recorded)
        check_recipe(recipe)
    except ValueError as error:
        raise ModelError(f"{run / CONFIG} has a recipe that cannot be resumed: {printable(error)}") from None
    begun_with = config.provenance.get("recipe_name")
    if recipe_name and begun_with and recipe_name != begun_with:
        raise UsageError(f"{run} was begun with recipe {begun_with}, and is resumed with it; leave `recipe` out")
    asked = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    changed = [name for name, value in asked.items() if value != getattr(recipe, name) and name != "epochs"]
    if changed:
        raise UsageError(
            f"`resume` uses the run's own settings; {', '.join(changed)} cannot be changed: start a new "
            "run for that"
        )
    recipe = _extended(recipe, recipe.with_settings({"epochs": given.get("epochs", recipe.epochs)}).epochs)
    return Beginning(config, recipe, config.architecture.hidden, read_split(run), Earlier.of_run(config))


def _extended(recipe: Recipe, epochs: int) -> Recipe:
    """The same recipe with more epochs; says how that compares with a run that had them from its start.

    Raises:
        UsageError: they are fewer.

    """
    if epochs < recipe.epochs:
        raise UsageError(f"`epochs={epochs}` is less than the {recipe.epochs} of the run; it can only be raised")
    if epochs > recipe.epochs:
        same = "as in a run that had this number from its start"
        if recipe.schedule == "cosine":
            same = (
                "at the rates of the longer cosine from here on: the rate rises again, and the result is another "
                "than that of a run that had them from its start"
            )
        say(f"{epochs} epochs instead of {recipe.epochs}, {same}")
    return replace(recipe, epochs=epochs)


def check_same_data(run: Path, config: ModelConfig, data: Data, name: str) -> None:
    """Refuse to resume with other data, which is called `name`: a run without a saved state would not notice.

    Raises:
        TrainingError: the classes, or the training or validation images are others; the message says which.

    """
    facts = config.provenance.get("data") or {}
    same = facts.get("fingerprint") in (None, data.train.fingerprint)
    same_held_out = facts.get("held_out") in (None, data.held_out.fingerprint)
    if not _same_classes(config, data) or not same or not same_held_out:
        again = command_line("train", name, "NEW-RUN", "--from", run)
        raise TrainingError(
            f"the data has changed since {run} was begun: {_changes(run, config, data)}; restore it, or start a "
            f"new run, for example with this one's weights: {again}"
        )


def _same_classes(config: ModelConfig, data: Data) -> bool:
    """Whether a model's classes are those of the data, by number or by name."""
    return imagenet.words(config.class_names) == imagenet.words(data.class_names)


def _changes(run: Path, config: ModelConfig, data: Data) -> str:
    """Which classes and images of the data are new, and which are gone, a phrase."""
    classes = imagenet.words(config.class_names), imagenet.words(data.class_names)
    found = _changed("class", "classes", *classes)
    names = read_training_names(run)
    if names is not None:
        found += _changed("training image", "training images", names, data.train.names)
    found += _changed("validation image", "validation images", read_split(run), data.held_out.names)
    return ", ".join(found) or "its images or their classes differ"


def _changed(one: str, several: str, before: Iterable[str], now: Iterable[str]) -> list[str]:
    before, now = set(before), set(now)
    return [
        f"{len(names)} {one if len(names) == 1 else several} {how} ({few(sorted(names), 3)})"
        for names, how in ((now - before, "added"), (before - now, "removed"))
        if names
    ]


def facts_of(data: Data, num_lost: int) -> dict[str, Any]:
    """What provenance says about the data, of whose training images so many cannot be read."""
    return {
        "fingerprint": data.train.fingerprint,
        "held_out": data.held_out.fingerprint,
        "num_images": len(data.train) - num_lost,
        "num_unreadable": num_lost,
        "split": data.split,
    }


def make_network(recipe: Recipe, num_classes: int, hidden: tuple[int, int] | None, engine: TrainingEngine) -> VGG:
    """The network with random weights, as the recipe draws them; `hidden` as `Architecture.hidden`."""
    from verydeep.network.initialize import initialize
    from verydeep.network.vgg import VGG

    network = VGG(
        recipe.architecture(num_classes, hidden),
        dropout=recipe.dropout,
        engine="torch" if engine == "torch" else "auto",
    )
    initialize(network, recipe.init, recipe.seed)
    return network


def multiply_adds_of(begin: Beginning, num_classes: int) -> int:
    """Of one image of the network's window."""
    window = begin.recipe.window
    return multiply_adds(begin.recipe.architecture(num_classes, begin.hidden), window, window)


def make_batches(recipe: Recipe, config: ModelConfig, images: ImageSet, here: World) -> TrainingBatches:
    """What is shown in each step: of every batch the part of this process."""
    colors = config.principal_colors
    shift = ColorShift(colors, recipe.color_shift, recipe.color_shift_form) if colors else None
    view = TrainingView(recipe.train_scale, recipe.window, recipe.mirror, shift)
    return TrainingBatches(images, view, recipe.batch_size, recipe.seed, (here.rank, here.size))


def take_layers(
    network: VGG,
    recipe: Recipe,
    data: Data,
    earlier: Earlier,
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
) -> dict[str, Any]:
    """Copy the earlier network's layers, as far as they are taken; give what provenance says about it.

    Raises:
        UsageError, ModelError: the two networks do not go together.

    """
    import torch

    from verydeep.network.initialize import grow, start_from

    weights = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    rows = _rows_of(imagenet.words(data.class_names), imagenet.words(config.class_names))
    if earlier.grown:
        layers = grow(network, config.architecture, weights, rows)
        _check_frozen(recipe, network.architecture, taken=layers)
        say(
            f"{', '.join(layers)} come from {earlier.name}, the other layers are initialised anew ({recipe.init})"
            + _told_frozen(recipe)
        )
        return {"grown_from": earlier.name, "grown_layers": layers, **provenance_of_earlier(config)}
    new = start_from(network, config.architecture, weights, rows)
    _check_frozen(recipe, network.architecture, new=new)
    if recipe.rate_below != 1 and not new:
        say("note: `rate_below` changes nothing: no layer is new, so all have the full learning rate")
    say(
        f"all layers {f'but {few(new, quoted=False)} ' if new else ''}come from {earlier.name}"
        + (f"; {'it is' if len(new) == 1 else 'these are'} initialised anew ({recipe.init})" if new else "")
        + _told_frozen(recipe)
    )
    return {"started_from": earlier.name, "new_layers": new, **provenance_of_earlier(config)}


def _rows_of(class_names: Sequence[str], earlier: Sequence[str]) -> list[int] | None:
    """Where each class is among those of an earlier network; None where they are not the same classes."""
    ours, theirs = ([nfc(name) for name in names] for names in (class_names, earlier))
    return [theirs.index(name) for name in ours] if sorted(ours) == sorted(theirs) else None


def _told_frozen(recipe: Recipe) -> str:
    return f"; up to {recipe.freeze} they stay as they are" if recipe.freeze != "none" else ""


def _check_frozen(
    recipe: Recipe, architecture: Architecture, *, taken: Collection[str] | None = None, new: Collection[str] = ()
) -> None:
    """Make sure that no layer is frozen that has been drawn at random.

    Args:
        recipe: with the last layer that is not trained.
        architecture: of the network.
        taken: the layers that come from the earlier network; None for all but the new ones.
        new: those that do not.

    Raises:
        UsageError: one is; the message names the last layer that may be frozen.

    """
    if recipe.freeze == "none":
        return
    names = architecture.frozen_layers(recipe.freeze)
    drawn = [name for name in names if name in new or (taken is not None and name not in taken)]
    if not drawn:
        return
    before = names[: names.index(drawn[0])]
    advice = f"freeze up to {before[-1]} at most" if before else "leave `freeze` out"
    raise UsageError(f"`freeze={recipe.freeze}` would keep {drawn[0]} as it was drawn at random; {advice}")


def preprocessing_for(init: str, statistics: Statistics) -> Preprocessing:
    """Subtract the training set's mean, and divide by its deviation where the start wants inputs of unit variance.

    Args:
        init: `normal` starts want levels of 0 to 255 less the mean, as in the paper.
        statistics: of the training set.

    """
    deviation = np.ones(3) if init.startswith("normal") else statistics.deviation
    red, green, blue = (float(number) for number in statistics.mean.round(3))
    across = tuple(float(number) for number in np.maximum(deviation, 1.0).round(3))
    return Preprocessing((red, green, blue), (across[0], across[1], across[2]))
