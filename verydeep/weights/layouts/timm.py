"""timm's names: torchvision's `features`, and a convolutional head: `pre_logits.fc1`, `.fc2`, and `head.fc`."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from verydeep.configurations import Architecture
from verydeep.weights.beside import leave_out
from verydeep.weights.layouts.torchvision import convolutions, features
from verydeep.weights.raw import Raw
from verydeep.weights.recognize import Layer, Layers, layers_of

HEAD = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")


def incoming(raw: Raw) -> Layers | None:
    """The layers of timm's state dict; without `head.fc` (`num_classes=0`) the convolutions alone."""
    if "pre_logits.fc1.weight" not in raw.tensors or "features.0.weight" not in raw.tensors:
        return None
    layers = Layers(convolutions(raw.tensors), has_lrn=False, slides=True)
    others = [name for name in raw.tensors if not name.startswith("features.")]
    beside = [name for name in others if not name.startswith(("pre_logits.", "head."))]
    known = [f"{name}.{part}" for name in HEAD for part in ("weight", "bias")]
    strange = [name for name in others if name not in known and name not in beside]
    if strange:
        layers.problem = f"has {strange[0]} in its head, where timm's VGG has three FC layers alone"
    if "head.fc.weight" in raw.tensors:
        try:
            layers.fully_connected = [
                Layer(raw.tensors[f"{name}.weight"], raw.tensors[f"{name}.bias"]) for name in HEAD
            ]
        except KeyError as missing:
            layers.problem = f"lacks {missing}"
        leave_out(beside, raw.tensors, layers)
    else:
        layers.beside = beside
    return layers


def outgoing(architecture: Architecture, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `timm.create_model("vgg16", ...).load_state_dict` takes.

    Raises:
        UsageError: timm has no such network.

    """
    layers = layers_of(architecture, tensors)
    theirs = features(architecture, layers, "timm")
    for name, layer in zip(HEAD, layers.fully_connected, strict=False):
        last = name == HEAD[-1]
        theirs[f"{name}.weight"] = layer.weight.reshape(len(layer.weight), -1) if last else layer.weight
        theirs[f"{name}.bias"] = layer.bias
    return theirs
