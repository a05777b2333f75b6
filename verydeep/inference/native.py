"""The engine of our own: C++ kernels on the processor's vector instructions, and no torch in the process.

3x3 convolutions by Winograd's minimal filtering; docs/explanation/native-engine.md tells how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import verydeep._native as _native
from verydeep.configurations import (
    BATCH_NORM_EPSILON,
    Architecture,
    Convolution,
    FullyConnected,
    Layer,
    Node,
    Pooling,
)
from verydeep.errors import UsageError, VerydeepError
from verydeep.inference.engine import Engine, Images, Outputs, check_array, check_images
from verydeep.inference.kernels import check_kernels
from verydeep.plan import check_size, nodes_to, output_shapes
from verydeep.processor import instruction_set, num_threads
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import Reopening

Tensors = Mapping[str, NDArray[Any]]
Stage = Literal["sums", "relu", "pool"]
Place = tuple[int, Stage]  # of an output: a step's number, and its stage
Run = Callable[[_native.Network, Sequence[Place]], list[NDArray[np.float32]]]

SUMS: tuple[Place] = ((0, "sums"),)  # of a network of one step


class NativeEngine(Engine):
    """A network on this machine's processor.

    Several threads may call one engine at once; they take turns, and the GIL is released while one computes.
    An engine never changes, so a deep copy is the engine itself. A pickled one holds where its weights are and its
    arguments: it is made anew where it is unpickled.

    Args:
        config: whose architecture and preprocessing are applied.
        tensors: the weights, by their names in the state dict. They are copied in a form of the engine's own, but
            for what is transformed on demand.
        layers: outputs that will be asked for; None for all. The network ends at the deepest of them.
        pooling: `average` replaces every max-pooling by the mean of the same 2x2 places.
        precision: `float32`; `bfloat16`, where the processor has it, for the products, whose sums stay float32;
            `int16`, likewise, for the products of 3x3 convolutions; or `auto`: float32, so that results are the
            same everywhere.
        instructions: an instruction set, of those that `verydeep engines` tells; None for the best.
        threads: None for as many as this process may use.
        on_demand: transform the weights behind the fourth pooling at each call, in float32. It takes a quarter of
            their memory, and a few hundredths of the time. They must not change.
        again: where the weights can be read again; None where they are in memory alone, and the engine cannot be
            pickled.

    Attributes:
        precision: in which it computes: float32 where the processor lacks what was asked for.

    Raises:
        UsageError: the processor lacks the instructions, the network has layers that are not among the kernels, or
            there is no such layer.

    """

    name = "native"

    def __init__(
        self,
        config: ModelConfig,
        tensors: Tensors,
        layers: Sequence[str] | None = None,
        *,
        pooling: str = "max",
        precision: str = "auto",
        instructions: str | None = None,
        threads: int | None = None,
        on_demand: bool = False,
        again: Reopening | None = None,
    ) -> None:
        self.config = config
        self._again = again
        self._arguments = {
            "layers": layers,
            "pooling": pooling,
            "precision": precision,
            "instructions": instructions,
            "threads": threads,
            "on_demand": on_demand,
        }
        check_kernels(config.architecture)
        self._instructions = instructions or instruction_set(_native)
        if self._instructions not in _native.available_instructions():
            raise UsageError(
                f"this processor has no {instructions}; it has {', '.join(_native.available_instructions())}"
            )
        self._options = {
            "precision": "float32" if precision == "auto" else precision,
            "threads": num_threads(threads),
            "on_demand": on_demand,
        }
        self.nodes = nodes_to(config.architecture, layers) if layers is not None else config.architecture.nodes
        steps, self._places = lower(self.nodes, tensors, pooling)
        self._network = self._make(steps, 3)
        self.precision = self._network.precision
        self._unfolded = Unfolded(self._make, config.architecture, tensors)

    def __copy__(self) -> NativeEngine:
        """The engine itself, which never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> NativeEngine:
        """The engine itself."""
        return self

    def __reduce__(self) -> tuple[Callable[..., NativeEngine], tuple[object, ...]]:
        """Where its weights are, and its arguments.

        Raises:
            ModelError: its file has gone.
            VerydeepError: its weights are in memory alone.

        """
        return _engine_again, (self.config, self._where(), self._arguments)

    def _where(self) -> Reopening:
        """Where its weights are: the engine itself has them packed for its kernels."""
        if self._again is None:
            raise VerydeepError(
                "this engine cannot be pickled: its weights are in memory alone; write them as a run folder and "
                "open that"
            )
        self._again.check_there()
        return self._again

    def weights(self) -> dict[str, NDArray[Any]]:
        """The tensors, read again."""
        return self._where().read()

    def run(self, images: Images, outputs: Sequence[str]) -> Outputs:
        """Compute outputs of layers, as `Engine` says."""
        check_images(images)
        images = np.ascontiguousarray(images)
        return self._run(images.shape, outputs, lambda network, places: network.run_pixels(images, places))

    def needed(self, outputs: Iterable[str], height: int, width: int) -> tuple[Node, ...]:
        """As `Engine` says; a convolution computes its pooling along, even where nothing of it is asked for."""
        nodes = super().needed(outputs, height, width)
        last = self._places.get(nodes[-1].name)
        rest = ((node, self._places.get(node.name)) for node in self.nodes[len(nodes) :])
        along = [node for node, place in rest if last and place and place[0] == last[0]]
        check_size(self.config.architecture, (*nodes, *along), height, width)
        return nodes

    def run_preprocessed(self, images: NDArray[np.float32], outputs: Sequence[str]) -> Outputs:
        """The same for images that are preprocessed already, of shape (batch, height, width, 3)."""
        images = _numbers(images)
        return self._run(images.shape, outputs, lambda network, places: network.run_numbers(images, places))

    def distances(
        self, images: NDArray[np.float32], weights: Mapping[str, NDArray[np.float32]], *, epsilon: float
    ) -> Outputs:
        """How far images 2n and 2n + 1 are apart at each place of layers: `sum_c w_c (u_c / |u| - v_c / |v|)^2`.

        The layers' outputs themselves are never handed out: they are compared while they are at hand.

        Args:
            images: that are preprocessed already, of shape (2 pairs, height, width, 3).
            weights: a number for each channel of some of the layers, which are neither fully connected nor
                convolutions that batch normalisation follows.
            epsilon: is added to lengths, so that zeros have one.

        Returns:
            Of shape (pairs, rows, columns) each, for the layers that have weights.

        """
        images = _numbers(images)
        if len(images) % 2:
            raise UsageError(f"there are {len(images)} images, which are no pairs; give an even number")
        shapes = output_shapes(self.needed(weights, *images.shape[1:3]), *images.shape[1:3])
        if not len(images):
            return {name: np.empty((0, *shapes[name][1:]), np.float32) for name in weights}
        places = [self._places[name] for name in weights]
        found = self._network.compare_numbers(images, places, list(weights.values()), epsilon=epsilon)
        return dict(zip(weights, found, strict=True))

    @property
    def weight_bytes(self) -> int:
        """Memory that the weights take in the engine's form."""
        return self._network.weight_bytes

    def scratch_bytes(self, batch: int, height: int, width: int) -> int:
        """Memory that `run` takes for its last layer beside the weights and the result; it is kept then."""
        last = self.nodes[-1].name
        self.needed([last], height, width)
        return self._network.scratch_bytes(batch, height, width, [self._places[last]])

    def _run(self, shape: tuple[int, ...], outputs: Sequence[str], run: Run) -> Outputs:
        """Run the network, and apart the convolutions whose sums it does not have."""
        nodes = self.needed(outputs, *shape[1:3])
        if not shape[0]:
            shapes = output_shapes(nodes, *shape[1:3])
            return {name: np.empty((0, *shapes[name]), np.float32) for name in outputs}
        apart = {name: self._unfolded.input_of(name) for name in outputs if name not in self._places}
        wanted = list(dict.fromkeys([name for name in (*outputs, *apart.values()) if name in self._places]))
        found: Outputs = {}
        if wanted:
            places = [self._places[name] for name in wanted]
            found = dict(zip(wanted, run(self._network, places), strict=True))
        for name, entry in apart.items():
            network = self._unfolded.network(name)
            if entry is None:
                (found[name],) = run(network, SUMS)
            else:
                channels_last = np.ascontiguousarray(found[entry].transpose(0, 2, 3, 1))
                (found[name],) = network.run_numbers(channels_last, SUMS)
        return {name: found[name] for name in outputs}

    def _make(self, steps: Sequence[_native.Step], in_channels: int) -> _native.Network:
        return _native.Network(
            steps,
            in_channels=in_channels,
            levels=preprocessed_levels(self.config),
            flip=self.config.preprocessing.channels == "BGR" and in_channels == 3,
            instructions=self._instructions,
            **self._options,  # type: ignore[arg-type]
        )


