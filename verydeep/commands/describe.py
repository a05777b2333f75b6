"""`verydeep describe`: a network layer by layer, and Section 2.3's argument in numbers."""

from __future__ import annotations

from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command


@command
class Describe(Answering):
    """Show a network's layers: shapes, parameters, multiply-adds, receptive fields, memory.

    The network is a column of Table 1, or B-5x5 beside it, or that of a model. Figures are for one image of the
    network's window, or of --size. Multiply-adds are those of convolutions and FC layers, one a weight and place
    (an operation count is twice as many); memory is in float32.
    """

    renamed = {"--image-size": "--window"}

    network: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG|MODEL")]
    """Column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, B with one 5x5 layer for each pair; or a model."""
    num_classes: int = 1000
    """Number of classes."""
    width: float = 1.0
    """Factor on the number of channels of every layer."""
    window: int = 224
    """Side of the network's input in training, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Batch normalization after each convolution."""
    size: int | None = None
    """Side of the image that the figures are for, in pixels (default: the window)."""
