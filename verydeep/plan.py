"""What follows from the plan of a network, its nodes: which are needed for some outputs, and their sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Literal

from verydeep.configurations import Architecture, Node
from verydeep.errors import UsageError

PoolingKind = Literal["max", "average"]  # what a network's poolings compute
SCORES = "fc8"  # the node whose output is the class score map
GREATEST_SCALE = 13_341  # of which a square image has 178 million pixels, the most that are rescaled to


def nodes_to(architecture: Architecture, outputs: Sequence[str]) -> tuple[Node, ...]:
    """The nodes from the image to the deepest one of `outputs`: as much as must be computed.

    Raises:
        UsageError: none is asked for, one is asked for twice, or the network has no layer of this name; the
            message has the near ones.

    """
    if isinstance(outputs, str):
        raise UsageError(f"layers is the word {outputs!r}; give a list: [{outputs!r}]")
    if not len(outputs):  # of an array too
        raise UsageError("no layer is given; name some, such as 'relu4_3'")
    twice = [name for name, count in Counter(outputs).items() if count > 1]
    if twice:
        raise UsageError(f"layer {twice[0]!r} is named twice; name it once")
    place = {node.name: number for number, node in enumerate(architecture.nodes)}
    for name in outputs:
        if name not in place:
            raise UsageError(_unknown(architecture, name, tuple(place)))
    return architecture.nodes[: max(place[name] for name in outputs) + 1]


def check_size(architecture: Architecture, nodes: Sequence[Node], height: int, width: int) -> None:
    """Make sure that images are large enough to reach the last of the nodes.

    Raises:
        UsageError: they are not; the message has the size that is needed.

    """
    if any(node.kind == "fully_connected" for node in nodes):
        architecture.score_map_size(height, width)
        return
    needed = 2 ** sum(node.kind == "pooling" for node in nodes)
    if min(height, width) < needed:
        raise UsageError(
            f"image is {width}x{height} pixels; layer {nodes[-1].name} needs both sides to be at least "
            f"{needed}: enlarge it, or ask for a layer before"
        )


def check_scale(argument: str, scale: int, architecture: Architecture) -> None:
    """Make sure that images rescaled to a smaller side hold the network's window; messages name the argument.

    Raises:
        UsageError: they do not.

    """
    window = architecture.window
    if scale < window:
        raise UsageError(
            f"`{argument}={scale}` is smaller than the network's window of {window} pixels; use "
            f"`{argument}={window}` or more"
        )
    refuse_too_large(argument, scale)


def refuse_too_large(argument: str, scale: int) -> None:
    """Make sure that an image can be rescaled to a smaller side; the message names the argument.

    Raises:
        UsageError: even a square one would have too many pixels.

    """
    if scale > GREATEST_SCALE:
        raise UsageError(f"`{argument}` has the scale {scale}; the greatest is {GREATEST_SCALE} pixels")


def check_scales(scales: Sequence[int]) -> None:
    """Make sure that there are scales, none twice and none too large.

    Raises:
        UsageError: it is not so.

    """
    if not scales:
        raise UsageError("a test needs a scale; give `scales` one or more")
    if len(set(scales)) < len(scales):
        raise UsageError(f"`scales` has a scale twice: {' '.join(map(str, scales))}; name each once")
    refuse_too_large("scales", max(scales))


def output_shapes(nodes: Sequence[Node], height: int, width: int) -> dict[str, tuple[int, int, int]]:
    """Channels, height and width of each node's output, for an image of `height` x `width`."""
    shapes = {}
    for node in nodes:
        height, width = node.output_size(height, width)
        shapes[node.name] = node.channels, height, width
    return shapes


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
        advice = f"layers have names, not indices: {', '.join(known)}"
    return f"{what} has no layer {name!r}; {advice}"


def _usual(name: str) -> str:
    """A name as it may have been meant: `ReLU-4-3` is `relu4_3`, and `block4_conv3`, Keras's, is `conv4_3`."""
    word = name.lower().replace("-", "_").replace(".", "_")
    if word.startswith("block"):
        stage, _, rest = word.removeprefix("block").partition("_")
        word = f"pool{stage}" if rest == "pool" else f"conv{stage}_{rest.removeprefix('conv')}"
    return word.replace("relu_", "relu").replace("conv_", "conv").replace("pool_", "pool").replace("fc_", "fc")