def _numbers(images: NDArray[Any]) -> NDArray[np.float32]:
    """Preprocessed images as the kernels read them.

    Raises:
        UsageError: they have another shape.

    """
    check_array(images)
    if images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(
            f"preprocessed images have the shape {images.shape}; it must be (batch, height, width, 3)"
        )
    return np.ascontiguousarray(images, np.float32)


def _engine_again(config: ModelConfig, again: Reopening, arguments: dict[str, Any]) -> NativeEngine:
    return NativeEngine(config, again.read(), again=again, **arguments)


class Unfolded:
    """The sums before a batch normalisation, which the engine multiplies into the weights: convolutions alone.

    Args:
        make: a network of steps, from their number of input channels.
        architecture: of the network.
        tensors: its weights.

    """

    def __init__(
        self,
        make: Callable[[Sequence[_native.Step], int], _native.Network],
        architecture: Architecture,
        tensors: Tensors,
    ) -> None:
        self._make = make
        nodes = architecture.nodes
        self._inputs = {
            node.name: before.name if before else None
            for before, node in zip((None, *nodes), nodes, strict=False)
            if is_folded(node)
        }
        names = [f"{name}.{part}" for name in self._inputs for part in ("weight", "bias")]
        self._tensors = {name: tensors[name] for name in names if name in tensors}
        self._networks: dict[str, _native.Network] = {}

    def input_of(self, name: str) -> str | None:
        """The node that a convolution stands on; None for the image."""
        return self._inputs[name]

    def network(self, name: str) -> _native.Network:
        """The convolution alone."""
        if name not in self._networks:
            weights, bias = (_float32(self._tensors[f"{name}.{part}"]) for part in ("weight", "bias"))
            self._networks[name] = self._make(
                [_native.Step.convolution(weights, bias, relu=False)], weights.shape[1]
            )
        return self._networks[name]


