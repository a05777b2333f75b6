"""timm's names: torchvision's `features`, and a convolutional head: `pre_logits.fc1`, `.fc2`, and `head.fc`."""

from __future__ import annotations

from verydeep.configurations import Architecture
from verydeep.errors import ModelError
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.choice import leave_out
from verydeep.weights.layouts.torchvision import convolutions, named_tensors
from verydeep.weights.recognize import Layers, Tensors, layer_of

HEAD = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")


def read_layers(checkpoint: Checkpoint) -> Layers | None:
    """The layers of timm's state dict; without `head.fc` (`num_classes=0`) the convolutions alone."""
    tensors = checkpoint.tensors
    if "pre_logits.fc1.weight" not in tensors or "features.0.weight" not in tensors:
        return None
    layers = Layers(convolutions(tensors), has_lrn=False, slides=True)
    others = [name for name in tensors if not name.startswith(("features.", "pre_logits.", "head."))]
    known = [f"{name}.{part}" for name in HEAD for part in ("weight", "bias")]
    strange = [name for name in tensors if name.startswith(("pre_logits.", "head.")) and name not in known]
    if strange:
        layers.problem = f"has {strange[0]} in its head, where timm's VGG has three FC layers alone"
    has_head = "head.fc.weight" in tensors
    if has_head:
        try:
            layers.fully_connected = [layer_of(tensors, name) for name in HEAD]
        except ModelError as error:
            layers.problem = str(error)
    leave_out(others, tensors, layers, has_head=has_head)
    return layers


def tensors_for(architecture: Architecture, tensors: Tensors) -> Tensors:
    """What `timm.create_model("vgg16", ...).load_state_dict` takes.

    Raises:
        UsageError: timm has no such network.

    """
    return named_tensors(architecture, tensors, "timm", HEAD, matrices=HEAD[-1:])
