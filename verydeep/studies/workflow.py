"""A description -> steps, each a command of ours that anyone could run by hand, and what each needs first.

OUT/
  study.toml         the description
  study.jsonl        a line for each step that began, finished or failed
  .verydeep.lock     while a study is at work
  runs/NAME-seedN    a run folder for each training
  tests/             posteriors of each test: NAME-seedN.VIEWS.Q.npz
  fusions/           posteriors of each fusion: NAME-seedN.VIEWS.SCALES.npz
  logs/              what each step printed
  outcomes.jsonl     who was wrong on which image, for each test
  curves.csv         rate and errors of each epoch, for each training
  tables.md, tables.csv, claims.json, index.html
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from verydeep.studies.description import Description, Fusion, Scales, Training
from verydeep.training.recipe import find_recipe
from verydeep.training.scale import scale_text

Kind = Literal["train", "test", "fuse"]
DATA, OUT = "{data}", "{out}/"
PARTS = {"both": ("dense", "crops")}  # views that are the mean of others, which are so not scored twice


@dataclass(frozen=True)
class Setup:
    """What a result is of: networks that are tested in one way. Seeds apart, it is a row of a table.

    Attributes:
        name: of the training, or of the fusion.
        networks: names of the trainings; several are a fusion's.
        views: a name of `verydeep.evaluation.protocols.PROTOCOLS`.
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
        setup: what its result is of, where it has one.

    """

    name: str
    kind: Kind
    words: tuple[str, ...]
    needs: tuple[str, ...]
    seed: int
    training: Training | None = None
    setup: Setup | None = None

    def command(self, data: str, out: Path) -> list[str]:
        """Its words, for this data and this OUT."""
        return [data if word == DATA else word.replace(OUT, f"{out}/", 1) for word in self.words]

    def shown(self, data: str, out: Path) -> str:
        """The command as one would type it."""
        return shlex.join(["verydeep", *self.command(data, out)])


@dataclass
class Workflow:
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
        return [step for step in self.steps.values() if step.setup]

    def add(self, step: Step) -> Step:
        """Add a step once; give the one that is there."""
        return self.steps.setdefault(step.name, step)

    def ancestors(self, name: str) -> Iterator[str]:
        """The steps that a step waits for, near or far."""
        for need in self.steps[name].needs:
            yield need
            yield from self.ancestors(need)


def make_workflow(description: Description) -> Workflow:
    """Lay out every step: seed by seed, each network's tests behind its training, fusions last.

    The first seed's whole story is told before the second one's begins.
    """
    workflow = Workflow(description)
    for seed in dict.fromkeys(seed for one in description.trainings.values() for seed in one.seeds):
        for training in description.trainings.values():
            if seed in training.seeds:
                workflow.add(_train(training, seed))
                _tests(workflow, training, seed)
        for fusion in description.fusions:
            if seed in description.seeds_of(fusion.networks):
                _fuse(workflow, fusion, seed)
    return workflow


def _run(name: str, seed: int) -> str:
    return f"runs/{name}-seed{seed}"


def _train(training: Training, seed: int) -> Step:
    words = ["train", DATA, OUT + _run(training.name, seed), *_recipe_words(training), "--seed", str(seed)]
    needs = []
    if training.parent:
        needs = [_run(training.parent, seed)]
        words += ["--grow-from" if training.grow_from else "--from", OUT + needs[0]]
    return Step(_run(training.name, seed), "train", tuple(words), tuple(needs), seed, training)


def _recipe_words(training: Training) -> list[str]:
    """Words of `verydeep train` that make the named recipe this training's, but for its seed."""
    base = asdict(find_recipe(training.recipe_name))
    words = ["--recipe", training.recipe_name, "--config", training.recipe.config]
    for name, value in asdict(training.recipe).items():
        if name not in ("config", "seed") and value != base[name]:
            words += _option(name, value)
    return words


def _option(name: str, value: Any) -> list[str]:
    word = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{word}" if value else f"--no-{word}"]
    if name == "train_scale":
        return [f"--{word}", scale_text(value)]
    return [f"--{word}", *map(str, value if isinstance(value, tuple) else [value])]


def _tests(workflow: Workflow, training: Training, seed: int) -> None:
    for test in workflow.description.tests:
        if training.name in test.networks:
            for scales in test.scales:
                for views in test.views:
                    _test(workflow, training, seed, views, scales)


def _test(workflow: Workflow, training: Training, seed: int, views: str, rule: Scales) -> Step:
    """A network's test by one protocol; `both` is the fusion of its two, which are then tested too."""
    scales = training.test_scales(rule, workflow.description.reach)
    setup = Setup(training.name, (training.name,), views, (scales,), rule)
    name = f"tests/{training.name}-seed{seed}.{views}.{'-'.join(map(str, scales))}.npz"
    if views in PARTS:
        parts = [_test(workflow, training, seed, part, rule).name for part in PARTS[views]]
        return workflow.add(_fusion_of(name, parts, seed, setup, training))
    run = _run(training.name, seed)
    words = ["evaluate", OUT + run, DATA, "--views", views, "--scales", *map(str, scales)]
    if workflow.description.test_precision != "auto":
        words += ["--precision", workflow.description.test_precision]
    words += ["--out", OUT + name]
    return workflow.add(Step(name, "test", tuple(words), (run,), seed, training, setup))


def _fuse(workflow: Workflow, fusion: Fusion, seed: int) -> None:
    trainings = [workflow.description.trainings[name] for name in fusion.networks]
    for rule in fusion.scales:
        word = rule if isinstance(rule, str) else "-".join(map(str, rule))
        scales = tuple(training.test_scales(rule, workflow.description.reach) for training in trainings)
        for views in fusion.views:
            parts = [_test(workflow, training, seed, views, rule).name for training in trainings]
            name = f"fusions/{fusion.name}-seed{seed}.{views}.{word}.npz"
            setup = Setup(fusion.name, fusion.networks, views, scales, rule)
            workflow.add(_fusion_of(name, parts, seed, setup))


def _fusion_of(name: str, parts: Sequence[str], seed: int, setup: Setup, training: Training | None = None) -> Step:
    words = ("fuse", *(OUT + part for part in parts), "--out", OUT + name)
    return Step(name, "fuse", words, tuple(parts), seed, training, setup)
