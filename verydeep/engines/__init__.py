"""A model file -> a scorer: pixels in, score maps out, both NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from verydeep.engines.processor import has_gpu, native_module
from verydeep.errors import UsageError, VerydeepError, require
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


EngineName = Literal["auto", "native", "torch"]


def open_scorer(model: Path, device: str = "auto", precision: str = "auto", engine: EngineName = "auto") -> Scorer:
    """Open a model on disk with the best engine there is.

    The native engine is taken for `auto` and `cpu`, and torch for every other device. A GPU comes first where
    `auto` finds its driver and torch. Without the native engine torch runs on the processor too.

    Args:
        model: a run folder, or one of its weights; or another library's weights, a file or a name.
        device: `auto`, or a device of torch's.
        precision: `auto`, `float32` or `bfloat16`.
        engine: `auto`, or the one to take.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: the engine is not one of these, or cannot use the device.
        VerydeepError: the engine is not installed.

    """
    if engine not in get_args(EngineName):
        raise UsageError(f"no engine is called {engine!r}; there are {', '.join(get_args(EngineName))}")
    native = native_module()
    if engine == "native":
        if device not in ("auto", "cpu"):
            raise UsageError(f"the native engine computes on the processor, not on {device!r}; use --engine torch")
        if native is None:
            raise VerydeepError(
                "the native engine is not there: the package was installed without a C++ compiler; install one, "
                "and then verydeep again, or use --engine torch"
            )
    takes_native = engine == "native" or (engine == "auto" and native is not None and device in ("auto", "cpu"))
    if takes_native and not (engine == "auto" and device == "auto" and has_gpu()):
        from verydeep.engines.native import NativeScorer

        return NativeScorer.open(model, precision)
    require("torch", "train", "predicting and testing with the torch engine")
    from verydeep.engines.torch_engine import TorchScorer, choose_device

    chosen = choose_device(device)
    if takes_native and chosen.type == "cpu":  # the driver is there, but no GPU that torch can use
        from verydeep.engines.native import NativeScorer

        return NativeScorer.open(model, precision)
    return TorchScorer.open(model, chosen, precision)


def scorer_of(config: ModelConfig, tensors: Mapping[str, NDArray[Any]]) -> Scorer:
    """The network itself, from weights in memory: on the processor, in float32, by the native engine or torch.

    Raises:
        VerydeepError: neither is installed.

    """
    if native_module() is not None:
        from verydeep.engines.native import NativeScorer

        return NativeScorer(config, tensors, "float32")
    require("torch", "train", "computing without the native engine")
    from verydeep.engines.torch_engine import TorchScorer

    return TorchScorer.holding(config, tensors, "cpu", "float32")
