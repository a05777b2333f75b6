"""Taps of a network on the native engine: pixels in, NumPy arrays out, no torch in the process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep import _native
from verydeep.configurations import (
    Convolution,
    FullyConnected,
    Layer,
    Pooling,
)
from verydeep.errors import check_choice
from verydeep.inference import PrecisionName, products_in
from verydeep.inference.kernels import check_kernels
from verydeep.inference.native import check_pixels, fold_batch_norm, levels_of
from verydeep.inference.processor import instruction_set, num_threads
from verydeep.layers.names import Node, PoolingKind, check_size, nodes, nodes_to
from verydeep.run_folder import ModelConfig

Tensors = Mapping[str, NDArray[Any]]
Maps = dict[str, NDArray[np.float32]]
Output = tuple[int, Literal["sums", "relu", "pool"]]
Run = Callable[[_native.Network, Sequence[Output]], list[NDArray[np.float32]]]

SUMS: tuple[Output] = ((0, "sums"),)  # of a network of one step


class NativeFeatures:
    """What the named layers of a network give for pictures. The network ends at the deepest of them.

    Args:
        config: whose architecture and preprocessing are applied.
        tensors: the weights, by their names in the state dict. They are copied in a form of the engine's own, but
            for what is transformed on demand.
        layers: their names, as for `Features`.
        pooling: `average` replaces every max-pooling by the mean of the same 2x2 places.
        precision: `float32`, `bfloat16`, `int16` or `auto`, as for `NativeScorer`.
        threads: None for as many as this process may use.
        on_demand: transform the weights behind the fourth pooling at each call, in float32. It takes a quarter of
            their memory, and a few hundredths of the time. They must not change.

    Raises:
        UsageError: there is no such layer; the message names the near ones.

    """

    def __init__(
        self,
        config: ModelConfig,
        tensors: Tensors,
        layers: Sequence[str],
        *,
        pooling: str = "max",
        precision: PrecisionName = "auto",
        threads: int | None = None,
        on_demand: bool = False,
    ) -> None:
        check_choice("pooling", pooling, PoolingKind)
        self.config = config
        check_kernels(config.architecture)
        self.path = nodes_to(config.architecture, layers)
        self.layers = tuple(layers)
        self._precision = products_in(precision)
        self._threads = threads or num_threads()
        self._on_demand = on_demand
        steps, self._outputs = _steps(self.path, tensors, pooling)
        self._network = self._make(steps, 3)
        self._apart = {
            node.name: self._before_batch_norm(node, tensors)
            for node in self.path
            if node.name in layers and isinstance(node.layer, Convolution) and _hidden(node)
        }

    def __call__(self, pixels: NDArray[np.uint8]) -> Maps:
        """What each layer gives, by its name, in the order that they were asked for.

        Args:
            pixels: of shape (batch, height, width, 3), levels of 0 to 255, RGB.

        Returns:
            Of shape (batch, channels, rows, columns) each; FC layers give a place for each window.

        Raises:
            UsageError: the pictures are too small, or no pictures.

        """
        check_pixels(pixels)
        pixels = np.ascontiguousarray(pixels)
        return self._run(pixels.shape, lambda network, outputs: network.run_pixels(pixels, outputs))

    def of_numbers(self, numbers: NDArray[np.float32]) -> Maps:
        """The same for pictures that are preprocessed already.

        Args:
            numbers: of shape (batch, height, width, 3), as the network takes them.

        """
        numbers = np.ascontiguousarray(numbers, np.float32)
        return self._run(numbers.shape, lambda network, outputs: network.run_numbers(numbers, outputs))

    def distances(
        self, numbers: NDArray[np.float32], weights: Mapping[str, NDArray[np.float32]], *, epsilon: float
    ) -> Maps:
        """How far pictures 2n and 2n + 1 are apart at each place of layers: `sum_c w_c (u_c / |u| - v_c / |v|)^2`.

        The maps themselves are never handed out: they are compared while they are at hand.

        Args:
            numbers: pictures that are preprocessed already, of shape (2 pairs, height, width, 3).
            weights: a number for each channel of some of the layers, which are neither fully connected nor
                convolutions that batch normalisation follows.
            epsilon: is added to lengths, so that zeros have one.

        Returns:
            Of shape (pairs, rows, columns) each, for the layers that have weights.

        """
        numbers = np.ascontiguousarray(numbers, np.float32)
        check_size(self.config.architecture, self.path, *numbers.shape[1:3])
        outputs = [self._outputs[name] for name in weights]
        found = self._network.compare_numbers(numbers, outputs, list(weights.values()), epsilon=epsilon)
        return dict(zip(weights, found, strict=True))

    def _run(self, shape: tuple[int, ...], run: Run) -> Maps:
        """Run the network on what is shown to it, and the convolutions apart on what it gave."""
        check_size(self.config.architecture, self.path, *shape[1:3])
        sources = [source for _, source in self._apart.values() if source is not None]
        wanted = list(dict.fromkeys([*(name for name in self.layers if name not in self._apart), *sources]))
        taps = {}
        if wanted:
            taps = dict(zip(wanted, run(self._network, [self._outputs[name] for name in wanted]), strict=True))
        for name, (network, source) in self._apart.items():
            if source is None:
                (taps[name],) = run(network, SUMS)
            else:
                (taps[name],) = network.run_numbers(_channels_last(taps[source]), SUMS)
        return {name: taps[name] for name in self.layers}

    def _before_batch_norm(self, node: Node, tensors: Tensors) -> tuple[_native.Network, str | None]:
        """A convolution alone, and the layer that it stands on: the engine multiplies normalisations in."""
        every = nodes(self.config.architecture)
        place = every.index(node)
        weights, bias = (_float32(tensors[f"{node.name}.{part}"]) for part in ("weight", "bias"))
        alone = self._make([_native.Step.convolution(weights, bias, relu=False)], weights.shape[1])
        return alone, every[place - 1].name if place else None

    def _make(self, steps: Sequence[_native.Step], in_channels: int) -> _native.Network:
        return _native.Network(
            steps,
            in_channels=in_channels,
            levels=levels_of(self.config),
            flip=self.config.preprocessing.channels == "BGR" and in_channels == 3,
            instructions=instruction_set(_native),
            precision=self._precision,
            threads=self._threads,
            on_demand=self._on_demand,
        )


def _hidden(node: Node) -> bool:
    """Whether the engine cannot hand a node out: the sums before a batch normalisation."""
    return node.kind == "convolution" and isinstance(node.layer, Convolution) and node.layer.batch_norm


def _steps(path: Sequence[Node], tensors: Tensors, pooling: str) -> tuple[list[_native.Step], dict[str, Output]]:
    """Turn a path into the engine's steps, and tell where each of its nodes is found."""
    steps: list[_native.Step] = []
    outputs: dict[str, Output] = {}
    layers: list[Layer] = list({node.layer.name: node.layer for node in path}.values())
    for layer, following in zip(layers, (*layers[1:], None), strict=True):
        number = len(steps)
        if isinstance(layer, Convolution):
            weights, bias = fold_batch_norm(layer, tensors)
            fused = isinstance(following, Pooling) and pooling == "max" and not layer.local_response_norm
            steps.append(_native.Step.convolution(weights, bias, relu=True, pool=fused))
            outputs[f"bn{layer.place}" if layer.batch_norm else layer.name] = number, "sums"
            outputs[f"relu{layer.place}"] = number, "relu"
            if layer.local_response_norm is not None:
                outputs[f"norm{layer.place}"] = number + 1, "sums"
                steps.append(_native.Step.normalization(*astuple(layer.local_response_norm)))
            if fused and following is not None:
                outputs[following.name] = number, "pool"
        elif isinstance(layer, FullyConnected):
            weights, bias = (_float32(tensors[f"{layer.name}.{part}"]) for part in ("weight", "bias"))
            steps.append(_native.Step.fully_connected(weights, bias, relu=not layer.last))
            outputs[layer.name] = number, "sums"
            if not layer.last:
                outputs[layer.name.replace("fc", "relu")] = number, "relu"
        elif layer.name not in outputs:
            outputs[layer.name] = number, "sums"
            average = pooling == "average"
            steps.append(_native.Step.average_pooling() if average else _native.Step.max_pooling())
    return steps, outputs


def _channels_last(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(maps.transpose(0, 2, 3, 1))


def _float32(tensor: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor, np.float32)
