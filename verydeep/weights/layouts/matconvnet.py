"""MatConvNet's axes: filters are (rows, columns, in, out), and FC layers are convolutions, as in the paper."""

from __future__ import annotations

from typing import Any

import numpy as np

from verydeep.configurations import LocalResponseNorm
from verydeep.errors import ModelError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, local_response_norm, split_head

KINDS = ("", "conv", "relu", "pool", "lrn", "normalize", "dropout", "softmax", "softmaxloss", "loss")
WANTED: dict[str, dict[str, Any]] = {
    "conv": {"stride": {1}, "dilate": {1}},
    "pool": {"pool": {2}, "stride": {2}, "method": "max"},
    "relu": {"leak": {0}},
}
"""Settings of a VGG network's layers, by type."""


def incoming(raw: Raw) -> Layers | None:
    """The layers of a MatConvNet network. MATLAB drops axes of one at the end, which come back here."""
    if raw.kind != "matlab":
        return None
    kinds = [str(layer.get("type", "")) for layer in raw.facts["layers"]]
    lrn = _response_norm(raw)
    layers = Layers(has_lrn=lrn is not None, lrn=lrn, pooled=False, poolings=_poolings(raw))
    for name, parts in raw.layers.items():
        if len(parts) != 2 or not 2 <= parts[0].ndim <= 4:
            raise ModelError(f"has {name} with {len(parts)} parts, where a layer of a VGG network has two")
        filters, biases = parts
        filters = filters.reshape(filters.shape + (1,) * (4 - filters.ndim))
        layers.convolutions.append(Layer(np.transpose(filters, (3, 2, 0, 1)), biases))
    pads = [layer.get("pad") for layer, kind in zip(raw.facts["layers"], kinds, strict=True) if kind == "conv"]
    split_head(layers)
    for number, (layer, pad) in enumerate(zip(layers.convolutions, pads, strict=False), 1):
        if pad and set(pad) != {layer.weight.shape[2] // 2}:
            raise ModelError(
                f"pads convolution {number} by {pad}, so that the map shrinks: this is another network"
            )
    return layers


def _response_norm(raw: Raw) -> LocalResponseNorm | None:
    """The local response normalisation that a file has: `param` is its size, k, alpha and beta.

    Raises:
        ModelError: it is not where A-LRN has it, or does not say what it is.

    """
    kinds = [str(layer.get("type", "")).replace("normalize", "lrn") for layer in raw.facts["layers"]]
    if "lrn" not in kinds:
        return None
    if kinds[:3] != ["conv", "relu", "lrn"] or kinds.count("lrn") > 1:
        raise ModelError("has LRN elsewhere than once after its first convolution's ReLU, so it is not A-LRN")
    param = raw.facts["layers"][2].get("param")
    if not isinstance(param, list) or len(param) != 4 or param[0] != int(param[0]):
        raise ModelError(f"has a layer of LRN with param {param}, which is not size, k, alpha and beta")
    size, k, alpha, beta = param
    return local_response_norm(int(size), alpha, beta, k)


def _poolings(raw: Raw) -> tuple[int, ...]:
    """How many convolutions come before each pooling.

    Raises:
        ModelError: a layer is none of a VGG network's, or has other settings.

    """
    poolings, convolutions = [], 0
    for layer in raw.facts["layers"]:
        kind = str(layer.get("type", ""))
        if kind not in KINDS:
            raise ModelError(f"has a layer of type {kind}, which VGG does not have: this is another network")
        for setting, wanted in WANTED.get(kind, {}).items():
            seen = layer.get(setting, wanted)
            if (set(seen) if isinstance(seen, list) else seen) != wanted:
                raise ModelError(f"has a layer of type {kind} with {setting} {seen}: this is another network")
        convolutions += kind == "conv"
        if kind == "pool":
            poolings.append(convolutions)
    return tuple(poolings)
