"""A study's description, in TOML -> what is trained, how it is tested, what is fused. Nothing runs for it.

Every mistake is found here, before the first step: one sentence that names the table and says what to do.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args, get_type_hints

from verydeep.configurations import STARTS, configuration
from verydeep.errors import UsageError, did_you_mean, printable, refusal
from verydeep.evaluation.protocols import PROTOCOLS
from verydeep.reports.tables import trained_scale
from verydeep.studies.toml_table import Table, one_of, wrong
from verydeep.training.recipe import Recipe, find_recipe, renamed
from verydeep.training.schedules import SCHEDULES
from verydeep.typed import NAMES, is_of

Scales = str | tuple[int, ...]  # `one`, `three`, or Q itself

MOST_BYTES = 1 << 20
RULES = ("one", "three")
REACH = 32  # pixels between the three Q around a fixed S, in the paper
SHIPPED = ("digits", "cifar10", "photos", "imagenet")
PLACEHOLDER = "{network}"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
TOP_KEYS = (
    *("title", "data", "recipe", "seeds", "settings", "reach", "test_precision", "size"),
    *("train", "test", "fuse"),
)
TRAIN_KEYS = ("networks", "name", "train_scale", "grow_from", "from", "recipe", "settings", "seeds")
TEST_KEYS = ("networks", "views", "scales")
FUSE_KEYS = ("name", *TEST_KEYS)
SIZE_KEYS = ("train", "test", "classes")
PRECISIONS = ("auto", "float32", "bfloat16", "int16")  # of `verydeep evaluate`
OWN_KEYS = {"config": "networks", "train_scale": "train_scale", "seed": "seeds"}
"""What a training says by keys of its own, not by its settings."""


@dataclass(frozen=True)
class Training:
    """One network, trained once for each seed.

    Attributes:
        name: of its runs, which have the seed behind it.
        recipe_name: the named recipe that its command starts from.
        recipe: all its settings; the seed is that of each run.
        seeds: of its runs.
        grow_from: the training whose runs it grows from, net A's, or None.
        start_from: the training whose runs it starts from, with all layers, or None.

    """

    name: str
    recipe_name: str
    recipe: Recipe
    seeds: tuple[int, ...]
    grow_from: str | None = None
    start_from: str | None = None

    @property
    def parent(self) -> str | None:
        """The training that must be there before."""
        return self.grow_from or self.start_from

    @property
    def jittered(self) -> bool:
        """Whether S is drawn for each image."""
        least, greatest = self.recipe.train_scale
        return least != greatest

    def test_scales(self, scales: Scales, reach: int) -> tuple[int, ...]:
        """Q, by the paper's rule where it is not given (Section 4)."""
        least, greatest = self.recipe.train_scale
        middle = (least + greatest) // 2
        if not isinstance(scales, str):
            return scales
        if scales == "one":
            return (middle,)
        return (least, middle, greatest) if self.jittered else (least - reach, least, least + reach)


@dataclass(frozen=True)
class Test:
    """Networks that are tested by each of the protocols, at each of the scales."""

    networks: tuple[str, ...]
    views: tuple[str, ...]
    scales: tuple[Scales, ...]


@dataclass(frozen=True)
class Fusion(Test):
    """Networks whose posteriors are averaged, for each of the protocols and of the scales."""

    name: str


@dataclass(frozen=True)
class Size:
    """How much data there is: decides the estimates."""

    train: int
    test: int
    classes: int


@dataclass(frozen=True)
class Description:
    """A whole study.

    Attributes:
        title: in a few words.
        data: a folder, or a data set's name; None where the command has to say it.
        trainings: by name, those first that others start from.
        tests: in their order.
        fusions: likewise.
        reach: pixels between the three Q around a fixed S.
        test_precision: of the products in testing.
        size: of the data, where the description says it.

    """

    title: str
    data: str | None
    trainings: Mapping[str, Training]
    tests: tuple[Test, ...]
    fusions: tuple[Fusion, ...]
    reach: int = REACH
    test_precision: str = "auto"
    size: Size | None = None

    def seeds_of(self, networks: Iterable[str]) -> tuple[int, ...]:
        """The seeds that all these trainings have."""
        every = [self.trainings[name].seeds for name in networks]
        return tuple(seed for seed in every[0] if all(seed in seeds for seeds in every))


