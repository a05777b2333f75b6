"""A picture is changed, step by step, until it is as near to its targets as it comes, or somebody says stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from verydeep.errors import UsageError, VerydeepError
from verydeep.visualization.objective import Objective, Parts

HISTORY = 20  # steps whose gradients L-BFGS remembers: each takes twice a picture's memory
EXPLODED = 4.0  # times the best: beyond it L-BFGS has lost the way and begins anew from the best
STEPS_AT_MOST = 100_000


@dataclass(frozen=True)
class Outcome:
    """What a picture has become.

    Attributes:
        picture: the best that was met, of shape (1, 3, height, width), within (0, 1).
        before: its parts at the start.
        after: its parts at the end.
        num_steps: that were done.
        stopped: whether it was ended before all of them.

    """

    picture: Tensor
    before: Parts
    after: Parts
    num_steps: int
    stopped: bool


def descend(
    objective: Objective,
    start: Tensor,
    num_steps: int,
    *,
    advance: Callable[[int], None] = lambda count: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Bring the objective down by L-BFGS. A step is one pass through the network, forward and back.

    Args:
        objective: what is brought down.
        start: the picture to begin with, of shape (1, 3, height, width), range (0, 1); it stays as it is.
        num_steps: at most.
        advance: called with 1 after each step.
        stopped: asked after each step whether to end.

    Raises:
        UsageError: the number of steps cannot be done, or the picture does not fit in a GPU's memory.
        VerydeepError: the network gives numbers that are not finite.

    """
    check_steps(num_steps)
    descent = Descent(objective, start)
    done = 0
    try:
        while done < num_steps and not (done and stopped()):
            descent.step()
            done += 1
            advance(1)
        descent.look()
    except torch.OutOfMemoryError:
        raise UsageError(
            f"a picture of {start.shape[3]}x{start.shape[2]} pixels does not fit in the memory of {start.device}; "
            "use a smaller --size"
        ) from None
    return Outcome(descent.best, descent.first, descent.parts, done, done < num_steps)


class Descent:
    """L-BFGS on a picture's levels, which are kept within their range, with the best picture put by.

    Args:
        objective: what is brought down.
        start: the picture to begin with.

    """

    def __init__(self, objective: Objective, start: Tensor) -> None:
        self._objective = objective
        # L-BFGS reads levels as one vector; the network works channels last, so that they are kept so too.
        self._levels = start.detach().permute(0, 2, 3, 1).contiguous().clone().requires_grad_()
        self._optimizer = self._begin()
        _, self.first = objective(self._picture().detach())
        if not isfinite(self.first.total):
            raise VerydeepError("the network gives numbers that are not finite; see `verydeep inspect MODEL`")
        self.best, self.parts = self._picture().detach().clone(), self.first

    def step(self) -> None:
        """Take one step, and begin anew from the best picture where it led far astray."""
        total = float(self._optimizer.step(self._measure))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if not total <= EXPLODED * self.parts.total or not self._levels.isfinite().all():
                self._levels.copy_(self.best.permute(0, 2, 3, 1))
                self._optimizer = self._begin()
            self._levels.clamp_(0, 1)

    def look(self) -> None:
        """Measure the picture that the last step led to."""
        with torch.no_grad():
            self._keep(self._objective(self._picture())[1])

    def _begin(self) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            [self._levels], max_iter=1, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0
        )

    def _measure(self) -> Tensor:
        self._optimizer.zero_grad()
        total, parts = self._objective(self._picture())
        total.backward()  # type: ignore[no-untyped-call]
        self._keep(parts)
        return total.detach()

    def _keep(self, parts: Parts) -> None:
        if parts.total < self.parts.total:
            self.best, self.parts = self._picture().detach().clone(), parts

    def _picture(self) -> Tensor:
        return self._levels.permute(0, 3, 1, 2)


def check_steps(num_steps: int, least: int = 1) -> None:
    """Make sure that so many steps can be done.

    Raises:
        UsageError: they are fewer than `least`, or more than anybody waits for.

    """
    if not least <= num_steps <= STEPS_AT_MOST:
        raise UsageError(f"--steps is {num_steps}; it has to be {least} to {STEPS_AT_MOST:,}")
