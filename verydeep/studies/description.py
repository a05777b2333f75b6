"""A study's description, in TOML -> what is trained, how it is tested, what is fused. Nothing runs for it.

Every mistake is found here, before the first step: one sentence that names the table and says what to do.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args, get_type_hints

from verydeep.configurations import GROWN_CONFIGURATIONS, STARTS, Architecture, configuration
from verydeep.errors import UsageError, did_you_mean, printable
from verydeep.evaluation.protocols import PROTOCOLS
from verydeep.studies.toml_table import Table, one_of, shown
from verydeep.training.recipe import Recipe, find_recipe, renamed
from verydeep.training.schedules import SCHEDULES

Scales = str | tuple[int, ...]  # `one`, `three`, or Q itself

RULES = ("one", "three")
REACH = 32  # pixels between the three Q around a fixed S, in the paper
SHIPPED = ("digits", "cifar10", "photos", "imagenet")
PLACEHOLDER = "{network}"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
TOP_KEYS = (
    "title",
    "data",
    "recipe",
    "seeds",
    "settings",
    "reach",
    "test_precision",
    "size",
    "train",
    "test",
    "fuse",
)
TRAIN_KEYS = ("networks", "name", "train_scale", "grow_from", "from", "recipe", "settings", "seeds")
TEST_KEYS = ("networks", "views", "scales")
FUSE_KEYS = ("name", "networks", "views", "scales")
SIZE_KEYS = ("train", "test", "classes")
PRECISIONS = ("auto", "float32", "bfloat16", "int16")  # of `verydeep evaluate`
OWN_KEYS = {
    "config": "networks",
    "train_scale": "train_scale",
    "seed": "seeds",
}  # of a training, not of its settings


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
        """The training that has to be there before."""
        return self.grow_from or self.start_from

    @property
    def configuration(self) -> str:
        """Column of Table 1, or B-5x5."""
        return self.recipe.config

    @property
    def scale(self) -> tuple[int, int]:
        """The least and the greatest S."""
        return self.recipe.train_scale

    @property
    def jittered(self) -> bool:
        """Whether S is drawn for each picture."""
        return self.scale[0] != self.scale[1]

    def test_scales(self, scales: Scales, reach: int) -> tuple[int, ...]:
        """Q, by the paper's rule where it is not given (Section 4)."""
        least, greatest = self.scale
        middle = (least + greatest) // 2
        if not isinstance(scales, str):
            return scales
        if scales == "one":
            return (middle,)
        return (least, middle, greatest) if self.jittered else (least - reach, least, least + reach)

    def architecture(self, num_classes: int) -> Architecture:
        """Its network, for so many classes."""
        recipe = self.recipe
        return Architecture(recipe.config, num_classes, recipe.width, recipe.window, recipe.batch_norm)


@dataclass(frozen=True)
class Test:
    """Networks that are tested by each of the protocols, at each of the scales."""

    networks: tuple[str, ...]
    views: tuple[str, ...]
    scales: tuple[Scales, ...]


@dataclass(frozen=True)
class Fusion:
    """Networks whose posteriors are averaged, for each of the protocols and of the scales."""

    name: str
    networks: tuple[str, ...]
    views: tuple[str, ...]
    scales: tuple[Scales, ...]


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
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"{file} does not exist; give a study's TOML file, or one of those that are shipped: "
            f"{', '.join(SHIPPED)}{did_you_mean(file, SHIPPED)}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a text file; a study is described in TOML") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}; give a study's TOML file") from None


def parse(text: str, where: str) -> Description:
    """Read a description's text.

    Args:
        text: in TOML.
        where: it comes from, for messages.

    Raises:
        UsageError: it is wrong; the message names the place.

    """
    try:
        fields = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise UsageError(f"{where} is not TOML: {printable(error)}") from None
    try:
        return _description(Table(_in_names_of_today(fields), "", TOP_KEYS))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _in_names_of_today(fields: dict[str, Any]) -> dict[str, Any]:
    """A training's S was called `scale` in earlier studies."""
    trainings = fields.get("train")
    if not isinstance(trainings, list) or not all(isinstance(one, dict) for one in trainings):
        return fields
    names = {"scale": "train_scale"}
    return {
        **fields,
        "train": [{names.get(name, name): value for name, value in one.items()} for one in trainings],
    }


def _description(top: Table) -> Description:
    reach = top.number("reach", REACH)
    if reach < 1:
        raise UsageError(f"reach is {reach}; it has to be at least 1 pixel, {REACH} in the paper")
    trainings = _in_order(_named_once(_trainings(top)))
    for training in trainings.values():
        _check_parent(training, trainings)
    tests = tuple(_test(table, trainings, reach) for table in top.tables("test", TEST_KEYS))
    fusions = tuple(_fusion(table, trainings, reach) for table in top.tables("fuse", FUSE_KEYS))
    _refuse_twice([fusion.name for fusion in fusions], "fuse")
    description = Description(
        top.word("title", "A study of depth, scale, protocol and fusion"),
        top.word("data", "") or None,
        trainings,
        tests,
        fusions,
        reach,
        one_of(top.word("test_precision", "auto"), PRECISIONS, "test_precision"),
        _size(top),
    )
    for fusion in fusions:
        if not description.seeds_of(fusion.networks):
            raise UsageError(
                f"[[fuse]] {fusion.name}: no seed is one of all its networks; give them the same seeds"
            )
    return description


