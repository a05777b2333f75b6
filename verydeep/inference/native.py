"""The engine of our own: C++ kernels on the processor's vector instructions, and no torch in the process.

3x3 convolutions by Winograd's minimal filtering; docs/native-engine.md tells how.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep import _native
from verydeep.configurations import (
    BATCH_NORM_EPSILON,
    Architecture,
    Convolution,
    FullyConnected,
    Pooling,
)
from verydeep.errors import UsageError
from verydeep.inference import PrecisionName, products_in
from verydeep.inference.kernels import check_kernels
from verydeep.inference.processor import instruction_set, num_threads
from verydeep.inference.strips import MOST_PIXELS, score_map_in_strips
from verydeep.run_folder import ModelConfig

Tensors = Mapping[str, NDArray[Any]]


class NativeScorer:
    """Scores pictures with a network on this machine's processor.

    Several threads may call one scorer at once; they take turns, and the GIL is released while one computes.

    Args:
        config: whose architecture and preprocessing are applied.
        tensors: the weights, by their names in the state dict. They are copied in a form of the engine's own.
        precision: `float32`; `bfloat16`, where the processor has it, for the products, whose sums stay float32;
            `int16`, likewise, for the products of 3x3 convolutions; or `auto`, which is float32.
        instructions: an instruction set, of those that `verydeep engines` tells; None for the best.
        threads: None for as many as this process may use.

    Attributes:
        precision: in which it computes: float32 where the processor lacks what was asked for.

    Raises:
        UsageError: the processor lacks the instructions, or the network has layers that are not among the kernels.

    """

    def __init__(
        self,
        config: ModelConfig,
        tensors: Tensors,
        precision: PrecisionName = "auto",
        instructions: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.config = config
        check_kernels(config.architecture)
        chosen = instructions or instruction_set(_native)
        if chosen not in _native.available_instructions():
            raise UsageError(
                f"this processor has no {chosen}; it has {', '.join(_native.available_instructions())}"
            )
        steps, self._outputs = steps_of(config.architecture, tensors)
        self._network = _native.Network(
            steps,
            in_channels=3,
            levels=levels_of(config),
            flip=config.preprocessing.channels == "BGR",
            instructions=chosen,
            precision=products_in(precision),
            threads=threads or num_threads(),
        )
        self.precision = self._network.precision

    def score_maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class score maps, as `Scorer` says.

        Raises:
            UsageError: the pictures are smaller than one window, or no pictures.

        """
        check_pixels(pixels)
        height, width = pixels.shape[1:3]
        rows, columns = self.config.architecture.score_map_size(height, width)
        if len(pixels) == 0:
            return np.empty((0, self.config.architecture.num_classes, rows, columns), np.float32)
        return score_map_in_strips(self._score, self.config.architecture, pixels, MOST_PIXELS)

    def activations(self, pixels: NDArray[np.uint8], names: Sequence[str]) -> list[NDArray[np.float32]]:
        """What layers give, of shape (batch, channels, height, width) each. Layers behind the last are not run.

        Args:
            pixels: as for `score_maps`, of any size that leaves a map at these layers.
            names: `conv3_2` and `fc6` for bare sums, `relu3_2` and `relu6` behind the ReLU, `norm1_1`, `pool3`.

        Raises:
            UsageError: the network has no such layer, or the pictures are too small, or no pictures.

        """
        check_pixels(pixels)
        unknown = [name for name in names if name not in self._outputs]
        if unknown:
            raise UsageError(f"the network has no layer {unknown[0]!r}; it has {', '.join(self._outputs)}")
        return self._run(pixels, names)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names that `activations` takes, from the picture to the class scores."""
        return tuple(self._outputs)

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take in the engine's form."""
        return self._network.weight_bytes

    def scratch_bytes(self, batch: int, height: int, width: int) -> int:
        """Memory that a call takes beside the weights and its result. It is kept for the next call."""
        return self._network.scratch_bytes(batch, height, width, [self._outputs["fc8"]])

    def _score(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._run(pixels, ["fc8"])[0]

    def _run(self, pixels: NDArray[np.uint8], names: Sequence[str]) -> list[NDArray[np.float32]]:
        try:
            return self._network.run_pixels(np.ascontiguousarray(pixels), [self._outputs[name] for name in names])
        except ValueError as error:
            raise UsageError(str(error)) from None


def steps_of(
    architecture: Architecture, tensors: Tensors
) -> tuple[list[_native.Step], dict[str, tuple[int, _native.Stage]]]:
    """Turn layers into the engine's steps.

    Returns:
        The steps, and where each layer's output is found: a step's number and its stage.

    """
    steps: list[_native.Step] = []
    outputs: dict[str, tuple[int, _native.Stage]] = {}
    layers = architecture.layers
    for layer, following in zip(layers, (*layers[1:], None), strict=True):
        number = len(steps)
        if isinstance(layer, Convolution):
            weights, bias = fold_batch_norm(layer, tensors)
            pool = isinstance(following, Pooling) and not layer.local_response_norm
            steps.append(_native.Step.convolution(weights, bias, relu=True, pool=pool))
            outputs[layer.name] = number, "sums"
            outputs[f"relu{layer.place}"] = number, "relu"
            if layer.local_response_norm is not None:
                outputs[f"norm{layer.place}"] = len(steps), "sums"
                steps.append(_native.Step.normalization(*astuple(layer.local_response_norm)))
            if pool and isinstance(following, Pooling):
                outputs[following.name] = number, "pool"
        elif isinstance(layer, Pooling):
            if layer.name not in outputs:
                outputs[layer.name] = number, "sums"
                steps.append(_native.Step.max_pooling())
        elif isinstance(layer, FullyConnected):
            weights, bias = _float32(tensors[f"{layer.name}.weight"]), _float32(tensors[f"{layer.name}.bias"])
            steps.append(_native.Step.fully_connected(weights, bias, relu=not layer.last))
            outputs[layer.name] = number, "sums"
            if not layer.last:
                outputs[layer.name.replace("fc", "relu")] = number, "relu"
    return steps, outputs


def fold_batch_norm(layer: Convolution, tensors: Tensors) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a convolution, with its batch normalisation multiplied in, in float64."""
    weights, bias = tensors[f"{layer.name}.weight"], tensors[f"{layer.name}.bias"]
    if not layer.batch_norm:
        return _float32(weights), _float32(bias)
    gain, shift, mean, variance = (
        tensors[f"bn{layer.place}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / np.sqrt(variance + BATCH_NORM_EPSILON)
    return _float32(weights * scale[:, None, None, None]), _float32((bias - mean) * scale + shift)


def check_pixels(pixels: NDArray[np.uint8]) -> None:
    """Make sure that these are pictures.

    Raises:
        UsageError: their shape or type is another.

    """
    if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8:
        raise UsageError(
            f"array of shape {pixels.shape} and type {pixels.dtype} holds no pictures; "
            "it has to be (batch, height, width, 3) of uint8, levels of 0 to 255"
        )


def _float32(tensor: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor, np.float32)


def levels_of(config: ModelConfig) -> NDArray[np.float32]:
    """What each of the 256 levels of R, G and B becomes, rounded as torch rounds it."""
    mean = np.array(config.preprocessing.mean, np.float32)[:, None]
    deviation = np.array(config.preprocessing.deviation, np.float32)[:, None]
    return np.ascontiguousarray((np.arange(256, dtype=np.float32) - mean) / deviation)
