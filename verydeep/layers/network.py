"""Taps of a network on torch: with gradients to the picture, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configurations import Convolution, FullyConnected
from verydeep.errors import UsageError, check_choice
from verydeep.images.color import Preprocessing
from verydeep.layers.names import Node, PoolingKind, check_size, nodes_to
from verydeep.layers.pictures import Pictures, Range, check_pictures
from verydeep.network.normalize import local_response_norm
from verydeep.network.vgg import VGG


class Features(nn.Module):
    """What the named layers of a network give for pictures. The network ends at the deepest of them.

    The weights are shared with `network`, not copied, and frozen: gradients go to the pictures, not to them, and
    `network` itself stays as it is. Batch normalisation goes by the model's statistics, whether training or not,
    and there is no dropout. Nothing is computed in place, so a tap stays what it was.

    Weights and constants follow the pictures: to their device, and to float64 for pictures of float64. Pictures of
    fewer bits than the weights are computed in the weights' precision; `torch.autocast` does what it always does.

    Args:
        network: whose layers are tapped.
        layers: their names: `conv4_3` before the ReLU, `relu4_3` after it, `bn4_3` between where the network is
            batch-normalised, `norm1_1` (LRN), `pool5`, `fc7`, `relu7`; `verydeep.layer_names` lists them.
        preprocessing: the model's. Wanted with `range`.
        range: least and greatest value of the pictures, which then are RGB: (0, 1), (-1, 1) or (0, 255). None
            where pictures are preprocessed already, as `network` itself takes them.
        pooling: `average` replaces every max-pooling by the mean of the same 2x2 places, as Gatys et al. do.
        trainable: whether weights are trained too, by gradients that go to `network`'s own parameters.
        check: whether the values of pictures are compared with `range`.

    Raises:
        UsageError: there is no such layer; the message names the near ones. Or `range` lacks `preprocessing`.

    """

    def __init__(
        self,
        network: VGG,
        layers: Sequence[str],
        *,
        preprocessing: Preprocessing | None = None,
        range: Range | None = None,
        pooling: PoolingKind = "max",
        trainable: bool = False,
        check: bool = True,
    ) -> None:
        super().__init__()
        self.architecture = network.architecture
        self.path = nodes_to(network.architecture, layers)
        self.layers = tuple(layers)
        self.pooling: PoolingKind = check_choice("pooling", pooling, PoolingKind)
        if range is not None and preprocessing is None:
            raise UsageError(
                "a network alone does not know how its pictures are preprocessed; give preprocessing, or a model "
                "from disk, or leave range out and give pictures as the network takes them"
            )
        self.pictures = Pictures(preprocessing, range, check=check) if preprocessing and range else None
        for node in self.path:
            name = _module_name(node)
            if name is not None:
                module = network.get_submodule(name)
                self.add_module(name, module if trainable else _frozen(module))
        if not trainable:
            for layer in {node.layer.name for node in self.path if node.kind == "convolution"}:
                self.get_submodule(layer).to(memory_format=torch.channels_last)

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        """What each layer gives, by its name, in the order that they were asked for.

        Args:
            pictures: of shape (batch, 3, height, width): RGB in the range that was said, or preprocessed.

        Returns:
            Of shape (batch, channels, rows, columns) each; FC layers give a place for each window.

        Raises:
            UsageError: the pictures are too small, have another shape or type, or are outside their range.

        """
        check_pictures(pictures)
        check_size(self.architecture, self.path, *pictures.shape[2:])
        dtype = self._follow(pictures)
        # Preprocessed before they are rounded to what the weights have.
        x = (pictures if self.pictures is None else self.pictures(pictures)).to(dtype)
        taps: dict[str, Tensor] = {}
        for node in self.path:
            x = self._apply_node(node, x)
            if node.name in self.layers:
                taps[node.name] = x
        return {name: taps[name] for name in self.layers}

    def _apply_node(self, node: Node, x: Tensor) -> Tensor:
        if node.kind == "relu":
            return F.relu(x)
        if node.kind == "pooling":
            return self._pool(x)
        if isinstance(node.layer, Convolution) and node.layer.local_response_norm and node.kind == "norm":
            return local_response_norm(x, node.layer.local_response_norm)
        module = self.get_submodule(node.name)
        if isinstance(module, nn.BatchNorm2d):
            return F.batch_norm(
                x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps
            )
        assert isinstance(module, nn.Conv2d)
        if isinstance(node.layer, FullyConnected) and x.shape[2:] == module.weight.shape[2:]:
            # As in VGG: where the kernel covers the whole map, the product that it is.
            return F.linear(x.flatten(1), module.weight.flatten(1), module.bias)[:, :, None, None]
        result: Tensor = module(x)
        return result

    def _pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if self.pooling == "max" else F.avg_pool2d(x, 2)

    def _follow(self, pictures: Tensor) -> torch.dtype:
        """Bring weights to the pictures' device, and give the precision of both, in which none loses any."""
        weight = next(self.parameters())
        dtype = torch.float64 if pictures.dtype == torch.float64 else weight.dtype
        if dtype == torch.float64 and pictures.dtype != torch.float64:
            dtype = torch.float32
        if (weight.device, weight.dtype) != (pictures.device, dtype):
            self.to(device=pictures.device, dtype=dtype)
        return dtype


def _module_name(node: Node) -> str | None:
    return node.name if node.kind in ("convolution", "batch_norm", "fully_connected") else None


def _frozen(module: nn.Module) -> nn.Module:
    """A module with the same tensors, which gets no gradients and can be moved without moving the other."""
    if isinstance(module, nn.BatchNorm2d):
        twin: nn.Module = nn.BatchNorm2d(module.num_features, module.eps, device="meta")
    else:
        assert isinstance(module, nn.Conv2d)
        twin = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,  # type: ignore[arg-type]
            padding=module.padding,  # type: ignore[arg-type]
            device="meta",
        )
    twin.load_state_dict(module.state_dict(), assign=True)
    return twin.eval().requires_grad_(False)
