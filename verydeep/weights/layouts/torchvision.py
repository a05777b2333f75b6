"""torchvision's names: `features.<place among the layers>`, and `classifier.0`, `.3`, `.6`, which are matrices."""

from __future__ import annotations

import re
from typing import Any

from numpy.typing import NDArray

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import NORM_PARTS, Layer, Layers, layers_of, norm_of

CONFIGURATIONS_THERE = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
CLASSIFIER = ("classifier.0", "classifier.3", "classifier.6")


def incoming(raw: Raw) -> Layers | None:
    """The layers of torchvision's state dict, with or without its classifier."""
    if "features.0.weight" not in raw.tensors or any(name.startswith("pre_logits") for name in raw.tensors):
        return None
    layers = Layers(convolutions(raw.tensors), has_lrn=False)
    names = [name for name in CLASSIFIER if f"{name}.weight" in raw.tensors]
    if any(name.startswith("classifier.") for name in raw.tensors) and len(names) < len(CLASSIFIER):
        raise ModelError("has torchvision's features, but a classifier of its own; it has to have three FC layers")
    layers.fully_connected = [_layer(raw.tensors, name) for name in names]
    return layers


def outgoing(architecture: Architecture, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `torchvision.models.vgg16(...).load_state_dict` takes.

    Raises:
        UsageError: torchvision has no such network.

    """
    layers = layers_of(architecture, tensors)
    theirs = features(architecture, layers, "torchvision")
    for name, layer in zip(CLASSIFIER, layers.fully_connected, strict=False):
        theirs[f"{name}.weight"] = layer.weight.reshape(len(layer.weight), -1)
        theirs[f"{name}.bias"] = layer.bias
    return theirs


def features(architecture: Architecture, layers: Layers, library: str) -> dict[str, NDArray[Any]]:
    """The convolutions by the names that torchvision and timm share.

    Raises:
        UsageError: they have no such network.

    """
    if architecture.configuration not in CONFIGURATIONS_THERE:
        raise UsageError(
            f"{library} has no network {architecture.configuration}; it has {', '.join(CONFIGURATIONS_THERE)}"
        )
    if architecture.num_classes and architecture.image_size != 224:
        raise UsageError(
            f"this network's window is {architecture.image_size} pixels; {library}'s networks have one of 224"
        )
    theirs: dict[str, NDArray[Any]] = {}
    places = _places(architecture.configuration, architecture.batch_norm)
    for place, layer in zip(places, layers.convolutions, strict=True):
        theirs[f"features.{place}.weight"], theirs[f"features.{place}.bias"] = layer.weight, layer.bias
        for part, tensor in zip(NORM_PARTS, layer.norm, strict=False):
            theirs[f"features.{place + 1}.{part}"] = tensor
    return theirs


def convolutions(tensors: dict[str, NDArray[Any]]) -> list[Layer]:
    """The convolutions that `features.*` has.

    Raises:
        ModelError: they do not lie as in one of these networks.

    """
    places = sorted(
        int(found[1])
        for name, tensor in tensors.items()
        if (found := re.fullmatch(r"features\.(\d{1,3})\.weight", name)) and tensor.ndim == 4
    )
    batch_norm = "features.1.running_mean" in tensors
    if not any(places == _places(name, batch_norm) for name in CONFIGURATIONS_THERE):
        raise ModelError(
            f"has convolutions at features.{', '.join(map(str, places))}, where no network of "
            f"{', '.join(CONFIGURATIONS_THERE)} has them"
        )
    return [_layer(tensors, f"features.{at}", f"features.{at + 1}" if batch_norm else None) for at in places]


def _layer(tensors: dict[str, NDArray[Any]], name: str, norm: str | None = None) -> Layer:
    try:
        parts = norm_of(tensors, norm) if norm else ()
        return Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], parts)
    except KeyError as missing:
        raise ModelError(f"lacks {missing}") from None


def _places(configuration: str, batch_norm: bool) -> list[int]:
    """Where convolutions lie among the layers: each has a ReLU and maybe a norm, each stage a pooling."""
    places, at = [], 0
    for stage in CONFIGURATIONS[configuration].stages:
        for _ in stage:
            places.append(at)
            at += 3 if batch_norm else 2
        at += 1
    return places
