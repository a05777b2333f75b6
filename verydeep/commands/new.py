"""`verydeep new`: an untrained model on disk, for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.commands.command import Answering, command


@command
class New(Answering):
    """Make an untrained model: the weights that a training would start with."""

    renamed: ClassVar = {"--start": "--init"}

    config: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIG")]
    """Column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, B with one 5x5 layer for each pair."""
    run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder to make."""
    init: str = "he"
    """How weights are drawn: he, glorot, normal or normal-literal."""
    seed: int = 0
    """Of the random numbers."""
    num_classes: int = 1000
    """Number of classes; they are called by their numbers."""
    width: float = 1.0
    """Factor on the number of channels of every layer."""
    window: int = 224
    """Side of the network's window, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Batch normalisation after each convolution."""
