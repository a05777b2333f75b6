"""Keras's axes: kernels are (rows, columns, in, out), and fc6 takes the map flattened with channels last."""

from __future__ import annotations

import re

import numpy as np

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError, printable
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.layouts.keras.config import KerasLayer, layers_of_model
from verydeep.weights.layouts.keras.walk import Array, KerasWalk, Parts
from verydeep.weights.recognize import Layer, Layers, Tensors, layers_of
from verydeep.weights.steps import STAGES, channels_first, head_problem

CONFIGURATIONS_THERE = {"D": "VGG16", "E": "VGG19"}
FC_NAMES = ("fc1", "fc2", "predictions")
KERAS_3 = "Keras 3"
MODELS = {"functional", "sequential", "model"}
HARMLESS = {
    "conv2d",
    "dense",
    "max_pooling2d",
    "flatten",
    "dropout",
    "input_layer",
    "activation",
    "re_lu",
    "softmax",
    "seed_generator",
    "random_flip",
    "random_rotation",
    "random_translation",
    "random_zoom",
    "random_contrast",
    "random_brightness",
}
"""What a file of weights alone may name beside a VGG network's layers."""

HEADS = {"global_average_pooling2d", "global_max_pooling2d"}
OTHERS = HEADS | {
    "average_pooling2d",
    "batch_normalization",
    "elu",
    "lambda",
    "leaky_re_lu",
    "normalization",
    "p_re_lu",
    "rescaling",
    "resizing",
    "zero_padding2d",
}
"""Keras's own names of layers that make another network; in Keras 2's form a layer may have any name."""

OF_WEIGHTS_ALONE = (
    "it has weights alone, which do not tell activations: ReLU and a softmax are taken, and with others the "
    "scores are wrong; to be sure, give the whole model (model.save)"
)


def read_layers(checkpoint: Checkpoint) -> Layers:
    """The layers of a Keras file: by its configuration, or where it has none by the shapes of its weights."""
    parts, facts = checkpoint.parts, checkpoint.facts
    by_path = facts["form"] == KERAS_3
    if "config" not in facts:
        return _of_weights_alone(parts, facts["layers"], by_path=by_path)

    def weights(layer: KerasLayer) -> Parts:
        if by_path:
            return parts.get(layer.path, {})
        alone = [found for place, found in parts.items() if place.partition("/")[0] == layer.top == layer.name]
        return alone[0] if len(alone) == 1 else parts.get(f"{layer.top}/{layer.name}", {})

    try:
        walk = KerasWalk(layers_of_model(facts["config"]), weights)
    except (TypeError, ValueError, AttributeError, IndexError, KeyError, RecursionError) as error:
        raise ModelError(f"has a configuration that is not Keras's: {printable(error)}") from None
    return walk.layers()


def _of_weights_alone(parts: dict[str, Parts], names: list[str], *, by_path: bool) -> Layers:
    """Layers by the shapes of their tensors, in the file's order, if nothing else is named that would matter."""
    kinds = {re.sub(r"_\d+$", "", name.rpartition("/")[2]) for name in names}
    others = kinds - HARMLESS - MODELS - HEADS if by_path else kinds & (OTHERS - HEADS)
    if others:
        raise ModelError(
            f"has weights alone, which do not tell what {sorted(others)[0]} does; save the whole model"
        )
    poolings = sum(name.rpartition("/")[2].startswith("max_pooling2d") for name in names)
    if by_path and poolings != STAGES:
        raise ModelError(f"has {poolings} max-poolings, where a VGG network has {STAGES}")
    layers = Layers(has_lrn=False, flattened="flatten" in kinds, notes=[OF_WEIGHTS_ALONE])
    homes: dict[int, set[str]] = {4: set(), 2: set()}
    for place, (home, tensors) in _with_homes(parts, by_path=by_path).items():
        kernel, *rest = tensors
        if kernel.ndim not in homes or len(rest) > 1 or any(bias.shape != kernel.shape[-1:] for bias in rest):
            raise ModelError(
                f"has weights alone, and {place} has {len(tensors)} tensors, which do not tell what it computes; "
                "save the whole model"
            )
        homes[kernel.ndim].add(home)
        bias = rest[0] if rest else np.zeros(kernel.shape[-1], np.float32)
        if kernel.ndim == 4:
            layers.convolutions.append(Layer(kernel.transpose(3, 2, 0, 1), bias))
        else:
            layers.fully_connected.append(Layer(kernel.T, bias))
    if max(map(len, homes.values())) > 1:
        raise ModelError(
            "has weights alone, of several models, whose order they do not tell; save the whole model"
        )
    _settle_head(layers, kinds)
    return layers