def lower(nodes: Sequence[Node], tensors: Tensors, pooling: str) -> tuple[list[_native.Step], dict[str, Place]]:
    """Turn nodes into the engine's steps: a convolution takes its batch normalisation, ReLU and pooling along.

    Returns:
        The steps, and the place of each node's output; convolutions that batch normalisation follows have none.

    """
    fused = {
        node.layer
        for node, following in pairwise(nodes)
        if node.kind == "relu" and following.kind == "pooling" and pooling == "max"
    }
    steps: list[_native.Step] = []
    places: dict[str, Place] = {}
    before: Layer | None = None
    for node in nodes:
        stage: Stage = "relu" if node.kind == "relu" else "sums"
        if node.kind == "pooling" and before in fused:
            stage = "pool"
        elif node.kind not in ("relu", "batch_norm"):
            steps.append(_step(node, tensors, pooling, pool=node.layer in fused))
        if not is_folded(node):
            places[node.name] = len(steps) - 1, stage
        before = node.layer
    return steps, places


def is_folded(node: Node) -> bool:
    """Whether a node's output is never computed: the sums before a batch normalisation."""
    return node.kind == "convolution" and isinstance(node.layer, Convolution) and node.layer.batch_norm


def _step(node: Node, tensors: Tensors, pooling: str, *, pool: bool) -> _native.Step:
    layer = node.layer
    if isinstance(layer, FullyConnected):
        weights, bias = (_float32(tensors[f"{node.name}.{part}"]) for part in ("weight", "bias"))
        return _native.Step.fully_connected(weights, bias, relu=not layer.last)
    if isinstance(layer, Pooling):
        return _native.Step.average_pooling() if pooling == "average" else _native.Step.max_pooling()
    if node.kind == "local_response_norm" and layer.local_response_norm:
        return _native.Step.normalization(*astuple(layer.local_response_norm))
    return _native.Step.convolution(*fold_batch_norm(layer, tensors), relu=True, pool=pool)


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


def preprocessed_levels(config: ModelConfig) -> NDArray[np.float32]:
    """What each of the 256 levels of R, G and B becomes, rounded as torch rounds it."""
    levels = np.arange(256)[:, None].repeat(3, 1)
    return np.ascontiguousarray(config.preprocessing.normalized(levels).T)


def _float32(tensor: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor, np.float32)
