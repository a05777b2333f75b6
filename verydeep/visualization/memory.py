"""How much memory it takes to change an image, told before the system ends the process for it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt

from verydeep.configurations import Node
from verydeep.errors import UsageError
from verydeep.plan import output_shapes
from verydeep.processor import memory_bytes

COPIES = 2  # of each layer's output: itself, which its gradient wants, and about as much of what is on the way


def bytes_of(path: Sequence[Node], height: int, width: int) -> int:
    """Bytes of the outputs of all nodes for one image in float32, with gradients."""
    return 4 * COPIES * sum(map(prod, output_shapes(path, height, width).values()))


def bytes_shown(path: Sequence[Node], layers: Sequence[str], height: int, width: int) -> int:
    """Bytes of the outputs of some layers, and of the largest map on the way and what is made of it."""
    sizes = {name: prod(shape) for name, shape in output_shapes(path, height, width).items()}
    return 4 * (sum(sizes[name] for name in layers) + COPIES * max(sizes.values()))


def check_memory(
    path: Sequence[Node],
    height: int,
    width: int,
    available: int | None = None,
    layers: Sequence[str] | None = None,
) -> None:
    """Make sure that an image can be changed on this machine's processors.

    Args:
        path: the layers that it goes through.
        height: of the image.
        width: of the image.
        available: bytes; None for what the machine has, as far as it tells.
        layers: those that are looked at, where it is not changed.

    Raises:
        UsageError: it would not fit in memory; the message has a size that would.

    """
    available = available or memory_bytes()
    needed = bytes_of(path, height, width) if layers is None else bytes_shown(path, layers, height, width)
    if available and needed > available:
        fitting = int(max(height, width) * sqrt(available / needed) * 0.9)
        raise UsageError(
            f"an image of {width}x{height} pixels takes {needed / 1e9:.1f} GB up to {path[-1].name}, and this "
            f"machine has {available / 1e9:.1f} GB; use a `size` of {fitting} or less"
        )