def read_text(file: str) -> str:
    """Read a description, from a file or one of those that are shipped.

    Raises:
        UsageError: there is none.

    """
    path = Path(file)
    if file in SHIPPED and not path.is_file():
        path = Path(__file__).parent / f"{file}.toml"
    try:
        with path.open("rb") as content:
            text = content.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise UsageError(f"{file} has more than {MOST_BYTES} bytes, too many to be a study's description")
        return text.decode("utf-8").replace("\r\n", "\n")
    except FileNotFoundError:
        raise UsageError(
            f"{file} does not exist; give a study's TOML file, or one of those that are shipped: "
            f"{', '.join(SHIPPED)}{did_you_mean(file, SHIPPED)}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a text file; a study is described in TOML") from None
    except OSError as error:
        raise UsageError(refusal(file, "read", error)) from None


def parse(text: str, where: str) -> Description:
    """Read a description's text.

    Args:
        text: in TOML.
        where: it comes from, for messages.

    Raises:
        UsageError: it is wrong; the message names the place.

    """
    try:
        top = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{where} is not TOML: {printable(error)}") from None
    with _named(where):
        return _description(Table(_in_names_of_today(top), "", TOP_KEYS))


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say where a mistake is."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _in_names_of_today(top: dict[str, Any]) -> dict[str, Any]:
    """A training's S was called `scale` in earlier studies."""
    trainings = top.get("train")
    if not isinstance(trainings, list) or not all(isinstance(one, dict) for one in trainings):
        return top
    names = {"scale": "train_scale"}
    return {**top, "train": [{names.get(key, key): one[key] for key in one} for one in trainings]}


def _description(top: Table) -> Description:
    reach = top.value("reach", REACH)
    if reach < 1:
        raise UsageError(f"reach is {reach}; it must be at least 1 pixel, {REACH} in the paper")
    trainings = _in_order(_trainings(top))
    for training in trainings.values():
        if training.parent:
            _check_parent(training, trainings[training.parent])
    tests = tuple(_test(table, trainings, reach) for table in top.tables("test", TEST_KEYS))
    fusions = tuple(_fusion(table, trainings, reach) for table in top.tables("fuse", FUSE_KEYS))
    description = Description(
        top.value("title", "A study of depth, scale, protocol and fusion"),
        top.value("data", "") or None,
        trainings,
        tests,
        fusions,
        reach,
        one_of(top.value("test_precision", "auto"), PRECISIONS, "test_precision"),
        _size(top),
    )
    names = [fusion.name for fusion in fusions]
    for fusion in fusions:
        if names.count(fusion.name) > 1:
            raise UsageError(f"two [[fuse]] are called {fusion.name!r}; give one of them another name")
        if not description.seeds_of(fusion.networks):
            raise UsageError(
                f"[[fuse]] {fusion.name}: no seed is one of all its networks; give them the same seeds"
            )
    return description


def _trainings(top: Table) -> dict[str, Training]:
    """Each network of each table."""
    tables = top.tables("train", TRAIN_KEYS)
    if not tables:
        raise UsageError("there is no [[train]]; a study trains at least one network")
    found: dict[str, tuple[str, Training]] = {}
    for table in tables:
        for network in table.words("networks"):
            with _named(table.where):
                training = _training(top, table, network)
            if training.name in found:
                raise UsageError(
                    f"{found[training.name][0]} and {table.where} both make runs called {training.name!r}; give "
                    'one of them another name, such as name = "{network}-jittered"'
                )
            found[training.name] = table.where, training
    return {name: training for name, (_, training) in found.items()}


