"""Linear weights of LPIPS on VGG-16, version 0.1, as its authors publish them: BSD-2-Clause, see LICENSE here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.safetensors_file import read_tensors

FILE = Path(__file__).parent / "vgg.safetensors"
LICENCE = FILE.with_name("LICENSE")
"""Goes with every copy of the weights."""
LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
"""The last ReLU of each stage, whose outputs are weighted."""


def linear_weights() -> dict[str, NDArray[np.float32]]:
    """The weight of each channel, by layer, of shape (channels,) each; none is below 0."""
    tensors = read_tensors(FILE)
    return {layer: tensors[f"lin{number}"] for number, layer in enumerate(LAYERS)}
