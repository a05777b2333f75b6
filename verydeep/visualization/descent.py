"""An image is changed, step by step, until it is as near to its targets as it comes, or somebody says stop.

An inversion starts from noise and comes near to what one layer gives for an image. Gatys, Ecker and Bethge (arXiv
1508.06576, Figure 1) so show what is left of an image at a layer: low layers keep its pixels, high ones what is
there and roughly where, and not how it looks exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
import torch._dynamo  # an optimizer imports it, for seconds in which no signal would be heard
from torch import Tensor

from verydeep.errors import UsageError, VerydeepError
from verydeep.images.color import Preprocessing
from verydeep.network.vgg import VGG
from verydeep.visualization.objective import Losses, Objective, Terms
from verydeep.visualization.pixels import noise_like

HISTORY = 20  # steps whose gradients L-BFGS remembers: each takes twice an image's memory
EXPLODED = 4.0  # times the best: beyond it L-BFGS has lost the way and begins anew from the best
STEPS_AT_MOST = 100_000
VARIATION_WEIGHT = 10.0  # of an inversion: keeps down the speckles that a layer does not see


@dataclass(frozen=True)
class OptimizedImage:
    """What an image has become.

    Attributes:
        image: the best that was met, of shape (1, 3, height, width), within (0, 1).
        before: its losses at the start.
        after: its losses at the end.
        num_steps: that were done.
        stopped: whether it was ended before all of them.

    """

    image: Tensor
    before: Losses
    after: Losses
    num_steps: int
    stopped: bool


def descend(
    objective: Objective,
    start: Tensor,
    num_steps: int,
    *,
    advance: Callable[[int], None] = lambda count: None,
    stopped: Callable[[], bool] = lambda: False,
) -> OptimizedImage:
    """Bring the objective down by L-BFGS. A step is one pass through the network, forward and back.

    Args:
        objective: what is brought down.
        start: the image to begin with, of shape (1, 3, height, width), range (0, 1); it stays as it is.
        num_steps: at most.
        advance: called with 1 after each step.
        stopped: asked after each step whether to end.

    Raises:
        UsageError: the number of steps cannot be done, or the image does not fit in a GPU's memory.
        VerydeepError: the network's outputs are not finite.

    """
    check_steps(num_steps)
    descent = Descent(objective, start)
    done = 0
    try:
        while done < num_steps and not (done and stopped()):
            descent.step()
            done += 1
            advance(1)
        descent.measure()
    except torch.OutOfMemoryError:
        raise UsageError(
            f"an image of {start.shape[3]}x{start.shape[2]} pixels does not fit in the memory of {start.device}; "
            "use a smaller `size`"
        ) from None
    return OptimizedImage(descent.best, descent.first, descent.losses, done, done < num_steps)


class Descent:
    """L-BFGS on an image's levels, which are kept within their range, with the best image put by.

    Args:
        objective: what is brought down.
        start: the image to begin with.

    """

    def __init__(self, objective: Objective, start: Tensor) -> None:
        self._objective = objective
        # L-BFGS reads levels as one vector; the network works channels last, so that they are kept so too.
        self._levels = start.detach().permute(0, 2, 3, 1).contiguous().clone().requires_grad_()
        self._optimizer = self._begin()
        _, self.first = objective(self._image().detach())
        if not isfinite(self.first.total):
            raise VerydeepError("the network's outputs are not finite; see `verydeep inspect MODEL`")
        self.best, self.losses = self._image().detach().clone(), self.first

    def step(self) -> None:
        """Take one step, and begin anew from the best image where it led far astray."""
        total = float(self._optimizer.step(self._gradients))  # type: ignore[no-untyped-call]
        with torch.no_grad():
            if not total <= EXPLODED * self.losses.total or not self._levels.isfinite().all():
                self._levels.copy_(self.best.permute(0, 2, 3, 1))
                self._optimizer = self._begin()
            self._levels.clamp_(0, 1)

    def measure(self) -> None:
        """Measure the image that the last step led to."""
        with torch.no_grad():
            self._keep(self._objective(self._image())[1])

    def _begin(self) -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            [self._levels], max_iter=1, history_size=HISTORY, tolerance_grad=0.0, tolerance_change=0.0
        )

    def _gradients(self) -> Tensor:
        self._optimizer.zero_grad()
        total, losses = self._objective(self._image())
        total.backward()  # type: ignore[no-untyped-call]
        self._keep(losses)
        return total.detach()

    def _keep(self, losses: Losses) -> None:
        if losses.total < self.losses.total:
            self.best, self.losses = self._image().detach().clone(), losses

    def _image(self) -> Tensor:
        return self._levels.permute(0, 3, 1, 2)


def invert(
    network: VGG,
    preprocessing: Preprocessing,
    layer: str,
    image: Tensor,
    *,
    num_steps: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
    stopped: Callable[[], bool] = lambda: False,
) -> OptimizedImage:
    """Find an image that a layer takes for the given one.

    Args:
        network: whose layer it is; it is left as it is.
        preprocessing: of the network.
        layer: its name.
        image: of shape (1, 3, height, width), range (0, 1).
        num_steps: at most.
        seed: of the noise that it starts from.
        advance: called with 1 after each step.
        stopped: asked after each step whether to end.

    Raises:
        UsageError: there is no such layer, or the image is too small for it.

    """
    terms = Terms(content_layers=(layer,), variation_weight=VARIATION_WEIGHT)
    objective = Objective(network, preprocessing, terms, content=image)
    return descend(objective, noise_like(image, seed), num_steps, advance=advance, stopped=stopped)


def check_steps(num_steps: int, least: int = 1) -> None:
    """Make sure that so many steps can be done.

    Raises:
        UsageError: they are fewer than `least`, or more than anybody waits for.

    """
    if not least <= num_steps <= STEPS_AT_MOST:
        raise UsageError(f"`steps` is {num_steps}; it must be {least} to {STEPS_AT_MOST:,}")
