"""The results in OUT -> what the tables and the claims stand on: for each test, who was wrong on which image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.fusion import matched
from verydeep.evaluation.paired import wrong_answers
from verydeep.evaluation.results import read_result
from verydeep.reports.published import Published
from verydeep.reports.tables import Row, make_rows
from verydeep.studies.description import Training
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


def gather(workflow: Workflow, out: Path) -> Evidence:
    """Read every result that is there.

    Raises:
        ModelError: one is damaged.
        UsageError: two are of different images.

    """
    steps = [step for step in workflow.results if (out / step.name).is_file()]
    if not steps:
        return Evidence(())
    first_path = out / steps[0].name
    first = replace(read_result(first_path), posteriors=np.empty((0, 0)))  # names and labels are what is needed
    groups: dict[Setup, list[tuple[Step, Row, Wrong]]] = {}
    for step in steps:
        result = read_result(out / step.name)
        wrong = wrong_answers(matched(result, out / step.name, first, first_path))
        assert step.setup, "results have one"
        groups.setdefault(step.setup, []).append((step, make_rows([result])[0], wrong))
    trainings = workflow.description.trainings
    measurements = [
        _measurement(setup, tuple(trainings[name] for name in setup.networks), tests)
        for setup, tests in groups.items()
    ]
    return Evidence(beside_the_paper(measurements), first.facts.data, len(first.labels))


def _measurement(
    setup: Setup, trainings: tuple[Training, ...], tests: Iterable[tuple[Step, Row, Wrong]]
) -> Measurement:
    steps, rows, wrong = zip(*sorted(tests, key=lambda test: test[0].seed), strict=True)
    return Measurement(
        setup,
        trainings,
        rows[0].network,
        tuple(step.seed for step in steps),
        np.stack(wrong),
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
        if len(one.trainings) == 2 and not all(each.jittered for each in one.trainings):
            return False  # the paper's two networks are both jittered
        return all(standing.get(_papers(each), each.name) == each.name for each in one.trainings)

    return tuple(one if stands(one) else replace(one, published=None) for one in measurements)


def _papers(training: Training) -> tuple[str, tuple[int, int]]:
    """By what the paper tells its networks apart."""
    return training.recipe.config, training.recipe.train_scale
