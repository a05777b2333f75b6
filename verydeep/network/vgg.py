"""The network is its class score map: fully convolutional, and `forward` is the map's mean over space.

Sections 2.1 (the layers) and 3.2 (the FC layers as convolutions). Modules bear the literature's names, so that
the state dict reads `conv1_1.weight` ... `fc8.bias`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configurations import Architecture, Convolution, FullyConnected, Pooling
from verydeep.network.normalize import local_response_norm
from verydeep.network.together import BatchNorm, Dropout


class Conv2d(nn.Conv2d):
    """torch's, for which nothing is drawn: `initialize` or the weights on disk fill its tensors."""

    def reset_parameters(self) -> None:
        """Leave them."""


class VGG(nn.Module):
    """One of the six networks, for pictures of any size of at least one window.

    Args:
        architecture: the configuration with its classes, width, window and normalisation.
        dropout: probability with which a hidden unit of fc6 and fc7 is dropped in training (Section 3.1).

    """

    def __init__(self, architecture: Architecture, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.architecture = architecture
        for layer in architecture.layers:
            if isinstance(layer, Pooling):
                continue
            padding = layer.kernel // 2 if isinstance(layer, Convolution) else 0
            module = Conv2d(layer.in_channels, layer.out_channels, layer.kernel, padding=padding)
            self.add_module(layer.name, module)
            if isinstance(layer, Convolution) and layer.batch_norm:
                self.add_module(f"bn{layer.place}", BatchNorm(layer.out_channels))
        self.dropout = Dropout(dropout)

    def channels_last(self) -> VGG:
        """Lay out the convolutions' weights as they are fastest; the FC layers' stay, rows of a matrix.

        In place. torch's fused SGD copies what is laid out otherwise: 411 MB a step for fc6 of the paper's nets.
        """
        for layer in self.architecture.convolutions:
            self.get_submodule(layer.name).to(memory_format=torch.channels_last)
        return self

    def score_map(
        self, pictures: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Class scores before the soft-max for each window, a window every 32 pixels.

        Args:
            pictures: preprocessed as the model's `Preprocessing` says, both sides at least one window.

        Raises:
            UsageError: the pictures are smaller than one window.

        """
        self.architecture.score_map_size(*pictures.shape[2:])
        x = pictures
        for layer in self.architecture.layers:
            if isinstance(layer, Convolution):
                x = self._convolution(x, layer)
            elif isinstance(layer, Pooling):
                x = F.max_pool2d(x, 2)
            else:
                x = self._fully_connected(x, layer)
        return x

    def forward(self, pictures: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Class scores of each picture: the mean of its score map over space (Section 3.2)."""
        return self.score_map(pictures).mean((2, 3))

    def _convolution(self, x: Tensor, layer: Convolution) -> Tensor:
        x = self.get_submodule(layer.name)(x)
        if layer.batch_norm:
            x = self.get_submodule(f"bn{layer.place}")(x)
        x = F.relu(x)  # not in place: whoever taps the convolution finds what it gave
        if layer.local_response_norm:
            x = local_response_norm(x, layer.local_response_norm)
        return x

    def _fully_connected(self, x: Tensor, layer: FullyConnected) -> Tensor:
        module = self.get_submodule(layer.name)
        assert isinstance(module, nn.Conv2d)
        x = _matrix_product(x, module) if x.shape[2:] == module.weight.shape[2:] else module(x)
        return x if layer.last else self.dropout(F.relu(x))


def _matrix_product(x: Tensor, module: nn.Conv2d) -> Tensor:
    """Apply a convolution whose kernel covers the whole map as the product that it is: much faster at 7x7."""
    return F.linear(x.flatten(1), module.weight.flatten(1), module.bias)[:, :, None, None]