def _training(top: Table, table: Table, network: str) -> Training:
    configuration(network)
    recipe_name = table.value("recipe", top.value("recipe", "paper"))
    recipe = find_recipe(recipe_name)
    settings = {**_settings(top.table("settings")), **_settings(table.table("settings"))}
    settings |= {"config": network, "train_scale": table.scale("train_scale", recipe.train_scale)}
    recipe = replace(recipe, **settings, seed=0)
    seeds = table.numbers("seeds", top.numbers("seeds", (0,)))
    for seed in seeds:
        replace(recipe, seed=seed)  # which refuses what is no seed
    name, grow_from, start_from = (
        table.value(key, default).replace(PLACEHOLDER, network)
        for key, default in (("name", PLACEHOLDER), ("grow_from", ""), ("from", ""))
    )
    training = Training(_checked_name(name), recipe_name, recipe, seeds, grow_from or None, start_from or None)
    _check_training(training)
    return training


def _checked_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"name is {printable(name, 90)!r}; it becomes a folder's: letters, digits, '.', '_', '+' and '-', "
            "at most 80"
        )
    return name


def _settings(table: Table) -> dict[str, Any]:
    """Overrides of a recipe, each of its field's type."""
    hints = get_type_hints(Recipe)
    known = {field.name: field.default for field in fields(Recipe)}
    found: dict[str, Any] = {}
    for name, value in renamed(table.fields).items():
        if name in OWN_KEYS:
            raise UsageError(f"{name} is not one of the settings; say it by {OWN_KEYS[name]} in [[train]]")
        if name not in known:
            raise UsageError(f"no setting is called {printable(name, 60)!r}{did_you_mean(name, known)}")
        choices = {"init": STARTS, "schedule": tuple(SCHEDULES)}.get(name) or get_args(hints[name])
        found[name] = _setting(name, value, type(known[name]), choices)
    return found


def _setting(name: str, value: Any, kind: type, choices: Sequence[str]) -> Any:
    if kind is tuple and isinstance(value, list) and all(type(part) is int for part in value):
        return tuple(value)
    if kind is float and is_of(value, int):
        return float(value)
    if not is_of(value, kind):
        raise wrong(name, value, NAMES.get(kind, "a list of whole numbers"))
    return one_of(value, choices, name) if kind is str and choices else value


def _check_training(training: Training) -> None:
    """Refuse what the training's command would refuse."""
    recipe = training.recipe
    training.recipe.architecture(2)
    if recipe.train_scale[0] < recipe.window:
        raise UsageError(
            f"scale of {training.name} is {trained_scale(recipe.train_scale)}, smaller than its window of "
            f"{recipe.window} pixels; use a scale of {recipe.window} or more"
        )
    if training.grow_from and training.start_from:
        raise UsageError(f"{training.name} has both grow_from and from; a network has one start")
    if training.grow_from and not configuration(recipe.config).grows_from_a:
        raise UsageError(
            f"{recipe.config} has no layers of net A's shapes and cannot be grown; leave grow_from out"
        )


def _in_order(trainings: dict[str, Training]) -> dict[str, Training]:
    """Put those first that others start from; their order stays otherwise."""
    ordered: dict[str, Training] = {}
    for training in trainings.values():
        chain: dict[str, Training] = {}
        next_one: Training | None = training
        while next_one and next_one.name not in ordered:
            names = [*chain, next_one.name]
            if next_one.name in chain:
                circle = " starts from ".join(names[names.index(next_one.name) :])
                raise UsageError(f"{circle}: a circle, so none can start")
            chain[next_one.name] = next_one
            next_one = _parent_of(next_one, trainings)
        ordered.update(reversed(chain.items()))
    return ordered


def _parent_of(training: Training, trainings: Mapping[str, Training]) -> Training | None:
    if training.parent and training.parent not in trainings:
        raise UsageError(
            f"{training.name} starts from {printable(training.parent, 90)!r}, and no [[train]] makes runs of that "
            f"name{did_you_mean(training.parent, trainings)}"
        )
    return trainings[training.parent] if training.parent else None


