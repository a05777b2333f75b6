"""How the learning rate falls: a function for each schedule, and the table of them. Section 3.1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True)
class Position:
    """Where a run is, as far as a schedule goes by it.

    Attributes:
        step: counted from 0; warm-up is over.
        warmup: steps of the warm-up, over which the rate has risen from zero.
        steps: of the whole run.
        steps_per_epoch: to tell the epoch of a step.
        milestones: the recipe's, in epochs.
        plateaus: how often the validation error has stopped improving.

    """

    step: int
    warmup: float
    steps: int
    steps_per_epoch: int
    milestones: tuple[int, ...]
    plateaus: int


def plateau(highest: float, at: Position) -> float:
    """Divide the rate by ten when the validation error stops improving."""
    return highest / 10.0**at.plateaus


def steps(highest: float, at: Position) -> float:
    """Divide the rate by ten after each milestone."""
    return highest / 10.0 ** sum(at.step >= epoch * at.steps_per_epoch for epoch in at.milestones)


def cosine(highest: float, at: Position) -> float:
    """Lower the rate to zero along half a cosine."""
    share = (at.step - at.warmup) / max(1, at.steps - at.warmup)
    return highest * (1 + cos(pi * share)) / 2


SCHEDULES: dict[str, Callable[[float, Position], float]] = {"plateau": plateau, "steps": steps, "cosine": cosine}
"""Name of a schedule -> the function of the highest rate and the position that gives a step's rate."""
