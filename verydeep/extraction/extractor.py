"""A model on disk -> what turns pixels into maps, on whichever engine there is; both sides are NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from verydeep.engines import EngineName
from verydeep.engines.processor import has_gpu, native_module
from verydeep.errors import UsageError, require
from verydeep.layers import open_native
from verydeep.layers.names import Node
from verydeep.run_folder import ModelConfig, read_model

Maps = dict[str, NDArray[np.float32]]


class Extractor(Protocol):
    """What extraction needs of a network."""

    config: ModelConfig
    path: tuple[Node, ...]
    layers: tuple[str, ...]

    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        """What each layer gives for pictures of shape (batch, height, width, 3), as (batch, channels, ...)."""
        ...


def open_extractor(
    model: Path,
    layers: Sequence[str],
    *,
    pooling: str = "max",
    device: str = "auto",
    precision: str = "auto",
    engine: EngineName = "auto",
) -> Extractor:
    """Tap a model on disk with the best engine there is: the native one, unless there is a GPU.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: there is no such layer, or the engine cannot use the device.
        VerydeepError: the engine is not installed.

    """
    if engine == "native" and device not in ("auto", "cpu"):
        raise UsageError(f"the native engine computes on the processor, not on {device!r}; use --engine torch")
    on_processor = device == "cpu" or (device == "auto" and not has_gpu())
    if engine == "native" or (engine == "auto" and native_module() is not None and on_processor):
        return open_native(*read_model(model), layers, pooling=pooling, precision=precision)
    require("torch", "train", "features with the torch engine")
    from verydeep.extraction.torch_extractor import TorchExtractor

    return TorchExtractor(model, layers, pooling, device, precision)
