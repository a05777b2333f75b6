"""The plan of a network on torch: one forward for training, testing, taps and losses.

3x3 convolutions and batch normalisations, with their ReLUs and poolings, run on our own kernels where these can;
all else runs on torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Self, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configurations import Convolution, Kind, Node
from verydeep.network import native_layers
from verydeep.network.native_layers import Maps
from verydeep.network.normalize import local_response_norm
from verydeep.network.synchronized import BatchNorm
from verydeep.plan import PoolingKind

Engine = Literal["auto", "torch"]


@dataclass(frozen=True)
class _Unit:
    """Nodes that one kernel computes.

    Attributes:
        nodes: a convolution or a batch normalisation, perhaps its ReLU, and perhaps a max-pooling behind that; or
            batch normalisation, ReLU, perhaps a max-pooling, and a convolution that normalises what it reads.
        measure: whether the next node normalises the output by the batch.
        pool_by: its weight, where a ReLU, a max-pooling and a convolution follow it that are one unit.

    """

    nodes: Sequence[Node]
    measure: bool = False
    pool_by: Tensor | None = None


def _kinds(nodes: Sequence[Node], outputs: Collection[str]) -> list[Kind]:
    """Kinds of the first nodes, up to a convolution behind them, or to one whose output is wanted."""
    kinds: list[Kind] = []
    for node in nodes:
        kinds.append(node.kind)
        if node.name in outputs or (node.kind == "convolution" and len(kinds) > 1):
            break
    return kinds


def _sizes(value: Tensor | Maps) -> native_layers.Sizes:
    images, channels, height, width = value.sizes if isinstance(value, Maps) else value.shape
    return images, channels, height, width


def _is_bordered(value: Tensor | Maps) -> bool:
    """Whether these are images, whose three channels would fill a fifth of a block of 16."""
    return isinstance(value, Tensor) and value.shape[1] == 3


def _is_pooled(value: Tensor | Maps) -> bool:
    """Whether maps were pooled for the batch normalisation that reads them."""
    return isinstance(value, Maps) and value.measured is not None and value.measured.pooled is not None


class Network(nn.Module):
    """Nodes on torch. Each that has weights is a submodule of its name. Nothing is computed in place.

    Attributes:
        pooling: what the poolings compute.
        engine: `auto` takes our own kernels where they can compute a layer, `torch` never does.

    """

    pooling: PoolingKind = "max"
    engine: Engine = "auto"

    def run(self, nodes: Sequence[Node], x: Tensor, outputs: Collection[str]) -> dict[str, Tensor]:
        """Compute nodes, in order.

        Args:
            nodes: of the plan, from the first on.
            x: preprocessed images of shape (batch, 3, height, width).
            outputs: names of some of the nodes.

        Returns:
            Their outputs by name, in the order of `outputs`, of shape (batch, channels, rows, columns) each.

        """
        return {name: plain(found) for name, found in self.run_packed(nodes, x, outputs).items()}

    def run_packed(self, nodes: Sequence[Node], x: Tensor, outputs: Collection[str]) -> dict[str, Tensor | Maps]:
        """The same, but what the kernels computed stays in their layout."""
        found: dict[str, Tensor | Maps] = {}
        value: Tensor | Maps = x
        native = self.engine == "auto" and native_layers.takes(x)
        first = 0
        while first < len(nodes):
            after = first + 1
            if isinstance(value, Maps) and self._pools_maps(nodes[first]):
                value, tapped = native_layers.max_pool(value)
                found.update({name: tapped for name in found if name == nodes[first - 1].name})
            elif native and self._is_native(nodes[first], value):
                unit = self._unit(nodes[first:], value, outputs)
                value = self._on_kernels(unit, value)
                after = first + len(unit.nodes)
            elif isinstance(value, Maps) and nodes[first].kind == "relu":
                value = value.relu()
            elif isinstance(value, Maps) and nodes[first].kind == "pooling" and self._pools_plainly():
                value = native_layers.average_pool(value)
            else:
                value = self.apply_node(nodes[first], plain(value))
            if nodes[after - 1].name in outputs:
                found[nodes[after - 1].name] = value
            first = after
        return {name: found[name] for name in outputs}

    def apply_node(self, node: Node, x: Tensor) -> Tensor:
        """Compute one node."""
        if node.kind == "relu":
            return F.relu(x)
        if node.kind == "pooling":
            return self.pool(x)
        if isinstance(node.layer, Convolution) and node.kind == "local_response_norm":
            assert node.layer.local_response_norm
            return local_response_norm(x, node.layer.local_response_norm)
        module = self.get_submodule(node.name)
        if isinstance(module, nn.BatchNorm2d):
            return self.batch_norm(module, x)
        if node.kind == "fully_connected" and _is_product(module, x):
            # Much faster at 7x7 than the convolution.
            matrix = module.weight.flatten(1)
            if self.engine == "auto" and module.bias is not None and native_layers.takes_linear(module, x):
                return native_layers.linear(x.flatten(1), matrix, module.bias)[:, :, None, None]
            return F.linear(x.flatten(1), matrix, module.bias)[:, :, None, None]
        result: Tensor = module(x)
        return result

    def lay_out(self) -> Self:
        """Lay out the convolutions' weights as they are fastest; the FC layers' stay, rows of a matrix.

        In place. What is laid out otherwise is copied at each call, and by torch's fused SGD at each step: 411 MB
        for fc6 of the paper's nets.
        """
        for name, module in self.named_children():
            if isinstance(module, nn.Conv2d) and not name.startswith("fc"):
                native = self.engine == "auto" and native_layers.takes(module.weight)
                native = native and native_layers.takes_module(module)
                module.to(memory_format=torch.contiguous_format if native else torch.channels_last)
        return self

    def transformed(self, weight: Tensor, name: str) -> native_layers.Transformed | None:
        """What keeps a convolution's transformed weights; None where they are transformed at each call."""
        return None

    def pool(self, x: Tensor) -> Tensor:
        """The mean or the maximum of 2x2 places."""
        return F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)

    def batch_norm(self, module: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Normalise as the module does: by the batch in training, else by the running statistics."""
        result: Tensor = module(x)
        return result

    def normalizes_by_batch(self, module: nn.BatchNorm2d) -> bool:
        """Whether `batch_norm` takes the batch's statistics, which the running ones then follow."""
        return module.training

    def _unit(self, nodes: Sequence[Node], value: Tensor | Maps, outputs: Collection[str]) -> _Unit:
        """The first of these nodes, which the kernels can compute, and those that are computed with it."""
        length = self._length_of_unit(nodes, value, outputs)
        here, after = nodes[:length], nodes[length:]
        following = self._batch_norm_module(after[0]) if after else None
        images, _, height, width = _sizes(value)
        written = images, here[-1].channels, height, width
        if "pooling" in (node.kind for node in here):
            written = native_layers.half(written)
        if here[-1].kind != "convolution" or following is None:
            return _Unit(here)
        if not self.normalizes_by_batch(following) or not self._takes_batch_norm(following, written):
            return _Unit(here)
        pooled = (
            _kinds(after, outputs) == ["batch_norm", "relu", "pooling", "convolution"]
            and self._pools_maps(after[2])
            and not _is_bordered(value)
            and native_layers.normalizes(written)
            and self._normalizes_on_the_way(after[3], native_layers.half(written))
        )
        return _Unit(here, measure=True, pool_by=following.weight if pooled else None)

    def _length_of_unit(self, nodes: Sequence[Node], value: Tensor | Maps, outputs: Collection[str]) -> int:
        match _kinds(nodes, outputs):
            case ["batch_norm", "relu", "pooling", "convolution"] if _is_pooled(value):
                return 4
            case ["batch_norm", "relu", "convolution"] if self._normalizes_on_the_way(nodes[2], _sizes(value)):
                return 3
            case [_, "relu", "pooling", *_] if self._pools_maps(nodes[2]) and not _is_bordered(value):
                return 3
            case [_, "relu", *_]:
                return 2
        return 1

    def _normalizes_on_the_way(self, node: Node, sizes: native_layers.Sizes) -> bool:
        """Whether a convolution can normalise what it reads, of these sizes."""
        return native_layers.normalizes(sizes) and native_layers.takes_module(self.get_submodule(node.name))

    def _on_kernels(self, unit: _Unit, value: Tensor | Maps) -> Maps:
        kinds = [node.kind for node in unit.nodes]
        relu, max_pool = "relu" in kinds, "pooling" in kinds
        norm = None
        if isinstance(value, Maps) and kinds[0] == "batch_norm":
            norm = self._normalization(unit.nodes[0], value)
            if "convolution" not in kinds:
                return native_layers.batch_norm(value, norm, relu=relu, max_pool=max_pool)
        node = unit.nodes[kinds.index("convolution")]
        module = self.get_submodule(node.name)
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        weights, kept = (module.weight, module.bias), self.transformed(module.weight, node.name)
        measure, pool_by = unit.measure, unit.pool_by
        if norm:
            assert isinstance(value, Maps)
            return native_layers.convolve_normalized(
                value, norm, *weights, transformed=kept, measure=measure, pool_by=pool_by
            )
        maps = value if isinstance(value, Maps) else native_layers.pack(value, bordered=_is_bordered(value))
        return native_layers.convolve(
            maps, *weights, relu=relu, max_pool=max_pool, transformed=kept, measure=measure, pool_by=pool_by
        )

    def _normalization(self, node: Node, maps: Maps) -> native_layers.Normalization:
        """What a batch normalisation does to these maps; in training the running statistics follow the batch's."""
        module = self._batch_norm_module(node)
        assert module is not None
        assert module.running_mean is not None and module.running_var is not None
        statistics = native_layers.Statistics(module.running_mean, module.running_var)
        if self.normalizes_by_batch(module):
            assert isinstance(module, BatchNorm) and maps.measured is not None
            images, _, height, width = maps.sizes
            count, mean, variance = module.take_statistics(images * height * width, *maps.measured.moments)
            statistics = native_layers.Statistics(mean, variance, count, module.sum_over_processes)
        return native_layers.Normalization(module.weight, module.bias, statistics, module.eps)

    def _batch_norm_module(self, node: Node) -> nn.BatchNorm2d | None:
        """The module of a batch normalisation; of another node None."""
        module = self.get_submodule(node.name) if node.kind == "batch_norm" else None
        return module if isinstance(module, nn.BatchNorm2d) else None

    def _is_native(self, node: Node, value: Tensor | Maps) -> bool:
        """Whether the kernels can compute a node that has weights, of this input."""
        if not isinstance(node.layer, Convolution):
            return False
        if isinstance(value, Tensor) and not native_layers.is_plain(value.float()):
            return False  # after a layer whose weights have tangents, say
        module = self.get_submodule(node.name) if node.tensors else None
        if node.kind == "convolution" and module:
            return native_layers.takes_module(module)
        if not isinstance(module, nn.BatchNorm2d) or not isinstance(value, Maps):
            return False
        return self._takes_batch_norm(module, value.sizes)

    def _takes_batch_norm(self, module: nn.BatchNorm2d, sizes: native_layers.Sizes) -> bool:
        """Whether the kernels can compute a batch normalisation of maps of these sizes."""
        # Of a batch of one number there are no statistics, which torch says.
        images, _, height, width = sizes
        by_batch = self.normalizes_by_batch(module)
        if by_batch and (not isinstance(module, BatchNorm) or images * height * width < 2):
            return False
        return native_layers.takes_batch_norm(module)

    def _pools_maps(self, node: Node) -> bool:
        """Whether a node is a max-pooling that the kernels can compute."""
        return node.kind == "pooling" and self.pooling == "max" and self._pools_plainly()

    def _pools_plainly(self) -> bool:
        """Whether pooling is what it says, and no subclass has another."""
        return type(self).pool is Network.pool


def plain(value: Tensor | Maps) -> Tensor:
    """An output as a tensor of shape (batch, channels, rows, columns)."""
    return native_layers.unpack(value) if isinstance(value, Maps) else value


def _is_product(module: nn.Module, x: Tensor) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a plain convolution whose kernel covers the whole map: a product with a matrix."""
    return native_layers.is_plain_convolution(module, padded=False) and x.shape[2:] == module.weight.shape[2:]
