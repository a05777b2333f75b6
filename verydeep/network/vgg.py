"""The network of the paper, to be trained and tested: it is its class score map.

Sections 2.1 (the layers) and 3.2 (the FC layers as convolutions). Modules have the names of their nodes, so that
the state dict reads `conv1_1.weight` ... `fc8.bias`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from verydeep.arguments import check_type
from verydeep.configurations import Architecture, Convolution, FullyConnected, Node, meant_by
from verydeep.errors import UsageError
from verydeep.network.forward import Engine, Network
from verydeep.network.synchronized import BatchNorm, Dropout
from verydeep.plan import SCORES, nodes_to


class Conv2d(nn.Conv2d):
    """torch's, for which nothing is drawn: `initialize` or the weights on disk fill its tensors."""

    def reset_parameters(self) -> None:
        """Leave them."""


class VGG(Network):
    """One of the paper's networks, for images of any size of at least one window.

    The network is its class score map: `forward` is the map's mean over space. It is a `torch.nn.Module`. It takes
    float tensors of shape (batch, 3, height, width), preprocessed as the model's `Preprocessing` says. It gives
    class scores before the soft-max, of shape (batch, classes).

    A new network has no weights yet: its tensors hold whatever is in memory. Draw them or load them first.

        from verydeep.network.initialize import initialize

        network = verydeep.VGG(verydeep.Architecture("A", num_classes=10, width=0.25, window=32))
        initialize(network, "he", seed=0)  # or network.load_state_dict(...)
        scores = network(torch.zeros(2, 3, 40, 48))  # (2, 10)

    `verydeep.features` gives trained weights with gradients, `verydeep.load` a model that takes images.

    Args:
        architecture: the configuration with its classes, width, window and normalisation.
        dropout: probability with which a hidden unit of fc6 and fc7 is dropped in training (Section 3.1).
        engine: `auto` computes 3x3 convolutions on our own kernels where these can, with gradients: on a CPU, in
            float32. `torch` never does.

    Raises:
        UsageError: `architecture` is none, a name say, there is no such engine, or `dropout` is no such
            probability.

    """

    def __init__(self, architecture: Architecture, *, dropout: float = 0.5, engine: Engine = "auto") -> None:
        super().__init__()
        check_type("engine", engine, Engine)
        self.engine: Engine = engine
        if not isinstance(architecture, Architecture):
            config = meant_by(str(architecture)) or "D"
            raise UsageError(
                f'VGG takes an Architecture, not {architecture!r}; write VGG(Architecture("{config}")), or open '
                'trained weights by load("torchvision:vgg16")'
            )
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout is {dropout!r}; it is a probability of at least 0 and below 1")
        self.architecture = architecture
        for node in architecture.nodes:
            if node.kind == "batch_norm":
                self.add_module(node.name, BatchNorm(node.channels))
            elif isinstance(node.layer, Convolution | FullyConnected) and node.tensors:
                padding = node.layer.kernel // 2 if node.kind == "convolution" else 0
                module = Conv2d(node.layer.in_channels, node.channels, node.layer.kernel, padding=padding)
                self.add_module(node.name, module)
        self.dropout = Dropout(dropout)

    @staticmethod
    def holding(
        architecture: Architecture, tensors: Mapping[str, NDArray[Any]], *, engine: Engine = "auto"
    ) -> VGG:
        """The network with weights that are in memory, laid out for the engine; in evaluation mode."""
        network = VGG(architecture, engine=engine)
        network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, assign=True)
        return network.eval().lay_out()

    def activations(self, images: Tensor, outputs: Sequence[str]) -> dict[str, Tensor]:
        """Outputs of the named layers, of images that are preprocessed; what lies behind the last is not run."""
        _check(images)
        return self.run(nodes_to(self.architecture, outputs), images, outputs)

    def score_map(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch classes rows columns"]:
        """Class scores before the soft-max for each window, a window every 32 pixels.

        Args:
            images: preprocessed as the model's `Preprocessing` says, both sides at least one window.

        Raises:
            UsageError: the images are smaller than one window, or have another shape or type.

        """
        _check(images)
        self.architecture.score_map_size(*images.shape[2:])
        return self.run(self.architecture.nodes, images, (SCORES,))[SCORES]

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch classes"]:
        """Class scores of each image: the mean of its score map over space (Section 3.2)."""
        return self.score_map(images).mean((2, 3))

    def apply_node(self, node: Node, x: Tensor) -> Tensor:
        """Compute one node, and drop units of fc6 and fc7 in training."""
        x = super().apply_node(node, x)
        return self.dropout(x) if node.kind == "relu" and isinstance(node.layer, FullyConnected) else x


def _check(images: Tensor) -> None:
    """Make sure that these can be preprocessed images.

    Raises:
        UsageError: they are of another type or shape.

    """
    if not isinstance(images, Tensor):
        seen = f"of type {type(images).__name__}"
    elif not images.is_floating_point():
        seen = f"a tensor of {str(images.dtype).removeprefix('torch.')}"
    elif images.ndim != 4 or images.shape[1] != 3:
        seen = f"a tensor of shape {tuple(images.shape)}"
    else:
        return
    raise UsageError(
        f"images are {seen}; VGG takes a tensor of floats of shape (batch, 3, height, width), preprocessed as its "
        "weights want them; a model that load or features opens does that itself"
    )
