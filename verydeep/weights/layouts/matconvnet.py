"""MatConvNet's axes: filters are (rows, columns, in, out), and FC layers are convolutions, as in the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import LocalResponseNorm
from verydeep.errors import ModelError, printable
from verydeep.images import imagenet
from verydeep.images.color import Preprocessing
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import OXFORD_LICENCE, OXFORD_TRAINED_ON, PREPROCESSING
from verydeep.weights.recognize import Layer, Layers, local_response_norm
from verydeep.weights.steps import (
    CONVOLUTION,
    LRN,
    NOT_VGG,
    POOLING,
    RELU,
    SOFTMAX,
    Step,
    differing,
    layers_of_steps,
)

KINDS = {
    "conv": CONVOLUTION,
    "relu": RELU,
    "pool": POOLING,
    "lrn": LRN,
    "normalize": LRN,
    "softmax": SOFTMAX,
}
"""What VGG's layers are called there; any other type computes something else."""

NOTHING = ("dropout", "softmaxloss", "loss")
"""Types that do nothing in a test."""

DEFAULTS: dict[str, Any] = {"stride": 1, "dilate": 1, "method": "max", "leak": 0, "pad": 0, "pool": None}
WANTED: dict[str, dict[str, Any]] = {
    "conv": {"stride": 1, "dilate": 1},
    "pool": {"pool": 2, "stride": 2, "method": "max", "pad": 0},
    "relu": {"leak": 0},
}
"""Settings of a VGG network's layers, by type."""

AT_THE_END = [0, 1, 0, 1]
"""Padding of a pooling behind the last row and column: nothing where sides are even, as VGG's window has them."""


def read_layers(checkpoint: Checkpoint) -> Layers:
    """The layers of a MatConvNet network. MATLAB drops axes of one at the end, which come back here."""
    parts = checkpoint.parts
    layers = layers_of_steps(
        [
            _step(layer, list(parts.get(str(place), {}).values()))
            for place, layer in enumerate(checkpoint.facts["layers"])
            if layer.get("type") not in NOTHING
        ]
    )
    layers.metadata = _metadata(checkpoint.facts, layers)
    return layers


def _metadata(facts: dict[str, Any], layers: Layers) -> Metadata:
    names = imagenet.named(facts.get("wordnet_numbers") or [""]) or facts.get("class_names")
    mean = facts.get("mean")
    is_oxfords = mean is not None and bool(np.allclose(mean, PREPROCESSING["matconvnet"].mean, atol=0.01))
    return Metadata(
        Preprocessing((mean[0], mean[1], mean[2])) if mean else None,
        tuple(names) if names else None,
        OXFORD_TRAINED_ON if is_oxfords else None,
        OXFORD_LICENCE if is_oxfords and layers.num_classes == imagenet.NUM_CLASSES else None,
        "MatConvNet",
    )


def _step(layer: dict[str, Any], parts: list[NDArray[Any]]) -> Step:
    there = str(layer.get("type") or "a layer without a type")
    settings = {name: _setting(layer.get(name, default)) for name, default in DEFAULTS.items()}
    if there == "pool" and settings["pad"] == AT_THE_END:
        settings["pad"] = 0
    name = printable(f"{there} ({layer['name']})", 100)
    step = Step(KINDS.get(there, "other"), name, fault=differing(settings, WANTED.get(there, {})))
    if step.kind == CONVOLUTION:
        step.layer, pad = _convolution(name, parts), settings["pad"]
        if isinstance(pad, list | str) or not float(pad).is_integer():
            step.fault = f" with pad of {pad}{NOT_VGG}"
        else:
            step.padding = int(pad)
    if step.kind == LRN:
        step.lrn = _response_norm(name, layer.get("param"))
    return step


def _setting(seen: Any) -> Any:
    """A setting, which may have a number for each direction: one where they are the same."""
    return seen[0] if isinstance(seen, list) and len(set(seen)) == 1 else seen


def _convolution(name: str, parts: list[NDArray[Any]]) -> Layer:
    if len(parts) != 2 or not 2 <= parts[0].ndim <= 4:
        raise ModelError(f"has {name} with {len(parts)} parts, where a layer of a VGG network has two")
    filters, biases = parts
    filters = filters.reshape(filters.shape + (1,) * (4 - filters.ndim))
    return Layer(np.transpose(filters, (3, 2, 0, 1)), biases)


def _response_norm(name: str, param: Any) -> LocalResponseNorm:
    """Local response normalisation; `param` is its size, k, alpha and beta.

    Raises:
        ModelError: it does not say what it is.

    """
    if not isinstance(param, list) or len(param) != 4 or not param[0].is_integer():
        raise ModelError(f"has {name} with param {param}, which is not size, k, alpha and beta")
    size, k, alpha, beta = param
    return local_response_norm(int(size), alpha, beta, k)
