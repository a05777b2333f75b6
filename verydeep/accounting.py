"""What a network costs: parameters, multiply-adds, receptive fields and memory, from its plan."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from math import prod

from verydeep.configurations import Architecture, Convolution, Layer, Node, Pooling, configuration

SMALL_MAP = 6  # places: of maps so small the native engine multiplies otherwise, and stores what it reads


@dataclass(frozen=True)
class LayerAccount:
    """What one layer costs for one image: a row of `verydeep describe`."""

    name: str
    kind: str
    shape: tuple[int, int, int]  # channels, height, width of its output
    parameters: int
    multiply_adds: int
    receptive_field: int  # side of the square of pixels that one output sees

    @property
    def weight_bytes(self) -> int:
        """Bytes of its parameters in float32."""
        return 4 * self.parameters

    @property
    def activation_bytes(self) -> int:
        """Bytes of its output for one image in float32."""
        return 4 * prod(self.shape)


def account(architecture: Architecture, size: tuple[int, int] | None = None) -> tuple[LayerAccount, ...]:
    """Count each layer's parameters, multiply-adds, receptive field and output.

    Multiply-adds are those of convolutions and FC layers, one for each weight and place, as the literature
    counts them (twice as many operations). A convolution's ReLU, LRN and normalisation are part of its row.

    Args:
        architecture: of the network.
        size: height and width of the image; None for one window.

    """
    rows = []
    height, width = size or 2 * (architecture.window,)
    field, jump = 1, 1
    for layer, nodes in groupby(architecture.nodes, lambda node: node.layer):
        parameters = weights = 0
        for node in nodes:
            height, width = node.output_size(height, width)
            shapes = {name.rpartition(".")[2]: prod(shape) for name, shape in node.tensors.items()}
            parameters += shapes.get("weight", 0) + shapes.get("bias", 0)
            weights += shapes.get("weight", 0) * (node.kind != "batch_norm")
        if isinstance(layer, Pooling):
            field, jump = field + jump, 2 * jump
        else:
            field += (layer.kernel - 1) * jump
        shape = layer.out_channels, height, width
        rows.append(LayerAccount(layer.name, _kind(layer), shape, parameters, weights * height * width, field))
    return tuple(rows)


def _kind(layer: Layer) -> str:
    if isinstance(layer, Pooling):
        return "max-pooling 2x2"
    if not isinstance(layer, Convolution):
        return "fully connected"
    lrn, batch_norm = " + LRN" * bool(layer.local_response_norm), " + BN" * layer.batch_norm
    return f"convolution {layer.kernel}x{layer.kernel}{lrn}{batch_norm}"


def multiply_adds(architecture: Architecture, height: int, width: int) -> int:
    """Count the multiply-adds of an image of any size.

    Raises:
        UsageError: the image is smaller than one window.

    """
    architecture.score_map_size(height, width)
    return sum(row.multiply_adds for row in account(architecture, (height, width)))


def num_parameters(architecture: Architecture) -> int:
    """Count the weights and biases of all layers."""
    return sum(row.parameters for row in account(architecture))


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that a training takes beside the program and its images, in float32.

    Attributes:
        weights: parameters, their gradients and momentum.
        activations: what a step keeps of the forward pass, for a batch.
        gradients: what the backward pass has of gradients at activations at once.
        workspace: transformed weights, and sums of the largest layer.

    """

    weights: int
    activations: int
    gradients: int
    workspace: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.activations + self.gradients + self.workspace


def training_memory(architecture: Architecture, batch_size: int, *, native: bool) -> TrainingMemory:
    """Count what a step of training takes, of images of one window.

    The native engine keeps what follows a convolution, pooled where it is pooled. Of a batch normalisation it
    keeps what comes before it, and where no 3x3 convolution follows, what comes after it. torch keeps both sides
    of a pooling, and where its maxima were.

    Args:
        architecture: of the network.
        batch_size: images in a step, of all that one process trains.
        native: whether our own kernels compute, else torch.

    """
    height = width = architecture.window
    nodes = architecture.nodes
    kept, winners = [4 * 3 * (height + 2) * (width + 2)], 0
    for node, following in zip(nodes, [*nodes[1:], None], strict=True):
        height, width = node.output_size(height, width)
        size = _map_bytes(node.channels, height, width, native)
        normalized = following is not None and following.kind in ("batch_norm", "local_response_norm")
        pooled = following is not None and following.kind == "pooling"
        if node.kind == "pooling":
            winners += size // 16 if native else 2 * size  # two bits a number, or a number of 64 bits
        on_the_way = _is_batch_norm_on_the_way(node, following) and height * width > SMALL_MAP
        stored = node.kind not in ("convolution", "batch_norm") and not (native and (pooled or on_the_way))
        if normalized or stored:
            kept.append(size)
    products = max(layer.in_channels * layer.out_channels for layer in architecture.convolutions)
    # Two neighbours' gradients at a time; Winograd's weights are 36 numbers a kernel, and as many sums.
    return TrainingMemory(
        weights=3 * 4 * num_parameters(architecture),
        activations=batch_size * (sum(kept) + winners),
        gradients=batch_size * max(one + other for one, other in pairwise(kept)),
        workspace=2 * 36 * 4 * products if native else 0,
    )


def _is_batch_norm_on_the_way(node: Node, following: Node | None) -> bool:
    """Whether a ReLU is that of a batch normalisation before a 3x3 convolution, which reads both on the way."""
    if node.kind != "relu" or following is None or following.kind != "convolution":
        return False
    before, after = node.layer, following.layer
    normalized = isinstance(before, Convolution) and before.batch_norm
    return normalized and isinstance(after, Convolution) and after.kernel == 3


def _map_bytes(channels: int, height: int, width: int, native: bool) -> int:
    """Of one image's activations, in blocks of 16 channels with a border where our kernels compute."""
    if not native or height * width == 1:
        return 4 * channels * height * width
    height, width = (-(-side // 4) * 4 + 2 for side in (height, width))
    return 4 * -(-channels // 16) * 16 * height * width


@dataclass(frozen=True)
class StageArgument:
    """Section 2.3 for one stage: its stack of small filters beside the one filter that sees as much.

    Weights are counted without biases, between layers of C channels each, as the paper does: three 3x3 layers
    have 27 C^2 weights and see 7x7, where one 7x7 layer has 49 C^2.
    """

    stage: int
    channels: int
    kernels: tuple[int, ...]

    @property
    def receptive_field(self) -> int:
        """Side of the square that the stack sees of its input."""
        return 1 + sum(kernel - 1 for kernel in self.kernels)

    @property
    def stack_factor(self) -> int:
        """Weights of the stack, in units of C^2."""
        return sum(kernel**2 for kernel in self.kernels)

    @property
    def single_factor(self) -> int:
        """Weights of one filter with the same receptive field, in units of C^2."""
        return self.receptive_field**2


def stage_arguments(architecture: Architecture) -> tuple[StageArgument, ...]:
    """Section 2.3's argument in numbers, a row a stage."""
    stages = configuration(architecture.configuration).stages
    return tuple(
        StageArgument(number, architecture.channels(stage[-1].channels), tuple(layer.kernel for layer in stage))
        for number, stage in enumerate(stages, 1)
    )