def _check_parent(training: Training, parent: Training) -> None:
    """Make sure that a training can start from the one that it names."""
    missing = [seed for seed in training.seeds if seed not in parent.seeds]
    if missing:
        raise UsageError(
            f"{training.name} with seed {missing[0]} starts from {parent.name} with that seed, which "
            f"{parent.name} lacks; give {parent.name} the seed too"
        )
    if training.grow_from and parent.recipe.config not in ("A", "A-LRN"):
        raise UsageError(
            f"{training.name} grows from {parent.name}, which is of configuration {parent.recipe.config}; "
            "a network is grown from net A"
        )
    for name in ("width", "batch_norm", "window" if training.grow_from else "config"):
        theirs, mine = getattr(parent.recipe, name), getattr(training.recipe, name)
        if theirs != mine:
            raise UsageError(
                f"{training.name} starts from {parent.name}, whose {name} is {theirs}, and its own is {mine}; "
                "they must be the same"
            )


def _test(table: Table, trainings: Mapping[str, Training], reach: int) -> Test:
    with _named(table.where):
        networks = _matching(table.words("networks", ("*",)), trainings)
        return Test(networks, *_protocols(table, [trainings[name] for name in networks], reach))


def _fusion(table: Table, trainings: Mapping[str, Training], reach: int) -> Fusion:
    with _named(table.where):
        networks = _matching(table.words("networks"), trainings)
        if len(networks) < 2:
            raise UsageError(f"a fusion takes two networks or more, and here is {networks[0]} alone")
        name = _checked_name(table.value("name", "+".join(networks)))
        return Fusion(networks, *_protocols(table, [trainings[one] for one in networks], reach), name=name)


def _matching(patterns: Sequence[str], trainings: Mapping[str, Training]) -> tuple[str, ...]:
    """Names of trainings, of which a pattern such as `*-256` may name several."""
    found: list[str] = []
    for pattern in patterns:
        names = [pattern] if pattern in trainings else [name for name in trainings if fnmatchcase(name, pattern)]
        if not names:
            raise UsageError(
                f"no [[train]] makes runs called {printable(pattern, 90)!r}{did_you_mean(pattern, trainings)}"
            )
        found += names
    return tuple(dict.fromkeys(found))


def _protocols(
    table: Table, trainings: Sequence[Training], reach: int
) -> tuple[tuple[str, ...], tuple[Scales, ...]]:
    views = tuple(one_of(view, tuple(PROTOCOLS), "views") for view in table.words("views", ("dense",)))
    scales = _test_scales(table)
    for training in trainings:
        for choice in scales:
            _check_scales(training, choice, reach)
    return views, scales


def _test_scales(table: Table) -> tuple[Scales, ...]:
    """Q: a rule or several, or numbers."""
    value = table.fields.get("scales", "one")
    listed = value if isinstance(value, list) else [value]
    if listed and all(isinstance(one, str) for one in listed):
        return tuple(one_of(one, RULES, "scales") for one in table.words("scales", ("one",)))
    if not listed or any(type(one) is not int or not 0 < one < 2**31 for one in listed):
        raise wrong("scales", value, '"one", "three", both of them, or numbers of pixels')
    return (table.numbers("scales"),)


def _check_scales(training: Training, choice: Scales, reach: int) -> None:
    window, chosen = training.recipe.window, training.test_scales(choice, reach)
    if min(chosen) >= window:
        return
    around, advice = "", f"scales of {window} or more"
    if choice == "three":
        around = f", {reach} pixels around its S of {training.recipe.train_scale[0]}"
        advice = "a smaller reach, or other scales"
    raise UsageError(
        f"Q of {training.name} is {', '.join(map(str, chosen))}{around}; {min(chosen)} is smaller than its window "
        f"of {window} pixels: use {advice}"
    )


def _size(top: Table) -> Size | None:
    table = top.table("size", SIZE_KEYS)
    numbers = [table.value(key, 0) for key in SIZE_KEYS]
    if table.fields and min(numbers) < 1:
        raise UsageError(
            "[size] takes train, test and classes, each at least 1: the numbers of images and of classes"
        )
    return Size(*numbers) if table.fields else None
