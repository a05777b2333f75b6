"""Keras's axes: kernels are (rows, columns, in, out), and fc6 takes the map flattened with channels last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import CONFIGURATIONS, Architecture
from verydeep.errors import ModelError, UsageError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, layers_of

CONFIGURATIONS_THERE = {"D": "VGG16", "E": "VGG19"}
FC_NAMES = ("fc1", "fc2", "predictions")


def incoming(raw: Raw) -> Layers | None:
    """The layers of a Keras file, with or without its top."""
    if raw.kind not in ("hdf5", "keras"):
        return None
    layers = Layers(has_lrn=False)
    for name, parts in raw.layers.items():
        if len(parts) != 2 or parts[0].ndim not in (2, 4):
            raise ModelError(
                f"has {name} with {len(parts)} tensors; the networks of keras.applications have convolutions and "
                "dense layers alone, each with kernel and bias"
            )
        kernel, bias = parts
        if kernel.ndim == 4:
            layers.convolutions.append(Layer(kernel.transpose(3, 2, 0, 1), bias))
        else:
            layers.fully_connected.append(Layer(kernel.T, bias))
    if layers.convolutions and layers.fully_connected:
        first = layers.fully_connected[0]
        first.weight = _channels_first(first.weight, len(layers.convolutions[-1].weight))
    return layers


def outgoing(architecture: Architecture, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What `keras.applications.VGG16(...).load_weights` takes, as datasets of a `.weights.h5` file.

    Raises:
        UsageError: Keras has no such network.

    """
    if architecture.configuration not in CONFIGURATIONS_THERE or architecture.batch_norm:
        what = architecture.configuration + " with batch normalisation" * architecture.batch_norm
        raise UsageError(f"Keras has no network {what}; it has {', '.join(CONFIGURATIONS_THERE)}, without it")
    layers = layers_of(architecture, tensors)
    theirs: dict[str, NDArray[Any]] = {}
    for number, layer in enumerate(layers.convolutions):
        name = f"layers/conv2d_{number}" if number else "layers/conv2d"
        theirs[f"{name}/vars/0"] = layer.weight.transpose(2, 3, 1, 0)
        theirs[f"{name}/vars/1"] = layer.bias
    for number, layer in enumerate(layers.fully_connected):
        name = f"layers/dense_{number}" if number else "layers/dense"
        out = len(layer.weight)
        theirs[f"{name}/vars/0"] = layer.weight.transpose(2, 3, 1, 0).reshape(-1, out)
        theirs[f"{name}/vars/1"] = layer.bias
    return theirs


def group_names(architecture: Architecture) -> dict[str, str]:
    """Keras's names of the layers, by the groups that a `.weights.h5` file has for all of them, poolings too."""
    names: dict[str, str] = {"layers/input_layer": "input_layer"}
    number = 0
    for stage, convolutions in enumerate(CONFIGURATIONS[architecture.configuration].stages, 1):
        for place in range(1, len(convolutions) + 1):
            names["layers/conv2d" + (f"_{number}" if number else "")] = f"block{stage}_conv{place}"
            number += 1
        names["layers/max_pooling2d" + (f"_{stage - 1}" if stage > 1 else "")] = f"block{stage}_pool"
    if architecture.num_classes:
        names["layers/flatten"] = "flatten"
        for place, name in enumerate(FC_NAMES):
            names["layers/dense" + (f"_{place}" if place else "")] = name
    return names


def _channels_first(weight: NDArray[Any], channels: int) -> NDArray[Any]:
    """(out, rows x columns x channels) -> (out, channels, rows, columns)."""
    out, count = weight.shape
    side = round((count / max(1, channels)) ** 0.5)
    if side < 1 or side * side * channels != count:
        raise ModelError(f"has a first dense layer of {count} inputs, which are no square of {channels} channels")
    return np.moveaxis(weight.reshape(out, side, side, channels), 3, 1)
