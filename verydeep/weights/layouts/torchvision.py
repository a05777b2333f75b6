"""torchvision's names: `features.<place among the layers>`, and `classifier.0`, `.3`, `.6`, which are matrices."""

from __future__ import annotations

import re
from itertools import pairwise, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.weights.beside import leave_out
from verydeep.weights.raw import Raw
from verydeep.weights.recognize import NORM_PARTS, Layer, Layers, layers_of, norm_of

CONFIGURATIONS_THERE = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
CLASSIFIER = ("classifier.0", "classifier.3", "classifier.6")


def incoming(raw: Raw) -> Layers | None:
    """The layers of torchvision's state dict, with or without its classifier."""
    if "features.0.weight" not in raw.tensors or any(name.startswith("pre_logits") for name in raw.tensors):
        return None
    layers = Layers(convolutions(raw.tensors), has_lrn=False)
    _take_classifier(raw.tensors, layers, in_order=raw.kind == "torch")
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
    if architecture.num_classes and architecture.window != 224:
        raise UsageError(
            f"this network's window is {architecture.window} pixels; {library}'s networks have one of 224"
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
    if not batch_norm and tensors.get("features.1.weight", np.empty((0, 0))).ndim == 1:
        raise ModelError(
            "has batch normalisation without running means and variances, which are no parameters: save all of "
            "net.state_dict(), not net.named_parameters()"
        )
    if not any(places == _places(name, batch_norm) for name in CONFIGURATIONS_THERE):
        raise ModelError(
            f"has convolutions at features.{', '.join(map(str, places))}, where no network of "
            f"{', '.join(CONFIGURATIONS_THERE)} has them"
        )
    if not any(f"features.{at}.bias" in tensors for at in places):  # as people leave it out before a normalisation
        for at in places:
            tensors[f"features.{at}.bias"] = np.zeros(len(tensors[f"features.{at}.weight"]), np.float32)
    known = {f"features.{at}.{part}" for at in places for part in ("weight", "bias")}
    if batch_norm:
        known |= {f"features.{at + 1}.{part}" for at in places for part in NORM_PARTS}
    others = [name for name in tensors if name.startswith("features.") and name not in known]
    if others:
        raise ModelError(
            f"has {others[0]} among its convolutions, which VGG does not have: this is another network"
        )
    return [_layer(tensors, f"features.{at}", f"features.{at + 1}" if batch_norm else None) for at in places]


def _layer(tensors: dict[str, NDArray[Any]], name: str, norm: str | None = None) -> Layer:
    try:
        parts = norm_of(tensors, norm) if norm else ()
        return Layer(tensors[f"{name}.weight"], tensors[f"{name}.bias"], parts)
    except KeyError as missing:
        raise ModelError(f"lacks {missing}") from None


def _take_classifier(tensors: dict[str, NDArray[Any]], layers: Layers, *, in_order: bool) -> None:
    """Find the FC layers: the matrices of `classifier`, or all that there are where nothing is called so.

    Args:
        tensors: of the network.
        layers: get the FC layers, or why they cannot be used.
        in_order: whether tensors lie in the order in which the network's modules were made.

    """
    others = [name for name in tensors if not name.startswith("features.")]
    named = [name for name in others if name.startswith("classifier.")]
    matrices = [
        name.removesuffix(".weight")
        for name in named or others
        if name.endswith(".weight")
        and tensors[name].ndim == 2
        and (named or f"{name.removesuffix('weight')}bias" in tensors)
    ]
    known = [f"{name}.{part}" for name in matrices for part in ("weight", "bias")]
    strange = [name for name in named if name not in known]
    missing = [name for name in known if name not in tensors]
    beside = [name for name in others if name not in known and name not in named]
    if strange or missing:
        layers.problem = (
            f"has {strange[0]} in its classifier, where VGG has three FC layers alone"
            if strange
            else f"lacks {missing[0]}"
        )
        return
    if matrices:
        leave_out(beside, tensors, layers)
    else:
        layers.beside = beside
    order = _order(matrices, tensors)
    if order is None and in_order:
        order = matrices
        layers.notes.append(
            f"its FC layers are taken in the order of the file ({', '.join(order)}): if the network has another, "
            "the scores are wrong"
        )
    if order is None:
        layers.problem = f"does not tell the order of its FC layers {', '.join(matrices)}"
        return
    layers.fully_connected = [_layer(tensors, name) for name in order]


def _order(names: list[str], tensors: dict[str, NDArray[Any]]) -> list[str] | None:
    """The order in which matrices are multiplied, each taking what the one before gives; None if not clear."""
    if len(names) != 3:
        return names
    shapes = {name: tensors[f"{name}.weight"].shape for name in names}
    orders = [
        list(order)
        for order in permutations(names)
        if all(shapes[before][0] == shapes[after][1] for before, after in pairwise(order))
    ]
    numbered = sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    if len({re.split(r"\d", name)[0] for name in names}) == 1 and (numbered in orders or not orders):
        return numbered
    if len(orders) == 1:
        return orders[0]
    return None if orders else names


def _places(configuration: str, batch_norm: bool) -> list[int]:
    """Where convolutions lie among the layers: each has a ReLU and maybe a norm, each stage a pooling."""
    places, at = [], 0
    for stage in CONFIGURATIONS[configuration].stages:
        for _ in stage:
            places.append(at)
            at += 3 if batch_norm else 2
        at += 1
    return places
