"""Section 3.1 as data: one frozen dataclass, and the named recipes beside it.

A recipe is everything about a training but the data and the place. The command line starts from a named one and
changes fields. No torch here: naming and showing a recipe costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Literal

from verydeep.arguments import check_fields
from verydeep.configurations import Architecture
from verydeep.errors import UsageError, check_choice, did_you_mean
from verydeep.training.schedules import SCHEDULES
from verydeep.typed import as_type

Precision = Literal["auto", "float32", "bfloat16"]
ShiftForm = Literal["eigenvalue", "root"]


DEFAULT_RECIPE = "photos"
SHORT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size", "arch": "config"}
"""Settings as other programs call them, and what they are called here."""

RENAMED = {"configuration": "config", "image_size": "window", "start": "init", "scale": "train_scale"}
"""Settings as they were called before, in runs and studies, and what they are called now."""


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a run or a study, by their names of today."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are the paper's.

        recipe = verydeep.Recipe(config="A", width=0.25, window=32, train_scale=(36, 40), epochs=20)
        verydeep.train("photos", "run", recipe=recipe)

    `train` also takes the name of a recipe, and settings by their names: `train("photos", "run", epochs=20)`.

    Attributes:
        config: column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, which is B with one 5x5 layer for each pair.
        width: factor on the number of channels of every layer.
        window: side of the network's input in training, in pixels; a multiple of 32.
        batch_norm: batch normalization after each convolution (not in the paper).
        dropout: probability of dropping a hidden unit of fc6 and fc7.
        init: how weights are drawn: he, glorot, normal or normal-literal.
        train_scale: S, the smaller side of the rescaled training image: its least and its greatest value, between
            which it is drawn for each image. The command line writes 256, or 256:512.
        mirror: show half of the images mirrored.
        color_shift: standard deviation of the random shift along each principal color of the training set; 0 for
            no shift.
        color_shift_form: the shift is in proportion to the eigenvalue, as in the paper, or to its root, some four
            times as much.
        epochs: most passes over the training set.
        batch_size: images in a step.
        learning_rate: the learning rate at its highest.
        momentum: momentum of stochastic gradient descent.
        weight_decay: weight decay of convolutions and FC layers.
        decay_all: weight decay on biases and normalization too.
        schedule: how the learning rate falls. plateau: divide it by ten when the validation error stops improving,
            three times; steps: divide it by ten after each of the milestones; cosine: lower it to zero along half
            a cosine.
        patience: epochs without a better validation error after which a plateau is reached.
        milestones: epochs after which the schedule steps divides the learning rate by ten.
        warmup_epochs: epochs over which the learning rate rises from zero.
        rate_below: after starting from other weights with other classes: factor on the learning rate of the layers
            that are not new.
        freeze: after starting from other weights: the last layer that is not trained, such as conv3_3, nor any
            below it.
        precision: precision of matrix products: auto is bfloat16 where the device multiplies it, else float32. The
            native engine has bfloat16 on CPUs that multiply it by an instruction.
        gradients: precision in which several processes exchange their gradients: bfloat16 halves the traffic.
        seed: seed of the weights, the order of the images, their views and dropout.

    Raises:
        UsageError: a setting is out of its range, or does not fit another.

    """

    config: str = "D"
    width: float = 1.0
    window: int = 224
    batch_norm: bool = False
    dropout: float = 0.5
    init: str = "normal"
    train_scale: tuple[int, int] = (256, 256)
    mirror: bool = True
    color_shift: float = 0.1
    color_shift_form: ShiftForm = "eigenvalue"
    epochs: int = 74
    batch_size: int = 256
    learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_all: bool = False
    schedule: str = "plateau"
    patience: int = 5
    milestones: tuple[int, ...] = ()
    warmup_epochs: float = 0.0
    rate_below: float = 1.0
    freeze: str = "none"
    precision: Precision = "auto"
    gradients: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("train_scale", "milestones"):  # a list is as good, and is compared with a tuple later
            if isinstance(given := getattr(self, name), list):
                object.__setattr__(self, name, tuple(given))
        check_fields(self)
        check_choice("schedule", self.schedule, SCHEDULES)
        limits: dict[str, tuple[float, float]] = {
            "dropout": (0, 0.999),
            "color_shift": (0, 100),
            "epochs": (1, 10**6),
            "batch_size": (1, 10**6),
            "learning_rate": (1e-12, 10**6),
            "momentum": (0, 0.9999),
            "weight_decay": (0, 10**6),
            "patience": (1, 10**6),
            "warmup_epochs": (0, 10**6),
            "rate_below": (0, 10**6),
            "seed": (0, 2**63 - 1),
        }
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"`{name}` is {getattr(self, name)}; it must be from {least} to {most}")
        rising = all(one < next_one for one, next_one in pairwise([0, *self.milestones]))
        if (self.schedule == "steps") != bool(self.milestones) or not rising:
            raise UsageError(
                f"`schedule` {self.schedule} and `milestones` {list(self.milestones)} do not go together: "
                "`schedule=steps` takes `milestones`, rising epochs from 1 on after which the rate is divided by "
                "ten; no other does"
            )

    def architecture(self, num_classes: int, hidden: tuple[int, int] | None = None) -> Architecture:
        """Its network, for so many classes; `hidden` as `Architecture` takes it."""
        return Architecture(self.config, num_classes, self.width, self.window, self.batch_norm, hidden=hidden)

    def with_settings(self, settings: Mapping[str, Any]) -> Recipe:
        """The same recipe with some settings changed, by their names.

        Raises:
            UsageError: no setting has such a name, or a value is out of its range.

        """
        check_names(settings)
        return replace(self, **settings)

    def ineffective(self, given: Collection[str]) -> str | None:
        """Say why one of the settings that were given changes nothing; None where all do."""
        if "patience" in given and self.schedule != "plateau":
            return f"`patience` is of `schedule=plateau`, and the schedule is {self.schedule}"
        if "color_shift_form" in given and not self.color_shift:
            return "`color_shift_form` is of `color_shift`, which is 0"
        return None

    def at_the_edge(self) -> str | None:
        """What is odd about the schedule in so few epochs; None where it runs its course."""
        if self.warmup_epochs >= self.epochs:
            return (
                f"the learning rate never falls, as `warmup_epochs` {self.warmup_epochs:g} is not below `epochs` "
                f"{self.epochs}; use less of the one or more of the other"
            )
        late = [milestone for milestone in self.milestones if milestone >= self.epochs]
        if late:
            return f"epoch {late[0]} of `milestones` is not reached, as the training has {self.epochs} epochs"
        return None

    @staticmethod
    def from_json(settings: Any) -> Recipe:
        """Read back what `dataclasses.asdict` and JSON have made of a recipe.

        Raises:
            ValueError: a setting is not known, or of another type or range.

        """
        recipe: Recipe = as_type(Recipe, renamed(as_type(dict[str, Any], settings, "the recipe")), "the recipe")
        return recipe