def _with_homes(parts: dict[str, Parts], *, by_path: bool) -> dict[str, tuple[str, list[Array]]]:
    """The model that each layer is in, and its tensors.

    Raises:
        ModelError: the layers of a model within the model are not in the order of their names. Keras 2's form has
            weights that are trained before those that are not.

    """
    inner: dict[str, list[str]] = {}
    for place in parts:
        inner.setdefault(place.rpartition("/")[0], []).append(place)
    if not by_path:
        for places in inner.values():
            if sorted(places, key=_by_number) != places:
                raise ModelError(
                    "has weights alone, whose layers are not in the order of their names; save the whole model"
                )
    return {
        place: (home if by_path or len(places) > 1 else "", list(parts[place].values()))
        for home, places in inner.items()
        for place in places
    }


def _by_number(name: str) -> list[tuple[bool, int, str]]:
    """`conv2d` before `conv2d_2` before `conv2d_10`."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _settle_head(layers: Layers, kinds: set[str]) -> None:
    """Bring fc6 to our axes, if the head is a VGG network's."""
    head = layers.fully_connected
    if head and (len(head) != 3 or kinds & HEADS):
        seen = [*sorted(kinds & HEADS), *(f"Dense of {len(layer.weight)}" for layer in head)]
        layers.fully_connected, layers.problem = [], head_problem(seen)
    elif head and layers.convolutions:
        head[0].weight = channels_first(head[0].weight, len(layers.convolutions[-1].weight))


def tensors_for(architecture: Architecture, tensors: Tensors) -> Tensors:
    """What `keras.applications.VGG16(...).load_weights` takes, as datasets of a `.weights.h5` file.

    Raises:
        UsageError: Keras has no such network.

    """
    if architecture.configuration not in CONFIGURATIONS_THERE or architecture.batch_norm:
        what = architecture.configuration + " with batch normalisation" * architecture.batch_norm
        raise UsageError(f"Keras has no network {what}; it has {', '.join(CONFIGURATIONS_THERE)}, without it")
    layers = layers_of(architecture, tensors)
    theirs: Tensors = {}
    for kind, members in (("conv2d", layers.convolutions), ("dense", layers.fully_connected)):
        for number, layer in enumerate(members):
            kernel = layer.weight.transpose(2, 3, 1, 0)
            group = f"layers/{_numbered(kind, number)}/vars"
            theirs[f"{group}/0"] = kernel if kind == "conv2d" else kernel.reshape(-1, len(layer.weight))
            theirs[f"{group}/1"] = layer.bias
    return theirs


def group_names(architecture: Architecture) -> dict[str, str]:
    """Keras's names of the layers, by the groups that a `.weights.h5` file has for all of them, poolings too."""
    stages = CONFIGURATIONS[architecture.configuration].stages
    names = {"input_layer": "input_layer"}
    for stage, convolutions in enumerate(stages, 1):
        before = sum(map(len, stages[: stage - 1]))
        for place in range(len(convolutions)):
            names[_numbered("conv2d", before + place)] = f"block{stage}_conv{place + 1}"
        names[_numbered("max_pooling2d", stage - 1)] = f"block{stage}_pool"
    if architecture.num_classes:
        names |= {"flatten": "flatten"} | {_numbered("dense", place): name for place, name in enumerate(FC_NAMES)}
    return {f"layers/{group}": name for group, name in names.items()}


def _numbered(kind: str, number: int) -> str:
    """The group of a layer among those of its kind: `conv2d`, `conv2d_1` and so on."""
    return f"{kind}_{number}" if number else kind
