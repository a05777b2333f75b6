"""Stochastic gradient descent, and how its rate falls. Section 3.1."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from verydeep.training.recipe import Recipe
from verydeep.training.schedules import SCHEDULES, Position

if TYPE_CHECKING:
    import torch
    from torch import nn

DIVISIONS = 3  # the paper's rate was divided by ten three times


def make_optimizer(
    network: nn.Module, recipe: Recipe, new_layers: Collection[str] | None = None
) -> torch.optim.SGD:
    """SGD with momentum and weight decay on weights, and on biases and normalisation where the recipe wants it.

    Fused: one pass over memory a step, several times as fast on the FC layers. Each group of parameters has a
    `factor` on the rate, and parameters that need no gradient are in none.

    Args:
        network: whose parameters are named `<layer>.weight` and the like.
        recipe: momentum, decay, and the factor on the rate of layers that are not new.
        new_layers: in fine-tuning, the layers that start anew, with the full rate; None for all.

    """
    import torch  # here, as whoever only asks for the schedule needs none

    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = recipe.weight_decay if recipe.decay_all or parameter.ndim > 1 else 0.0
        is_new = new_layers is None or name.partition(".")[0] in new_layers
        groups.setdefault((1.0 if is_new else recipe.rate_below, decay), []).append(parameter)
    return torch.optim.SGD(
        [
            {"params": parameters, "factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        fused=True,
    )


@dataclass
class Schedule:
    """The rate of each step.

    Attributes:
        recipe: which schedule, its highest rate, its length.
        steps_per_epoch: to tell the epoch of a step.
        best_error: the least validation error so far, in %.
        bad_epochs: epochs since then, or since the last division.
        divisions: how often the rate has been divided by ten.

    """

    recipe: Recipe
    steps_per_epoch: int
    best_error: float = float("inf")
    bad_epochs: int = 0
    divisions: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warmup = self.recipe.warmup_epochs * self.steps_per_epoch
        if step < warmup:
            return self.recipe.learning_rate * min(1, (step + 1) / warmup)
        total = self.recipe.epochs * self.steps_per_epoch
        at = Position(step, warmup, total, self.steps_per_epoch, self.recipe.milestones, self.divisions)
        return SCHEDULES[self.recipe.schedule](self.recipe.learning_rate, at)

    def after_epoch(self, error: float) -> bool:
        """Take note of an epoch's validation error in %; tell whether it is the best so far, or as good.

        Few images give many epochs the same error, and the later of them has learnt more.
        """
        better, kept = error < self.best_error, error <= self.best_error
        self.bad_epochs = 0 if better else self.bad_epochs + 1
        self.best_error = min(error, self.best_error)
        if self.recipe.schedule == "plateau" and self.bad_epochs >= self.recipe.patience:
            self.divisions += 1
            self.bad_epochs = 0
        return kept

    @property
    def finished(self) -> bool:
        """Whether the plateau after the last division has been reached."""
        return self.divisions > DIVISIONS

    def state(self) -> dict[str, float]:
        """What changes in the course of a run."""
        return {
            "best_error": self.best_error,
            "bad_epochs": self.bad_epochs,
            "divisions": self.divisions,
        }

    def restore(self, state: dict[str, float]) -> None:
        """Go on from such a state."""
        self.best_error = float(state["best_error"])
        self.bad_epochs, self.divisions = int(state["bad_epochs"]), int(state["divisions"])
