"""What tests came to -> what the tables and the claims stand on: for each setup, who was wrong on which image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verydeep.reports.published import Published
from verydeep.studies.description import Training
from verydeep.studies.outcomes import Outcome
from verydeep.studies.workflow import Setup, Step, Workflow

Wrong = NDArray[np.bool_]  # (seeds, images)


@dataclass(frozen=True)
class Measurement:
    """Errors of one test, for each seed that has been tested.

    Attributes:
        setup: what was tested, and how.
        trainings: of its networks.
        network: what to call them, with the width where it is not the paper's.
        seeds: in rising order.
        wrong: which images were named wrong by each seed; the same images for all measurements of a study.
        top1: error of each seed, in %.
        top5: likewise.
        top_k: the 5 of top-5, or the number of classes where there are fewer.
        num_classes: number of classes.
        published: the paper's row for the same test; None where it has none.

    """

    setup: Setup
    trainings: tuple[Training, ...]
    network: str
    seeds: tuple[int, ...]
    wrong: Wrong
    top1: tuple[float, ...]
    top5: tuple[float, ...]
    top_k: int
    num_classes: int
    published: Published | None

    @property
    def training(self) -> Training:
        """Of its first network."""
        return self.trainings[0]

    @property
    def single(self) -> bool:
        """Whether it is one network's."""
        return len(self.trainings) == 1

    @property
    def dense(self) -> bool:
        """Whether it is one network's, tested densely."""
        return self.single and self.setup.views == "dense"

    def of_seeds(self, seeds: Sequence[int]) -> Measurement:
        """The same of these seeds alone, which it has."""
        places = [self.seeds.index(seed) for seed in seeds]
        top1, top5 = (tuple(errors[place] for place in places) for errors in (self.top1, self.top5))
        return replace(self, seeds=tuple(seeds), wrong=self.wrong[places], top1=top1, top5=top5)

    @property
    def error(self) -> float:
        """Top-1 error, the mean over seeds, in %."""
        return float(np.mean(self.top1))


@dataclass(frozen=True)
class Evidence:
    """All that a study has found out so far.

    Attributes:
        measurements: in the workflow's order.
        data: name of the data.
        num_images: that every test was on.

    """

    measurements: tuple[Measurement, ...]
    data: str = ""
    num_images: int = 0


def gather(workflow: Workflow, outcomes: Mapping[str, Outcome], data: str = "") -> Evidence:
    """What tests came to, by the setups that they are of.

    Args:
        workflow: of the study.
        outcomes: of its tests so far, by their steps' names; all of the same images.
        data: its name, which the outcomes tell where there are any.

    """
    groups: dict[Setup, list[tuple[Step, Outcome]]] = {}
    for name, outcome in outcomes.items():
        step = workflow.steps[name]
        assert step.setup, "tests have one"
        groups.setdefault(step.setup, []).append((step, outcome))
    trainings = workflow.description.trainings
    measurements = [
        _measurement(setup, tuple(trainings[name] for name in setup.networks), tests)
        for setup, tests in groups.items()
    ]
    if not measurements:
        return Evidence((), data)
    row = next(iter(outcomes.values())).row
    return Evidence(beside_the_paper(measurements), row.facts.data, row.num_images)


def _measurement(
    setup: Setup, trainings: tuple[Training, ...], tests: Iterable[tuple[Step, Outcome]]
) -> Measurement:
    steps, outcomes = zip(*sorted(tests, key=lambda test: test[0].seed), strict=True)
    rows = [outcome.row for outcome in outcomes]
    return Measurement(
        setup,
        trainings,
        rows[0].network,
        tuple(step.seed for step in steps),
        np.stack([outcome.wrong for outcome in outcomes]),
        tuple(row.top1_error for row in rows),
        tuple(row.top5_error for row in rows),
        rows[0].top_k,
        len(rows[0].facts.class_names),
        rows[0].published,
    )


def beside_the_paper(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Keep the paper's rows for the networks that stand for theirs: the first of each configuration and S.

    The others are variants, trained in ways that the paper's tables do not have.
    """
    standing: dict[tuple[str, tuple[int, int]], str] = {}
    for one in measurements:
        if one.single:
            standing.setdefault(_papers(one.training), one.setup.name)

    def stands(one: Measurement) -> bool:
        return all(standing.get(_papers(each), each.name) == each.name for each in one.trainings)

    return tuple(one if stands(one) else replace(one, published=None) for one in measurements)


def _papers(training: Training) -> tuple[str, tuple[int, int]]:
    """By what the paper tells its networks apart."""
    return training.recipe.config, training.recipe.train_scale
