"""Our own names, in a state dict without a run folder: `conv1_1.weight` ... `fc8.bias`, `bn1_1.running_mean`."""

from __future__ import annotations

import re

from verydeep.errors import ModelError
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.choice import leave_out
from verydeep.weights.recognize import Layers, layer_of

FC_NAMES = ("fc6", "fc7", "fc8")
OUR_NAMES = re.compile(r"(conv\d_\d|fc[678])\.(weight|bias)|bn\d_\d\.\w+")


def read_layers(checkpoint: Checkpoint) -> Layers | None:
    """The layers of a state dict with our names."""
    tensors = checkpoint.tensors
    if "conv1_1.weight" not in tensors:
        return None
    layers = Layers(flattened=True)
    for place in sorted(name[4:7] for name in tensors if re.fullmatch(r"conv[1-5]_\d\.weight", name)):
        norm = f"bn{place}" if f"bn{place}.weight" in tensors else None
        layers.convolutions.append(layer_of(tensors, f"conv{place}", norm))
    wanted = [f"{name}.{part}" for name in FC_NAMES for part in ("weight", "bias")]
    missing = [name for name in wanted if name not in tensors]
    if not missing:
        layers.fully_connected = [layer_of(tensors, name) for name in FC_NAMES]
    elif len(missing) < len(wanted):
        layers.problem = f"lacks {missing[0]}"
    others = [name for name in tensors if not OUR_NAMES.fullmatch(name)]
    strange = [name for name in others if re.match(r"[a-z]+[1-5]_\d\.", name)]
    if strange:
        raise ModelError(
            f"has {strange[0]} among its convolutions, which VGG does not have: this is another network"
        )
    leave_out(others, tensors, layers, has_head=not missing)
    return layers
