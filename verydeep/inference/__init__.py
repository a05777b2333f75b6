"""A model file -> a scorer: pixels in, score maps out, both NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import UsageError, require
from verydeep.inference.kernels import has_kernels
from verydeep.inference.processor import has_gpu, native_module, require_native
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_source


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


EngineName = Literal["auto", "native", "torch"]
PrecisionName = Literal["auto", "float32", "bfloat16", "int16"]
Products = Literal["float32", "bfloat16", "int16"]


def products_in(precision: PrecisionName) -> Products:
    """What is multiplied in: `auto` is float32, so that results are the same everywhere."""
    return "float32" if precision == "auto" else precision


def open_scorer(
    model: Path, device: str = "auto", precision: PrecisionName = "auto", engine: EngineName = "auto"
) -> Scorer:
    """Open a model on disk with the best engine there is.

    The native engine is taken for `auto` and `cpu`, and torch for every other device. A GPU comes first where
    `auto` finds its driver and torch. Without the native engine torch runs on the processor too, and where the
    network has layers that the native engine has no kernels for, as B-5x5 has.

    Args:
        model: a run folder, or one of its weights; or another library's weights, a file or a name.
        device: `auto`, or a device of torch's.
        precision: `auto`, which is float32; `float32`, `bfloat16`, or `int16` with the native engine.
        engine: `auto`, or the one to take.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: the engine is not one of these, or cannot use the device or the precision.
        VerydeepError: the engine is not installed.

    """
    chosen = choose_engine(device, engine, precision)
    config, tensors = open_source(model)
    if chosen == "native" and (engine == "native" or precision == "int16" or has_kernels(config.architecture)):
        from verydeep.inference.native import NativeScorer

        return NativeScorer(config, tensors, precision)
    require("torch", "train", f"testing {config.architecture.configuration} with the torch engine")
    from verydeep.inference.torch_engine import TorchScorer, choose_device

    return TorchScorer.holding(config, tensors, choose_device(device), precision)


def choose_engine(
    device: str, engine: EngineName, precision: PrecisionName = "auto"
) -> Literal["native", "torch"]:
    """Choose between the two engines, as `open_scorer` says. Imports torch only where there may be a GPU.

    Raises:
        UsageError: the engine is not one of these, or cannot use the device or the precision.
        VerydeepError: the native engine is asked for and is not there.

    """
    if engine not in get_args(EngineName):
        raise UsageError(f"no engine is called {engine!r}; there are {', '.join(get_args(EngineName))}")
    if precision not in get_args(PrecisionName):
        raise UsageError(f"no precision is called {precision!r}; there are {', '.join(get_args(PrecisionName))}")
    on_processor = device in ("auto", "cpu")
    if precision == "int16":
        if engine == "torch" or not on_processor:
            raise UsageError("int16 is a precision of the native engine, on the processor; torch has bfloat16")
        engine = "native"
    if engine == "native":
        if not on_processor:
            raise UsageError(f"the native engine computes on the processor, not on {device!r}; use --engine torch")
        require_native()
        return "native"
    if engine == "torch" or not on_processor or native_module() is None:
        return "torch"
    if device == "cpu" or not has_gpu():
        return "native"
    from verydeep.inference.torch_engine import choose_device

    # The driver is there; whether there is a GPU that torch can use, it alone knows.
    return "native" if choose_device(device).type == "cpu" else "torch"


def scorer_of(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> Scorer:
    """The network itself, from weights in memory: on the processor, in float32, by the native engine or torch.

    Raises:
        VerydeepError: neither is installed.

    """
    if native_module() is not None and has_kernels(config.architecture):
        from verydeep.inference.native import NativeScorer

        return NativeScorer(config, tensors, "float32")
    require("torch", "train", "computing without the native engine")
    from verydeep.inference.torch_engine import TorchScorer

    return TorchScorer.holding(config, tensors, "cpu", "float32")
