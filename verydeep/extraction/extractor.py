"""A model on disk -> what turns pixels into maps, on whichever engine there is; both sides are NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import require
from verydeep.inference import EngineName, PrecisionName, choose_engine
from verydeep.inference.kernels import has_kernels
from verydeep.layers import open_native
from verydeep.layers.names import Node
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_source

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
    precision: PrecisionName = "auto",
    engine: EngineName = "auto",
) -> Extractor:
    """Tap a model on disk, whoever made it, with the engine that `open_scorer` would take.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: there is no such layer, or the engine cannot use the device.
        VerydeepError: the engine is not installed.

    """
    choose_engine(device, engine, precision)  # before a large file is read
    return extractor_of(
        *open_source(model), layers, pooling=pooling, device=device, precision=precision, engine=engine
    )


def extractor_of(
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    layers: Sequence[str],
    *,
    pooling: str = "max",
    device: str = "auto",
    precision: PrecisionName = "auto",
    engine: EngineName = "auto",
) -> Extractor:
    """Tap a model whose weights are in memory; as `open_extractor`."""
    chosen = choose_engine(device, engine, precision)
    if chosen == "native" and (engine == "native" or precision == "int16" or has_kernels(config.architecture)):
        return open_native(config, tensors, layers, pooling=pooling, precision=precision)
    require("torch", "train", "features with the torch engine")
    from verydeep.extraction.torch_extractor import TorchExtractor

    return TorchExtractor(config, tensors, layers, pooling, device, precision)
