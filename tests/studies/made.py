"""Made studies: descriptions in a line, and measurements whose errors are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verydeep.configurations import CONFIGURATIONS
from verydeep.studies.description import Scales, Training
from verydeep.studies.evidence import Evidence, Measurement
from verydeep.studies.workflow import Setup
from verydeep.training.recipe import digits

NUM_IMAGES = 2000
TEXT = """
recipe = "digits"
[settings]
epochs = 2
[[train]]
networks = ["A"]
seeds = [0, 1]
[[train]]
networks = ["B"]
grow_from = "A"
seeds = [0, 1]
[[test]]
"""


def training(name: str, configuration: str | None = None, *, scale=(36, 36), init="he", **parents) -> Training:
    recipe = replace(
        digits(),
        config=configuration or (name if name in CONFIGURATIONS else name.partition("-")[0]),
        train_scale=scale,
        init=init,
    )
    return Training(name, "digits", recipe, (0,), **parents)


def measurement(
    trainings: Training | Sequence[Training],
    errors: float | Sequence[float],
    views: str = "dense",
    scales: Scales = "one",
    name: str | None = None,
) -> Measurement:
    """A test whose first so many images are wrong: errors in %, one for each seed."""
    trainings = (trainings,) if isinstance(trainings, Training) else tuple(trainings)
    errors = (errors,) if isinstance(errors, int | float) else tuple(errors)
    wrong = np.stack([np.arange(NUM_IMAGES) < round(error * NUM_IMAGES / 100) for error in errors])
    names = tuple(one.name for one in trainings)
    setup = Setup(
        name or "+".join(names), names, views, tuple(one.test_scales(scales, 4) for one in trainings), scales
    )
    seeds = tuple(range(len(errors)))
    return Measurement(setup, trainings, names[0], seeds, wrong, errors, tuple(0.0 for _ in errors), 5, 10, None)


def evidence(*measurements: Measurement) -> Evidence:
    return Evidence(measurements, "made", NUM_IMAGES)
