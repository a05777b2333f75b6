"""MatConvNet's networks, as MATLAB files of version 5 to 7. Runs in the sandbox.

Tensors are called `0/0`, filters of the first layer, and `0/1`, its biases: names of layers may occur twice. The
file's facts are kept: names of the classes and the mean that is subtracted from images.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from verydeep.errors import printable
from verydeep.weights.checkpoint import NotWeightsError, Tensor

SETTINGS = ("type", "stride", "pad", "pool", "method", "dilate", "leak", "param")
MOST_NUMBERS = 8  # of a setting
WANTED = ["layers", "meta", "classes", "normalization", "net"]


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give filters and biases of every layer that has them."""
    with path.open("rb") as file:
        if b"7.3" in file.read(128)[:20]:
            raise NotWeightsError("is a MATLAB file of version 7.3; save it in MATLAB by save(..., '-v7')")
    content = loadmat(path, variable_names=WANTED, struct_as_record=True)
    network = _one(content["net"]) if "net" in content else content
    if "layers" not in _fields(network):
        raise NotWeightsError("has no layers, so it is not a network of MatConvNet's")
    _meta(network, facts)
    layers: list[dict[str, Any]] = facts.setdefault("layers", [])
    cells = network["layers"].reshape(-1)
    for number in range(len(cells)):
        layer, cells[number] = _one(cells[number]), None  # whose memory is free when it has been sent
        fields = _fields(layer)
        name = _text(layer["name"]) if "name" in fields else f"layer{number}"
        layers.append({"name": name} | {word: _setting(layer[word]) for word in SETTINGS if word in fields})
        if "weights" in fields:
            parts = [np.asarray(part) for part in layer["weights"].ravel()]
        elif "filters" in fields:  # MatConvNet before 1.0-beta8
            parts = [layer["filters"], layer["biases"]]
        else:
            continue
        for part, tensor in enumerate(parts[:2]):
            if tensor.dtype.kind != "f":
                raise NotWeightsError(f"has {name} with weights that are not numbers")
            yield f"{number}/{part}", tensor, tensor.dtype.name


def _meta(network: Any, facts: dict[str, Any]) -> None:
    """Class names and mean, where the file has them; older files have them beside the layers."""
    meta = _one(network["meta"]) if "meta" in _fields(network) else network
    if "classes" in _fields(meta):
        classes = _one(meta["classes"])
        if "description" in _fields(classes):
            facts["class_names"] = [printable(_text(name)) for name in classes["description"].ravel()]
        if "name" in _fields(classes):
            facts["wordnet_numbers"] = [_text(name) for name in classes["name"].ravel()]
    if "normalization" in _fields(meta):
        normalization = _one(meta["normalization"])
        if "averageImage" in _fields(normalization):
            mean = np.asarray(normalization["averageImage"], np.float64)
            if mean.size == 3:
                facts["mean"] = mean.ravel().tolist()
            elif mean.ndim == 3 and mean.shape[2] == 3 and np.ptp(mean, axis=(0, 1)).max() == 0:
                facts["mean"] = mean[0, 0].tolist()


def _one(value: Any) -> Any:
    """The only element of what MATLAB wraps into a matrix of 1x1."""
    if isinstance(value, np.ndarray) and value.size == 1 and value.dtype.kind in "OV":
        return value.ravel()[0]
    return value


def _fields(value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        return tuple(value)
    return (value.dtype.names or ()) if hasattr(value, "dtype") else ()


def _setting(value: Any) -> str | list[float]:
    """A setting of a layer: a word, or a few numbers."""
    numbers = np.asarray(value)
    if numbers.dtype.kind in "fiub":
        return [float(number) for number in numbers.ravel()[:MOST_NUMBERS]]
    return printable(_text(value))


def _text(value: Any) -> str:
    while isinstance(value, np.ndarray) and value.size:
        value = value.ravel()[0]
    return str(value)
