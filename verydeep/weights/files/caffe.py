"""Caffe's networks (`.caffemodel`), in the old form of Oxford's release and in the new one.

The messages and numbers of caffe.proto that weights need:

    NetParameter       name = 1, layers = 2 (V1LayerParameter), layer = 100 (LayerParameter)
    V1LayerParameter   bottom, top = 2, 3, name = 4, type = 5 (an enumeration), blobs = 6, settings: `SETTINGS`
    LayerParameter     name = 1, type = 2 (text), bottom, top = 3, 4, blobs = 7, settings: `SETTINGS`
    BlobProto          num, channels, height, width = 1 to 4; data = 5, shape = 7, double_data = 8
    BlobShape          dim = 1
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verydeep.errors import printable
from verydeep.weights.checkpoint import NotWeightsError, Tensor
from verydeep.weights.files.protobuf import Message, WireError

V1_TYPES = """
    None Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col ImageData
    InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH
    WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN
    AbsVal Silence ContrastiveLoss Exp Deconvolution
"""
V1_NAMES = dict(enumerate(V1_TYPES.split()))
"""The old form's types of layers, by their numbers, as the new form calls them."""

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
    "InnerProduct": (17, 117, {"axis": ((5,), 1), "transpose": ((6,), 0)}),
    "ReLU": (30, 123, {"negative_slope": ((1,), 0.0)}),
    "LRN": (
        18,
        118,
        {"size": ((1,), 5), "alpha": ((2,), 1.0), "beta": ((3,), 0.75), "within": ((4,), 0), "k": ((5,), 1.0)},
    ),
}
"""Settings of a layer by its type: their message's number in either form, and each one's numbers and default."""
MOST_AXES = 8


def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
    """Give the blobs of every layer, `layer/number`; `facts["layers"]` has all layers in the file's order."""
    names = set()
    try:
        # Not mapped into memory: a file that somebody cuts meanwhile would end this process.
        network = Message(memoryview(path.read_bytes()))
        old, new = network.contents(2), network.contents(100)
        facts |= {"name": network.text(1), "layers": []}
        for content in old or new:
            layer = Message(content)
            facts["layers"].append(_described(layer, old=bool(old)))
            for place, blob in enumerate(layer.messages(6 if old else 7)):
                name = f"{facts['layers'][-1]['name']}/{place}"
                if name in names:
                    raise WireError(f"two layers with weights are called {name.rpartition('/')[0]}")
                names.add(name)
                tensor = _blob(blob, name)
                yield name, tensor, str(tensor.dtype)
    except (WireError, ValueError) as error:
        raise NotWeightsError(f"is not a complete .caffemodel: {printable(error)}") from None
    if not names:
        raise NotWeightsError("is a .caffemodel without weights; the layers' blobs are needed")


def _described(layer: Message, *, old: bool) -> dict[str, Any]:
    """A layer without its blobs."""
    number = layer.integer(5) if old else 0
    kind = V1_NAMES.get(number, f"number {number}") if old else layer.text(2)
    bottoms, tops = ([bytes(value) for value in layer.contents(at)] for at in ((2, 3) if old else (3, 4)))
    settings = _settings(layer, kind, old=old)
    return {
        "name": layer.text(4 if old else 1),
        "type": kind,
        "settings": settings,
        "bottoms": bottoms,
        "tops": tops,
    }


def _settings(layer: Message, kind: str, *, old: bool) -> dict[str, float]:
    """Settings of a layer; Caffe's defaults where the file has none."""
    if kind not in SETTINGS:
        return {}
    number_old, number_new, wanted = SETTINGS[kind]
    message = Message(memoryview(b"".join(layer.contents(number_old if old else number_new))))
    return {name: _setting(message, numbers, default) for name, (numbers, default) in wanted.items()}


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
