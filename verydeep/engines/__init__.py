"""A model file -> a scorer: pixels in, score maps out, both NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import require
from verydeep.run_folder import ModelConfig


@runtime_checkable
class Scorer(Protocol):
    """What evaluation needs of a network."""

    config: ModelConfig

    def score_maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class score maps before the soft-max.

        Args:
            pixels: of shape (batch, height, width, 3), levels of 0 to 255, RGB.

        Returns:
            Of shape (batch, classes, rows, columns).

        """
        ...


def open_scorer(model: Path, device: str = "auto", precision: str = "auto") -> Scorer:
    """Open a model on disk with the best engine there is.

    Args:
        model: a run folder, or one of its weights.
        device: `auto`, or a device of torch's.
        precision: `auto`, `float32` or `bfloat16`.

    Raises:
        ModelError: there is no such model, or it cannot be used.

    """
    require("torch", "train", "predicting and testing")
    from verydeep.engines.torch_engine import TorchScorer, choose_device

    return TorchScorer.open(model, choose_device(device), precision)