def check_names(settings: Collection[str]) -> None:
    """Make sure that settings of a recipe are so called.

    Raises:
        UsageError: there is no such setting; the message names the near one.

    """
    known = [field.name for field in fields(Recipe)]
    for name in settings:
        if name not in known:
            now = did_you_mean(SHORT.get(name, name), known)
            if name in RENAMED:
                now = f"; it is called `{RENAMED[name]}` now"
            raise UsageError(f"no setting of a recipe is called {name!r}{now}")


def paper() -> Recipe:
    """Section 3.1, for ImageNet.

    Command: verydeep train IMAGENET RUN --recipe paper --grow-from RUN_A
    Time: two to three weeks on four GPUs of 2014 (the paper); not run by us.
    Result: the paper's Table 3: 27.0 % top-1 error for D at S = Q = 256.
    """
    return Recipe()


def paper_384() -> Recipe:
    """Section 3.1's net of S = 384, which starts from the one of S = 256 with a tenth of its rate.

    Command: verydeep train IMAGENET RUN_384 --recipe paper_384 --from RUN_256
    Time: not run by us.
    Result: the paper's Table 3: 26.8 % top-1 error for D at S = Q = 384.
    """
    return replace(paper(), train_scale=(384, 384), learning_rate=1e-3)


def paper_jittered() -> Recipe:
    """Section 3.1's net of scale jittering: all layers of the one of S = 384, trained on with S from [256;512].

    Command: verydeep train IMAGENET RUN_JITTERED --recipe paper_jittered --from RUN_384
    Time: not run by us.
    Result: the paper's Table 3: 25.6 % top-1 error for D at Q = 384.
    """
    return replace(paper(), train_scale=(256, 512), learning_rate=1e-3)


def digits() -> Recipe:
    """Train on the embedded handwritten digits: the whole story in seconds.

    Command: verydeep train digits RUN --recipe digits [--config D --grow-from RUN_OF_A]
    Time: 8 s of training for A, 10 s for D (2 cores of an AMD EPYC of the Zen 4 kind).
    Result: 0.56 % top-1 error on the 359 held-out digits for A, 1.95 % for D grown from it (n = 1, seed 0, two
    threads; with one, which rounds otherwise, 1.67 % and 2.23 %).
    """
    return Recipe(
        config="A",
        width=0.125,
        window=32,
        batch_norm=True,
        dropout=0.3,
        init="he",
        train_scale=(36, 36),
        mirror=False,  # a mirrored digit is not a digit
        color_shift=0,
        epochs=15,
        batch_size=32,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=1,
    )


def cifar10() -> Recipe:
    """Train on CIFAR-10, as a folder of images of 32x32 pixels.

    Command: verydeep train cifar10 RUN --recipe cifar10
    Time: 23 minutes (2 cores of an AMD EPYC of the Zen 4 kind, torch in bfloat16).
    Result: 14.2 % top-1 error on the 10,000 test images, dense at Q = 36 with mirror images; 13.8 % at
    Q = 36, 38 and 40 (n = 1, seed 0).
    """
    return Recipe(
        config="D",
        width=0.25,
        window=32,
        batch_norm=True,
        init="he",
        train_scale=(36, 40),
        color_shift=0,
        epochs=36,
        batch_size=128,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=1,
    )


def photos() -> Recipe:
    """Train on a folder of one's own photographs, a few thousand of them, from scratch.

    Command: verydeep train PHOTOS RUN --recipe photos
    Time: 23 minutes for 2,483 photographs (2 cores of an AMD EPYC of the Zen 4 kind, torch in bfloat16).
    Result: on 50 classes of Caltech-101 22.5 % top-1 error, dense at Q = 168 with mirror images, where
    guessing gives 98 % (n = 1, seed 0).
    """
    return Recipe(
        config="A",
        width=0.25,
        window=128,
        batch_norm=True,
        init="he",
        train_scale=(144, 192),
        color_shift=0,
        epochs=80,
        batch_size=64,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=2,
        rate_below=0.1,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    function.__name__: function for function in (digits, cifar10, photos, paper, paper_384, paper_jittered)
}


def find_recipe(name: str) -> Recipe:
    """Find a recipe by its name.

    Raises:
        UsageError: there is none; the message names the near ones.

    """
    return RECIPES[check_choice("recipe", name, RECIPES)]()
