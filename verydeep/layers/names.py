"""What every layer is called: `conv4_3` before its ReLU, `relu4_3` after it, as the literature writes it.

A node is a place of the network where a tap can be set. They come in the order in which they are computed:

    conv1_1  bn1_1  relu1_1  norm1_1  ...  pool1  ...  fc6  relu6  fc7  relu7  fc8

`bn` is there in batch-normalised networks alone, `norm`, which is LRN, in A-LRN alone, and `fc6` on is not there
in a network that is features only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from verydeep.configurations import Architecture, Convolution, FullyConnected, Layer, Pooling
from verydeep.errors import UsageError

PoolingKind = Literal["max", "average"]  # what a network's poolings do
Kind = Literal["convolution", "batch_norm", "relu", "norm", "pooling", "fully_connected"]


@dataclass(frozen=True)
class Node:
    """A place of the network.

    Attributes:
        name: of the literature.
        kind: what is done there.
        layer: the layer of the architecture that it belongs to.

    """

    name: str
    kind: Kind
    layer: Layer


def nodes(architecture: Architecture) -> tuple[Node, ...]:
    """Every place of the network, from the picture to the class scores."""
    found: list[Node] = []
    for layer in architecture.layers:
        if isinstance(layer, Convolution):
            found.append(Node(layer.name, "convolution", layer))
            if layer.batch_norm:
                found.append(Node(f"bn{layer.place}", "batch_norm", layer))
            found.append(Node(f"relu{layer.place}", "relu", layer))
            if layer.local_response_norm:
                found.append(Node(f"norm{layer.place}", "norm", layer))
        elif isinstance(layer, Pooling):
            found.append(Node(layer.name, "pooling", layer))
        else:
            found.append(Node(layer.name, "fully_connected", layer))
            if not layer.last:
                found.append(Node(layer.name.replace("fc", "relu"), "relu", layer))
    return tuple(found)


def names(architecture: Architecture) -> tuple[str, ...]:
    """Names of every place of the network, in the order in which they are computed."""
    return tuple(node.name for node in nodes(architecture))


def nodes_to(architecture: Architecture, layers: Sequence[str]) -> tuple[Node, ...]:
    """The nodes from the picture to the deepest one of `layers`: as much as has to be computed.

    Raises:
        UsageError: none is asked for, one is asked for twice, or the network has no layer of this name; the
            message has the near ones.

    """
    if isinstance(layers, str):
        raise UsageError(f"layers is the word {layers!r}; give a list: [{layers!r}]")
    if not layers:
        raise UsageError("no layer is asked for; name some, such as 'relu4_3'")
    twice = [name for name in layers if list(layers).count(name) > 1]
    if twice:
        raise UsageError(f"layer {twice[0]!r} is asked for twice; name it once")
    every = nodes(architecture)
    place = {node.name: number for number, node in enumerate(every)}
    for name in layers:
        if name not in place:
            raise UsageError(_unknown(architecture, name, tuple(place)))
    return every[: max(place[name] for name in layers) + 1]


def check_size(architecture: Architecture, path: Sequence[Node], height: int, width: int) -> None:
    """Make sure that pictures are large enough to reach the last of the nodes.

    Raises:
        UsageError: they are not; the message has the size that is needed.

    """
    if any(isinstance(node.layer, FullyConnected) for node in path):
        architecture.score_map_size(height, width)
        return
    needed = 2 ** sum(node.kind == "pooling" for node in path)
    if min(height, width) < needed:
        raise UsageError(
            f"picture is {width}x{height} pixels; layer {path[-1].name} needs both sides to be at least {needed}: "
            "enlarge it, or ask for a layer before"
        )


def num_channels(node: Node, channels_before: int) -> int:
    """Channels that a node gives, from those that it gets."""
    return channels_before if isinstance(node.layer, Pooling) else node.layer.out_channels


def shape_at(path: Sequence[Node], height: int, width: int) -> tuple[int, int, int]:
    """Channels, height and width of what the last of the nodes gives for a picture of `height` x `width`."""
    channels = 3
    for node in path:
        channels = num_channels(node, channels)
        if node.kind == "pooling":
            height, width = height // 2, width // 2
        elif node.kind == "fully_connected" and isinstance(node.layer, FullyConnected):
            height, width = height - node.layer.kernel + 1, width - node.layer.kernel + 1
    return channels, height, width


def _unknown(architecture: Architecture, name: str, known: tuple[str, ...]) -> str:
    what = f"configuration {architecture.configuration}" + " with batch normalisation" * architecture.batch_norm
    fully_connected = ("fc6", "relu6", "fc7", "relu7", "fc8")
    if name in fully_connected and name not in known:
        return (
            f"this network is features only: it ends at {known[-1]} and has no {name}; take weights with FC "
            f"layers, or ask for {known[-1]} or a layer before"
        )
    near = get_close_matches(_usual(name), known, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
    place = name.removeprefix("bn").removeprefix("norm")
    if name == f"bn{place}" and f"conv{place}" in known:
        advice = f"it is not batch-normalised; {advice}"
    elif name == f"norm{place}" and f"conv{place}" in known:
        advice = f"configuration A-LRN alone has LRN, after conv1_1; {advice}"
    elif name.isdigit() or name.startswith(("features.", "classifier.")):
        advice = f"layers are called by the literature's names, not by indices: {', '.join(known)}"
    return f"{what} has no layer {name!r}; {advice}"


def _usual(name: str) -> str:
    """A name as it may have been meant: `ReLU-4-3` is `relu4_3`, and `block4_conv3`, Keras's, is `conv4_3`."""
    word = name.lower().replace("-", "_").replace(".", "_")
    if word.startswith("block"):
        stage, _, rest = word.removeprefix("block").partition("_")
        word = f"pool{stage}" if rest == "pool" else f"conv{stage}_{rest.removeprefix('conv')}"
    return word.replace("relu_", "relu").replace("conv_", "conv").replace("pool_", "pool").replace("fc_", "fc")
