"""Made studies: descriptions in a line, and outcomes whose errors are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verydeep.configurations import CONFIGURATIONS
from verydeep.studies.description import Scales, Training
from verydeep.studies.evidence import Evidence, Outcome
from verydeep.studies.plan import Tested
from verydeep.training.recipe import digits

NUM_PICTURES = 2000


def training(name: str, configuration: str | None = None, *, scale=(36, 36), start="he", **parents) -> Training:
    recipe = replace(
        digits(),
        configuration=configuration or (name if name in CONFIGURATIONS else name.partition("-")[0]),
        scale=scale,
        start=start,
    )
    return Training(name, "digits", recipe, (0,), **parents)


def outcome(
    trainings: Training | Sequence[Training],
    errors: float | Sequence[float],
    views: str = "dense",
    scales: Scales = "one",
    name: str | None = None,
) -> Outcome:
    """A test whose first so many pictures are wrong: errors in %, one for each seed."""
    trainings = (trainings,) if isinstance(trainings, Training) else tuple(trainings)
    errors = (errors,) if isinstance(errors, int | float) else tuple(errors)
    wrong = np.stack([np.arange(NUM_PICTURES) < round(error * NUM_PICTURES / 100) for error in errors])
    names = tuple(one.name for one in trainings)
    tested = Tested(
        name or "+".join(names), names, views, tuple(one.test_scales(scales, 4) for one in trainings), scales
    )
    seeds = tuple(range(len(errors)))
    return Outcome(tested, trainings, names[0], seeds, wrong, errors, tuple(0.0 for _ in errors), 5, 10, None)


def evidence(*outcomes: Outcome) -> Evidence:
    return Evidence(outcomes, "made", NUM_PICTURES)
