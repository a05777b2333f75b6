"""Caffe's networks (`.caffemodel`), in the old form of Oxford's release and in the new one.

The messages and numbers of caffe.proto that weights need:

    NetParameter       name = 1, layers = 2 (V1LayerParameter), layer = 100 (LayerParameter)
    V1LayerParameter   name = 4, type = 5 (an enumeration), blobs = 6, settings: `SETTINGS`
    LayerParameter     name = 1, type = 2 (text), blobs = 7, settings: `SETTINGS`
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

V1_TYPES = {
    3: "Concat",
    4: "Convolution",
    14: "InnerProduct",
    15: "LRN",
    17: "Pooling",
    18: "ReLU",
    19: "Sigmoid",
    23: "TanH",
    25: "Eltwise",
    26: "Power",
    31: "Threshold",
    33: "Slice",
    34: "MVN",
    35: "AbsVal",
    38: "Exp",
    39: "Deconvolution",
}
SETTINGS: dict[str, tuple[int, int, dict[str, tuple[tuple[int, ...], float]]]] = {
    "Convolution": (
        10,
        106,
        {
            "pad": ((3, 9, 10), 0),
            "group": ((5,), 1),
            "stride": ((6, 13, 14), 1),
            "dilation": ((18,), 1),
        },
    ),
    "Pooling": (
        19,
        121,
        {
            "method": ((1,), 0),
            "size": ((2, 5, 6), 0),
            "stride": ((3, 7, 8), 1),
            "pad": ((4, 9, 10), 0),
            "global": ((12,), 0),
        },
    ),
    "ReLU": (30, 123, {"negative_slope": ((1,), 0.0)}),
    "LRN": (
        18,
        118,
        {"size": ((1,), 5), "alpha": ((2,), 1.0), "beta": ((3,), 0.75), "within": ((4,), 0), "k": ((5,), 1.0)},
    ),
}
"""Settings of a layer by its type: their message's number in either form, and each one's numbers and default."""
MOST_AXES = 8


def read_caffe(path: Path) -> Raw:
    """Read names, types and blobs of every layer; tensors are called `layer/number`.

    Raises:
        ModelError: the file is no network of Caffe's, or damaged.

    """
    raw = Raw("caffe", {}, {}, {"types": {}, "settings": {}})
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
    if kind in SETTINGS:
        raw.facts["settings"][name] = _settings(layer, kind, old=old)
    for number, blob in enumerate(layer.messages(6 if old else 7)):
        tensor = _blob(blob, f"{name}/{number}")
        raw.tensors[f"{name}/{number}"] = tensor
        raw.dtypes[f"{name}/{number}"] = str(tensor.dtype)


def _settings(layer: Message, kind: str, *, old: bool) -> dict[str, float]:
    """Settings of a layer; nothing where its message is left out, as in a file of weights alone."""
    number_old, number_new, wanted = SETTINGS[kind]
    messages = list(layer.messages(number_old if old else number_new))
    if not messages:
        return {}
    return {name: _setting(messages[-1], numbers, default) for name, (numbers, default) in wanted.items()}


def _setting(message: Message, numbers: tuple[int, ...], default: float) -> float:
    """A setting, which may have a number for each direction; -1 where these differ, which no network here has."""
    values: set[float] = set()
    for number in numbers:
        if isinstance(default, float):
            values |= set(message.floats(number, "<f4")[-1:].tolist())
        else:
            values |= set(message.integers(number))
    return -1 if len(values) > 1 else next(iter(values), default)


def _blob(blob: Message, name: str) -> NDArray[Any]:
    shapes = list(blob.messages(7))
    shape = shapes[-1].integers(1) if shapes else [blob.integer(number) for number in (1, 2, 3, 4)]
    numbers = blob.floats(8, "<f8") if blob.all(8) else blob.floats(5, "<f4")
    if len(shape) > MOST_AXES or prod(shape) != numbers.size:
        raise WireError(f"{name} would have shape {tuple(shape)[:MOST_AXES]}, but has {numbers.size:,} numbers")
    return numbers.reshape(shape)
