"""The results in OUT -> what the tables and the claims stand on: for each test, who was wrong on which picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.evaluation.fusion import matched
from verydeep.evaluation.paired import wrong_answers
from verydeep.evaluation.results import Evaluation, read_result
from verydeep.reports.published import Published
from verydeep.reports.tables import Row, make_rows
from verydeep.studies.description import Training
from verydeep.studies.plan import Plan, Step, Tested

Wrong = NDArray[np.bool_]  # (seeds, pictures)


@dataclass(frozen=True)
class Outcome:
    """A test's results, one for each seed that has been tested.

    Attributes:
        tested: what was tested, and how.
        trainings: of its networks.
        network: what to call them, with the width where it is not the paper's.
        seeds: in rising order.
        wrong: which pictures were named wrong by each seed; the same pictures for all outcomes of a study.
        top1: error of each seed, in %.
        top5: likewise.
        top_k: the 5 of top-5, or the number of classes where there are fewer.
        num_classes: number of classes.
        published: the paper's row for the same test; None where it has none.

    """

    tested: Tested
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
    def error(self) -> float:
        """Top-1 error, the mean over seeds, in %."""
        return float(np.mean(self.top1))


@dataclass(frozen=True)
class Evidence:
    """All that a study has found out so far.

    Attributes:
        outcomes: in the plan's order.
        data: name of the data.
        num_pictures: that every test was on.

    """

    outcomes: tuple[Outcome, ...]
    data: str
    num_pictures: int


def gather(plan: Plan, out: Path) -> Evidence:
    """Read every result that is there.

    Raises:
        ModelError: one is damaged.
        UsageError: two are of different pictures.

    """
    groups: dict[Tested, list[Step]] = {}
    for step in plan.results:
        if step.tested and (out / step.name).is_file():
            groups.setdefault(step.tested, []).append(step)
    reader = _Reader(out)
    outcomes = [
        _outcome(plan, tested, sorted(steps, key=lambda step: step.seed), reader)
        for tested, steps in groups.items()
    ]
    first = reader.first
    return Evidence(
        beside_the_paper(outcomes), first.facts.data if first else "", len(first.labels) if first else 0
    )


def beside_the_paper(outcomes: Sequence[Outcome]) -> tuple[Outcome, ...]:
    """Keep the paper's rows for the networks that stand for theirs: the first of each configuration and S.

    The others are variants, trained in ways that the paper's tables do not have.
    """
    standing: dict[tuple[str, tuple[int, int]], str] = {}
    for one in outcomes:
        if one.single:
            standing.setdefault((one.training.configuration, one.training.scale), one.tested.name)

    def stands(one: Outcome) -> bool:
        pair = len(one.trainings) == 2  # the paper's two networks are both jittered
        return all(
            standing.get((each.configuration, each.scale), each.name) == each.name and (each.jittered or not pair)
            for each in one.trainings
        )

    return tuple(one if stands(one) else replace(one, published=None) for one in outcomes)


@dataclass
class _Reader:
    """Reads results, each with its pictures in the order of the first's."""

    out: Path
    first: Evaluation | None = None
    first_path: Path = Path()

    def read(self, step: Step) -> tuple[Row, Wrong]:
        """What the tables say of a result, and who was wrong."""
        path = self.out / step.name
        result = read_result(path)
        if self.first is None:
            self.first, self.first_path = replace(result, posteriors=np.empty((0, 0))), path
        wrong = wrong_answers(matched(result, path, self.first, self.first_path))
        return make_rows([result])[0], wrong


def _outcome(plan: Plan, tested: Tested, steps: Sequence[Step], reader: _Reader) -> Outcome:
    rows, wrong = zip(*(reader.read(step) for step in steps), strict=True)
    return Outcome(
        tested,
        tuple(plan.description.trainings[name] for name in tested.networks),
        rows[0].network,
        tuple(step.seed for step in steps),
        np.stack(wrong),
        tuple(row.top1_error for row in rows),
        tuple(row.top5_error for row in rows),
        rows[0].top_k,
        len(rows[0].facts.class_names),
        rows[0].published,
    )
