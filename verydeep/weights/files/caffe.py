"""Caffe's networks (`.caffemodel`), in the old form of Oxford's release and in the new one.

The messages and numbers of caffe.proto that weights need:

    NetParameter       name = 1, layers = 2 (V1LayerParameter), layer = 100 (LayerParameter)
    V1LayerParameter   name = 4, type = 5 (an enumeration), blobs = 6
    LayerParameter     name = 1, type = 2 (text), blobs = 7
    BlobProto          num, channels, height, width = 1 to 4; data = 5, shape = 7, double_data = 8
    BlobShape          dim = 1
"""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verydeep.errors import ModelError, printable
from verydeep.weights.files.protobuf import Message, WireError
from verydeep.weights.files.raw import Raw

V1_TYPES = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU"}
MOST_AXES = 8


def read_caffe(path: Path) -> Raw:
    """Read names, types and blobs of every layer; tensors are called `layer/number`.

    Raises:
        ModelError: the file is no network of Caffe's, or damaged.

    """
    raw = Raw("caffe", {}, {}, {"types": {}})
    try:
        # Not mapped into memory: a file that somebody cuts meanwhile would end this process.
        network = Message(memoryview(path.read_bytes()))
        raw.facts["name"] = network.text(1)
        old, new = network.contents(2), network.contents(100)
        raw.facts["form"] = "V1LayerParameter" if old else "LayerParameter"
        for layer in old or new:
            _read_layer(Message(layer), raw, old=bool(old))
    except (WireError, ValueError) as error:
        raise ModelError(f"{path} is not a whole .caffemodel: {printable(error)}") from None
    if not raw.tensors:
        raise ModelError(f"{path} is a .caffemodel without weights; the layers' blobs are needed")
    return raw


def _read_layer(layer: Message, raw: Raw, *, old: bool) -> None:
    name = layer.text(4 if old else 1)
    kind = V1_TYPES.get(layer.integer(5), "other") if old else layer.text(2)
    raw.facts["types"][name] = kind
    for number, blob in enumerate(layer.messages(6 if old else 7)):
        tensor = _blob(blob, f"{name}/{number}")
        raw.tensors[f"{name}/{number}"] = tensor
        raw.dtypes[f"{name}/{number}"] = str(tensor.dtype)


def _blob(blob: Message, name: str) -> NDArray[Any]:
    shapes = list(blob.messages(7))
    shape = shapes[-1].integers(1) if shapes else [blob.integer(number) for number in (1, 2, 3, 4)]
    numbers = blob.floats(8, "<f8") if blob.all(8) else blob.floats(5, "<f4")
    if len(shape) > MOST_AXES or prod(shape) != numbers.size:
        raise WireError(f"{name} would have shape {tuple(shape)[:MOST_AXES]}, but has {numbers.size:,} numbers")
    return numbers.reshape(shape)
