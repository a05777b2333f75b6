"""What a layer gives for an image -> an image, found from noise, for which it gives the same.

Gatys, Ecker and Bethge (arXiv 1508.06576, Figure 1) so show what is left of an image at a layer: low layers keep
its pixels, high ones what is there and roughly where, and not how it looks exactly.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from verydeep.images.color import Preprocessing
from verydeep.network.vgg import VGG
from verydeep.visualization.descent import OptimizedImage, descend
from verydeep.visualization.objective import Objective, Terms
from verydeep.visualization.pixels import noise_like

VARIATION_WEIGHT = 10.0  # keeps down the speckles that a layer does not see


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
