"""Taps of a network on torch: with gradients to the image, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.errors import UsageError, check_choice
from verydeep.images.color import Preprocessing
from verydeep.network.forward import Network
from verydeep.network.preprocess import Preprocess
from verydeep.network.ranges import Range, check_pictures, check_values
from verydeep.network.vgg import VGG
from verydeep.plan import PoolingKind, check_size, nodes_to


class Features(Network):
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
        self.nodes = nodes_to(network.architecture, layers)
        self.layers = tuple(layers)
        self.pooling: PoolingKind = check_choice("pooling", pooling, PoolingKind)
        if range is not None and preprocessing is None:
            raise UsageError(
                "a network alone does not know how its pictures are preprocessed; give preprocessing, or a model "
                "from disk, or leave range out and give pictures as the network takes them"
            )
        self.preprocess = Preprocess(preprocessing, range) if preprocessing and range else None
        self.check = check
        for node in self.nodes:
            if node.tensors:
                module = network.get_submodule(node.name)
                self.add_module(node.name, module if trainable else _frozen(module))
                if node.kind == "convolution" and not trainable:
                    self.get_submodule(node.name).to(memory_format=torch.channels_last)

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
        check_size(self.architecture, self.nodes, *pictures.shape[2:])
        dtype = self._follow(pictures)
        # Preprocessed before they are rounded to what the weights have.
        return self.run(self.nodes, self.preprocessed(pictures).to(dtype), self.layers)

    def preprocessed(self, pictures: Tensor) -> Tensor:
        """Images as the network takes them, of images in the range that was said, which is checked.

        Raises:
            UsageError: they are of another shape or type, have NaN, or are outside the range.

        """
        check_pictures(pictures)
        if self.preprocess is None:
            return pictures
        if self.check:
            check_values(pictures, self.preprocess.range)
        x: Tensor = self.preprocess(pictures.permute(0, 2, 3, 1))
        return x

    def batch_norm(self, module: nn.BatchNorm2d, x: Tensor) -> Tensor:
        """Normalise by the model's statistics, in training too."""
        return F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)

    def _follow(self, pictures: Tensor) -> torch.dtype:
        """Bring weights to the pictures' device, and give the precision of both, in which none loses any."""
        weight = next(self.parameters())
        dtype = torch.float64 if pictures.dtype == torch.float64 else weight.dtype
        if dtype == torch.float64 and pictures.dtype != torch.float64:
            dtype = torch.float32
        if (weight.device, weight.dtype) != (pictures.device, dtype):
            self.to(device=pictures.device, dtype=dtype)
        return dtype


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
