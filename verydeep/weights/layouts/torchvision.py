"""torchvision's names: `features.<place among the layers>`, and `classifier.0`, `.3`, `.6`, which are matrices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise, permutations

import numpy as np

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.choice import leave_out
from verydeep.weights.recognize import NORM_PARTS, Layer, Layers, Tensors, layer_of, layers_of

CONFIGURATIONS_THERE = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
CLASSIFIER = ("classifier.0", "classifier.3", "classifier.6")


def read_layers(checkpoint: Checkpoint) -> Layers | None:
    """The layers of torchvision's state dict, with or without its classifier."""
    tensors = checkpoint.tensors
    if "features.0.weight" not in tensors or any(name.startswith("pre_logits") for name in tensors):
        return None
    layers = Layers(convolutions(tensors), has_lrn=False)
    _take_classifier(tensors, layers, in_order=checkpoint.format == "torch")
    return layers


def tensors_for(architecture: Architecture, tensors: Tensors) -> Tensors:
    """What `torchvision.models.vgg16(...).load_state_dict` takes.

    Raises:
        UsageError: torchvision has no such network.

    """
    return named_tensors(architecture, tensors, "torchvision", CLASSIFIER, matrices=CLASSIFIER)


def named_tensors(
    architecture: Architecture, tensors: Tensors, library: str, head: Sequence[str], matrices: Sequence[str]
) -> Tensors:
    """Tensors by the names of torchvision or timm, which call convolutions alike.

    Args:
        architecture: of the network.
        tensors: its weights, by our names.
        library: for messages.
        head: names of the FC layers.
        matrices: those of them that are no convolutions there.

    Raises:
        UsageError: the library has no such network.

    """
    if architecture.configuration not in CONFIGURATIONS_THERE:
        raise UsageError(
            f"{library} has no network {architecture.configuration}; it has {', '.join(CONFIGURATIONS_THERE)}"
        )
    if architecture.num_classes and architecture.window != 224:
        raise UsageError(
            f"this network's window is {architecture.window} pixels; {library}'s networks have one of 224"
        )
    layers = layers_of(architecture, tensors)
    places = _places(architecture.configuration, architecture.batch_norm)
    theirs: Tensors = {}
    for place, layer in zip(places, layers.convolutions, strict=True):
        theirs |= {f"features.{place}.weight": layer.weight, f"features.{place}.bias": layer.bias}
        theirs |= {f"features.{place + 1}.{part}": t for part, t in zip(NORM_PARTS, layer.norm, strict=False)}
    for name, layer in zip(head, layers.fully_connected, strict=False):
        weight = layer.weight.reshape(len(layer.weight), -1) if name in matrices else layer.weight
        theirs |= {f"{name}.weight": weight, f"{name}.bias": layer.bias}
    return theirs


def convolutions(tensors: Tensors) -> list[Layer]:
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
    return [layer_of(tensors, f"features.{at}", f"features.{at + 1}" if batch_norm else None) for at in places]


def _take_classifier(tensors: Tensors, layers: Layers, *, in_order: bool) -> None:
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
    if strange or missing:
        layers.problem = (
            f"has {strange[0]} in its classifier, where VGG has three FC layers alone"
            if strange
            else f"lacks {missing[0]}"
        )
        return
    unused = [name for name in others if name not in known and name not in named]
    leave_out(unused, tensors, layers, has_head=bool(matrices))
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
    layers.fully_connected = [layer_of(tensors, name) for name in order]


def _order(names: list[str], tensors: Tensors) -> list[str] | None:
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
