"""A description -> steps, each a command of ours that anyone could run by hand, and what each needs first.

OUT/
  study.toml         the description
  study.jsonl        a line for each step that began, finished or failed
  study.lock         held while a study, or a step of it, is at work
  runs/NAME-seedN    a run folder for each training
  tests/             posteriors of each test: NAME-seedN.VIEWS.Q.npz
  fusions/           posteriors of each fusion: NAME-seedN.VIEWS.SCALES.npz
  logs/              what each step printed
  tables.md, tables.csv, claims.json, index.html
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from verydeep.errors import UsageError
from verydeep.studies.description import Description, Fusion, Scales, Training, recipe_words

Kind = Literal["train", "test", "fuse"]
PAIR = ("dense", "crops")  # whose mean is `both`, so that crops are not scored twice


@dataclass(frozen=True)
class Tested:
    """What a result is of: networks that are tested in one way. Seeds apart, it is a line of a table.

    Attributes:
        name: of the training, or of the fusion.
        networks: names of the trainings; several are a fusion's.
        views: `dense`, `crops`, `both`, `centre` or `ten`.
        scales: Q of each network.
        rule: `one`, `three` or Q, as the description says.

    """

    name: str
    networks: tuple[str, ...]
    views: str
    scales: tuple[tuple[int, ...], ...]
    rule: Scales

    @property
    def several(self) -> bool:
        """Whether it is tested at several Q."""
        return max(map(len, self.scales)) > 1


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: the path of what it makes, within OUT.
        kind: a training, a test or a fusion.
        words: of its command, after `verydeep`, with DATA and OUT in them as `{data}` and `{out}`.
        needs: names of the steps before it.
        seed: of its networks.
        training: of a training or a test.
        tested: what its result is of, where it has one.

    """

    name: str
    kind: Kind
    words: tuple[str, ...]
    needs: tuple[str, ...]
    seed: int
    training: Training | None = None
    tested: Tested | None = None

    def command(self, data: str, out: Path) -> list[str]:
        """Its words, for this data and this OUT."""
        return [data if word == DATA else word.replace(OUT, f"{out}/", 1) for word in self.words]

    def shown(self, data: str, out: Path) -> str:
        """The command as one would type it."""
        return shlex.join(["verydeep", *self.command(data, out)])


DATA, OUT = "{data}", "{out}/"


@dataclass
class Plan:
    """Steps in an order in which each finds what it needs.

    Attributes:
        description: of the study.
        steps: by name.

    """

    description: Description
    steps: dict[str, Step] = field(default_factory=dict)

    @property
    def results(self) -> list[Step]:
        """The steps that give posteriors."""
        return [step for step in self.steps.values() if step.tested]


def make_plan(description: Description) -> Plan:
    """Lay out every step: seed by seed, each network's tests behind its training, fusions last.

    The first seed's whole story is told before the second one's begins.
    """
    plan = Plan(description)
    seeds = dict.fromkeys(seed for one in description.trainings.values() for seed in one.seeds)
    for seed in seeds:
        for training in description.trainings.values():
            if seed in training.seeds:
                _add(plan, _train(training, seed))
                _tests(plan, training, seed)
        for fusion in description.fusions:
            if seed in description.seeds_of(fusion.networks):
                _fuse(plan, fusion, seed)
    return plan


def _add(plan: Plan, step: Step) -> Step:
    """Add a step once; give the one that is there."""
    return plan.steps.setdefault(step.name, step)


def _run(name: str, seed: int) -> str:
    return f"runs/{name}-seed{seed}"


def _train(training: Training, seed: int) -> Step:
    words = ["train", DATA, OUT + _run(training.name, seed), *recipe_words(training, seed)]
    needs = []
    if training.parent:
        needs = [_run(training.parent, seed)]
        words += ["--grow-from" if training.grow_from else "--from", OUT + needs[0]]
    return Step(_run(training.name, seed), "train", tuple(words), tuple(needs), seed, training)


def _tests(plan: Plan, training: Training, seed: int) -> None:
    for test in plan.description.tests:
        if training.name in test.networks:
            for scales in test.scales:
                for views in test.views:
                    _test(plan, training, seed, views, scales)


def _test(plan: Plan, training: Training, seed: int, views: str, rule: Scales) -> Step:
    """A network's test by one protocol; `both` is the fusion of its two, which are then tested too."""
    scales = training.test_scales(rule, plan.description.reach)
    tested = Tested(training.name, (training.name,), views, (scales,), rule)
    name = f"tests/{training.name}-seed{seed}.{views}.{'-'.join(map(str, scales))}.npz"
    if views == "both":
        parts = [_test(plan, training, seed, part, rule).name for part in PAIR]
        return _add(plan, _fusion_of(name, parts, seed, tested, training))
    run = _run(training.name, seed)
    words = ["evaluate", OUT + run, DATA, "--views", views, "--scales", *map(str, scales)]
    if plan.description.test_precision != "auto":
        words += ["--precision", plan.description.test_precision]
    words += ["--out", OUT + name]
    return _add(plan, Step(name, "test", tuple(words), (run,), seed, training, tested))


def _fuse(plan: Plan, fusion: Fusion, seed: int) -> None:
    trainings = [plan.description.trainings[name] for name in fusion.networks]
    for rule in fusion.scales:
        for views in fusion.views:
            needs = [_test(plan, training, seed, views, rule) for training in trainings]
            scales = tuple(training.test_scales(rule, plan.description.reach) for training in trainings)
            word = rule if isinstance(rule, str) else "-".join(map(str, rule))
            name = f"fusions/{fusion.name}-seed{seed}.{views}.{word}.npz"
            tested = Tested(fusion.name, fusion.networks, views, scales, rule)
            _add(plan, _fusion_of(name, [step.name for step in needs], seed, tested, None))


def _fusion_of(name: str, parts: Sequence[str], seed: int, tested: Tested, training: Training | None) -> Step:
    words = ("fuse", *(OUT + part for part in parts), "--out", OUT + name)
    return Step(name, "fuse", words, tuple(parts), seed, training, tested)


def data_of(description: Description, given: str | None) -> str:
    """The data: the command's, or the description's.

    Raises:
        UsageError: neither says it.

    """
    data = given or description.data
    if data is None:
        raise UsageError("the description does not say where the data is; say it by --data FOLDER")
    return data


def ancestors(plan: Plan, name: str) -> Iterator[str]:
    """The steps that a step waits for, near or far."""
    for need in plan.steps[name].needs:
        yield need
        yield from ancestors(plan, need)
