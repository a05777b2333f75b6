"""What a layer gives for a picture -> a picture, found from noise, for which it gives the same.

Gatys, Ecker and Bethge (arXiv 1508.06576, Figure 1) so show what is left of a picture at a layer: low layers keep
its pixels, high ones what is there and roughly where, and not how it looks exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from verydeep.images.color import Preprocessing
from verydeep.network.vgg import VGG
from verydeep.visualization.descent import Outcome, descend
from verydeep.visualization.objective import Objective, Wanted
from verydeep.visualization.pixels import noise_like

VARIATION_WEIGHT = 10.0  # keeps down the speckles that a layer does not see


def invert(
    network: VGG,
    preprocessing: Preprocessing,
    layer: str,
    picture: Tensor,
    *,
    num_steps: int,
    seed: int = 0,
    advance: Callable[[int], None] = lambda count: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Find a picture that a layer takes for the given one.

    Args:
        network: whose layer it is; it is left as it is.
        preprocessing: of the network.
        layer: its name.
        picture: of shape (1, 3, height, width), range (0, 1).
        num_steps: at most.
        seed: of the noise that it starts from.
        advance: called with 1 after each step.
        stopped: asked after each step whether to end.

    Raises:
        UsageError: there is no such layer, or the picture is too small for it.

    """
    wanted = Wanted(content_layers=(layer,), variation_weight=VARIATION_WEIGHT)
    objective = Objective(network, preprocessing, wanted, content=picture)
    return descend(objective, noise_like(picture, seed), num_steps, advance=advance, stopped=stopped)
