"""The plan of a network on torch: one forward for training, testing, taps and losses."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configurations import Convolution, Node
from verydeep.network.normalize import local_response_norm
from verydeep.plan import PoolingKind


class Network(nn.Module):
    """Nodes on torch. Each that has weights is a submodule of its name. Nothing is computed in place."""

    pooling: PoolingKind = "max"

    def run(self, nodes: Sequence[Node], x: Tensor, outputs: Collection[str]) -> dict[str, Tensor]:
        """Compute nodes, in order.

        Args:
            nodes: of the plan, from the first on.
            x: preprocessed images of shape (batch, 3, height, width).
            outputs: names of some of the nodes.

        Returns:
            Their outputs by name, in the order of `outputs`, of shape (batch, channels, rows, columns) each.

        """
        found: dict[str, Tensor] = {}
        for node in nodes:
            x = self.apply_node(node, x)
            if node.name in outputs:
                found[node.name] = x
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
        if isinstance(module, nn.Conv2d) and node.kind == "fully_connected" and _covers(module, x):
            # As the matrix product that it is: much faster at 7x7.
            return F.linear(x.flatten(1), module.weight.flatten(1), module.bias)[:, :, None, None]
        result: Tensor = module(x)
        return result

    def pool(self, x: Tensor) -> Tensor:
        """The mean or the maximum of 2x2 places."""
        return F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)

    def batch_norm(self, module: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Normalise as the module does: by the batch in training, else by the running statistics."""
        result: Tensor = module(x)
        return result


def _covers(module: nn.Conv2d, x: Tensor) -> bool:
    """Whether the kernel covers the whole map."""
    return x.shape[2:] == module.weight.shape[2:]