def _trainings(top: Table) -> list[tuple[str, Training]]:
    """Each network of each table, with the table it comes from."""
    tables = top.tables("train", TRAIN_KEYS)
    if not tables:
        raise UsageError("there is no [[train]]; a study trains one network at least")
    return [
        (table.where, _training(top, table, name))
        for table in tables
        for name in table.words("networks", required=True)
    ]


def _training(top: Table, table: Table, network: str) -> Training:
    try:
        configuration(network)
        recipe_name = table.word("recipe", top.word("recipe", "paper"))
        recipe = find_recipe(recipe_name)
        settings = {**_settings(top.table("settings")), **_settings(table.table("settings"))}
        recipe = replace(
            recipe,
            **settings,
            config=network,
            train_scale=table.scale("train_scale", recipe.train_scale),
            seed=0,
        )
        seeds = table.numbers("seeds", top.numbers("seeds", (0,)))
        for seed in seeds:
            replace(recipe, seed=seed)
        training = Training(
            _run_name(table, network),
            recipe_name,
            recipe,
            seeds,
            _reference(table, "grow_from", network),
            _reference(table, "from", network),
        )
        _check_training(training)
    except UsageError as error:
        raise UsageError(f"{table.where}: {error}") from None
    return training


def _run_name(table: Table, network: str) -> str:
    pattern = table.word("name", PLACEHOLDER)
    name = pattern.replace(PLACEHOLDER, network)
    if not NAME.fullmatch(name):
        raise UsageError(
            f"name is {printable(name, 90)!r}; it becomes a folder's: letters, digits, '.', '_', '+' and '-', "
            "at most 80"
        )
    return name


def _reference(table: Table, key: str, network: str) -> str | None:
    return table.word(key, "").replace(PLACEHOLDER, network) or None


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
        words = {"init": STARTS, "schedule": tuple(SCHEDULES)}
        choices = words.get(name) or (get_args(hints[name]) if isinstance(known[name], str) else ())
        found[name] = _setting(name, value, known[name], choices)
    return found


def _setting(name: str, value: Any, like: Any, choices: Sequence[str]) -> Any:
    kind = type(like)
    if kind is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if kind is tuple and isinstance(value, list) and all(type(part) is int for part in value):
        return tuple(value)
    if type(value) is not kind or (kind is int and abs(value) >= 2**63):
        wanted = {bool: "true or false", int: "a whole number", float: "a number", str: "a word in quotes"}
        raise UsageError(f"{name} is {shown(value)}; it has to be {wanted.get(kind, 'a list of whole numbers')}")
    return one_of(value, choices, name) if choices else value


def _check_training(training: Training) -> None:
    """Refuse what the training's command would refuse."""
    recipe = training.recipe
    training.architecture(2)
    if recipe.train_scale[0] < recipe.window:
        raise UsageError(
            f"scale of {training.name} is {_range(recipe.train_scale)}, smaller than its window of "
            f"{recipe.window} pixels; use a scale of {recipe.window} or more"
        )
    if training.grow_from and training.start_from:
        raise UsageError(f"{training.name} has both grow_from and from; a network has one start")
    if training.grow_from and recipe.config not in GROWN_CONFIGURATIONS:
        raise UsageError(
            f"{recipe.config} has no layers of net A's shapes and cannot be grown; leave grow_from out"
        )


def _named_once(trainings: Sequence[tuple[str, Training]]) -> dict[str, Training]:
    found: dict[str, tuple[str, Training]] = {}
    for where, training in trainings:
        if training.name in found:
            raise UsageError(
                f"{found[training.name][0]} and {where} both make runs called {training.name!r}; give one of them "
                'another name, such as name = "{network}-jittered"'
            )
        found[training.name] = where, training
    return {name: training for name, (_, training) in found.items()}


def _in_order(trainings: dict[str, Training]) -> dict[str, Training]:
    """Put those first that others start from; their order stays otherwise."""
    ordered: dict[str, Training] = {}

    def add(training: Training) -> None:
        chain = [training]
        while (parent := chain[-1].parent) and parent not in ordered:
            if parent not in trainings:
                raise UsageError(
                    f"{chain[-1].name} starts from {printable(parent, 90)!r}, and no [[train]] makes runs of that "
                    f"name{did_you_mean(parent, trainings)}"
                )
            if trainings[parent] in chain:
                names = [one.name for one in chain[chain.index(trainings[parent]) :]]
                raise UsageError(
                    f"{' starts from '.join([*names, names[0]])}: a circle, in which none can be first"
                )
            chain.append(trainings[parent])
        ordered.update({one.name: one for one in reversed(chain)})

    for training in trainings.values():
        if training.name not in ordered:
            add(training)
    return ordered


