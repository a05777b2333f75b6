"""What steps take: time by their multiply-adds and the machine's rate, disk by parameters.

A rate that nobody has said or seen is measured by one large matrix product, and the estimate is a rough one:
within a factor of three. From the first finished training on, the study's own rates are taken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from verydeep.accounting import multiply_adds, num_parameters
from verydeep.evaluation.protocols import protocols_of
from verydeep.studies.description import Size, Training
from verydeep.studies.workflow import Step

START_SECONDS = {"train": 5.0, "test": 2.0, "fuse": 1.5}  # of a process, with what it imports
IMAGE_SECONDS = {"train": 2e-4, "test": 1e-4, "fuse": 0.0}  # of a view, beside the network: decoding, Python
BACKWARD = 3  # a training step's multiply-adds, in those of the forward pass
SHARE = {"train": 1.2, "test": 2.0}
"""Of the rate of a large product in float32. With D at width 1/4 and windows of 32 pixels, in bfloat16, on two
cores that multiply and add 98e9 times a second in NumPy: 2,000 images a second trained, 500,000 crops tested in
39 s. Trainings in float32 have two thirds of it."""
ASPECT = 4 / 3  # of photographs; small windows are shown square images
LEAST_PHOTOGRAPH = 64  # pixels of a window
STATES = 6  # copies of the parameters in a run folder: best and last weights, two states with momentum
BYTES = 4
RESULT_BYTES = 8  # of a posterior's number


@dataclass(frozen=True)
class Cost:
    """What a step takes.

    Attributes:
        multiply_adds: in all.
        views: images that are shown, in all.
        disk: bytes that stay.

    """

    multiply_adds: float
    views: float
    disk: float


def cost(step: Step, size: Size) -> Cost:
    """What a step takes on data of this size."""
    if step.kind == "train":
        assert step.training is not None
        return _training(step.training, size)
    disk = float(RESULT_BYTES * size.test * size.classes)
    if step.kind == "fuse":
        return Cost(0, 0, disk)
    assert step.training is not None and step.setup is not None
    forward, views = _views(step.training, step.setup.views, step.setup.scales[0], size.classes)
    return Cost(forward * size.test, views * size.test, disk)


def _training(training: Training, size: Size) -> Cost:
    architecture, recipe = training.recipe.architecture(size.classes), training.recipe
    window, shown, validated = recipe.window, recipe.epochs * size.train, recipe.epochs * size.test
    test = multiply_adds(architecture, *_whole(training, training.test_scales("one", 0)[0]))
    forward = BACKWARD * shown * multiply_adds(architecture, window, window) + validated * test
    return Cost(forward, shown + validated, float(STATES * BYTES * num_parameters(architecture)))


def _views(training: Training, views: str, scales: tuple[int, ...], classes: int) -> tuple[float, int]:
    """Multiply-adds of one image's test, and the number of its views."""
    architecture, window = training.recipe.architecture(classes), training.recipe.window
    forward, count = 0.0, 0
    for protocol in protocols_of(views, scales, training.recipe.mirror):
        for scale in scales:
            height, width = _whole(training, scale)
            crops = 1 if protocol.whole else len(protocol.offsets(width, height, window))
            shown = crops * (1 + protocol.mirror)
            sides = (height, width) if protocol.whole else (window, window)
            count += shown
            forward += shown * multiply_adds(architecture, *sides)
    return forward, count


def _whole(training: Training, scale: int) -> tuple[int, int]:
    aspect = ASPECT if training.recipe.window > LEAST_PHOTOGRAPH else 1
    return scale, round(scale * aspect)


@dataclass
class Rates:
    """Multiply-adds a second of this machine, by the kind of step; more is learnt as steps finish.

    Attributes:
        speed: of a training, as somebody has said or `measure` found.
        said: whether somebody has said it.

    """

    speed: float
    said: bool = False

    def __post_init__(self) -> None:
        self._spent = {"train": 0.0, "test": 0.0, "fuse": 0.0}
        self._expected = dict(self._spent)

    def seconds(self, step: Step, cost: Cost) -> float:
        """How long a step takes."""
        expected = self._expected[step.kind]
        return self._guess(step, cost) * (self._spent[step.kind] / expected if expected else 1.0)

    def learn(self, step: Step, cost: Cost, seconds: float) -> None:
        """A step has taken so long; what a fusion takes is not learnt, it is as good as nothing."""
        if step.kind != "fuse":
            self._spent[step.kind] += seconds
            self._expected[step.kind] += self._guess(step, cost)

    def _guess(self, step: Step, cost: Cost) -> float:
        start = START_SECONDS[step.kind]
        if not cost.multiply_adds:
            return start
        rate = self.speed if step.kind == "train" else self.speed * SHARE["test"] / SHARE["train"]
        views = 0.0 if self.said else cost.views * IMAGE_SECONDS[step.kind]
        return start + cost.multiply_adds / rate + views


def measure() -> float:
    """Multiply-adds a second that a training may reach here: a share of what a matrix product does."""
    import numpy as np

    side = 1024
    matrix = np.ones((side, side), np.float32)
    matrix @ matrix  # threads are started
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        matrix @ matrix
        seconds.append(time.perf_counter() - start)
    return SHARE["train"] * side**3 / min(seconds)


def total(costs: Mapping[str, Cost]) -> Cost:
    """All steps together."""
    every = list(costs.values())
    return Cost(
        sum(one.multiply_adds for one in every), sum(one.views for one in every), sum(one.disk for one in every)
    )