def _check_parent(training: Training, trainings: Mapping[str, Training]) -> None:
    """Make sure that a training can start from the one that it names."""
    if not training.parent:
        return
    parent = trainings[training.parent]
    missing = [seed for seed in training.seeds if seed not in parent.seeds]
    if missing:
        raise UsageError(
            f"{training.name} with seed {missing[0]} starts from {parent.name} with that seed, which "
            f"{parent.name} lacks; give {parent.name} the seed too"
        )
    same = ["width", "batch_norm"]
    if training.grow_from:
        same.append("window")
        if parent.configuration not in ("A", "A-LRN"):
            raise UsageError(
                f"{training.name} grows from {parent.name}, which is of configuration {parent.configuration}; "
                "a network is grown from net A"
            )
    else:
        same.append("config")
    for name in same:
        theirs, mine = getattr(parent.recipe, name), getattr(training.recipe, name)
        if theirs != mine:
            raise UsageError(
                f"{training.name} starts from {parent.name}, whose {name} is {theirs}, and its own is {mine}; "
                "they have to be the same"
            )


def _test(table: Table, trainings: Mapping[str, Training], reach: int) -> Test:
    try:
        networks = _matching(table.words("networks", ("*",)), trainings)
        return Test(networks, *_protocols(table, [trainings[name] for name in networks], reach))
    except UsageError as error:
        raise UsageError(f"{table.where}: {error}") from None


def _fusion(table: Table, trainings: Mapping[str, Training], reach: int) -> Fusion:
    try:
        networks = _matching(table.words("networks", required=True), trainings)
        if len(networks) < 2:
            raise UsageError(f"a fusion takes two networks or more, and here is {networks[0]} alone")
        name = table.word("name", "+".join(networks))
        if not NAME.fullmatch(name):
            raise UsageError("name has to be letters, digits, '.', '_', '+' and '-', at most 80; give it one")
        return Fusion(name, networks, *_protocols(table, [trainings[one] for one in networks], reach))
    except UsageError as error:
        raise UsageError(f"{table.where}: {error}") from None


def _matching(patterns: Sequence[str], trainings: Mapping[str, Training]) -> tuple[str, ...]:
    """Names of trainings, of which a pattern such as `*-256` may name several."""
    found: list[str] = []
    for pattern in patterns:
        names = [name for name in trainings if name == pattern] or [
            name for name in trainings if fnmatchcase(name, pattern)
        ]
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
        raise UsageError(
            f'scales is {shown(value)}; it has to be "one", "three", both of them, or numbers of pixels'
        )
    return (table.numbers("scales", ()),)


def _check_scales(training: Training, choice: Scales, reach: int) -> None:
    window = training.recipe.window
    chosen = training.test_scales(choice, reach)
    if min(chosen) >= window:
        return
    what = f"Q of {training.name} is {', '.join(map(str, chosen))}"
    if choice == "three":
        what += f", {reach} pixels around its S of {training.scale[0]}"
    advice = "a smaller reach, or other scales" if choice == "three" else f"scales of {window} or more"
    raise UsageError(f"{what}; {min(chosen)} is smaller than its window of {window} pixels: use {advice}")


def _size(top: Table) -> Size | None:
    table = top.table("size", SIZE_KEYS)
    if not table.fields:
        return None
    numbers = [table.number(key, 0) for key in SIZE_KEYS]
    if min(numbers) < 1:
        raise UsageError(
            "[size] takes train, test and classes, each at least 1: the numbers of pictures and of classes"
        )
    return Size(*numbers)


def _refuse_twice(names: Sequence[str], kind: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two [[{kind}]] are called {name!r}; give one of them another name")


def _range(scale: tuple[int, int]) -> str:
    return str(scale[0]) if scale[0] == scale[1] else f"[{scale[0]};{scale[1]}]"


def recipe_words(training: Training, seed: int) -> list[str]:
    """Words of `verydeep train` that make the named recipe this training's."""
    base = asdict(find_recipe(training.recipe_name))
    words = ["--recipe", training.recipe_name, "--config", training.configuration]
    for name, value in asdict(training.recipe).items():
        if name in ("config", "seed") or value == base[name]:
            continue
        words += _option(name, value)
    return [*words, "--seed", str(seed)]


def _option(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    if name == "train_scale":
        return [flag, str(value[0]) if value[0] == value[1] else f"{value[0]}:{value[1]}"]
    if isinstance(value, bool):
        return [flag if value else flag.replace("--", "--no-", 1)]
    return [flag, *map(str, value if isinstance(value, tuple) else [value])]
