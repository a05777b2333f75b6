"""A library's names and axes <-> layers in their order.

A module or a folder for each library, with one or two functions:

`incoming(raw)` gives the layers that a file holds, and None where it is not of this library.
`outgoing(architecture, tensors)` gives the tensors that the library loads, by its names.
"""

from __future__ import annotations

from types import ModuleType

from verydeep.errors import ModelError
from verydeep.weights.choice import no_network
from verydeep.weights.layouts import caffe, keras, matconvnet, onnx, ours, timm, torchvision
from verydeep.weights.raw import Raw
from verydeep.weights.recognize import Layers

LAYOUTS: dict[str, ModuleType] = {
    "onnx": onnx,
    "verydeep": ours,
    "torchvision": torchvision,
    "timm": timm,
    "keras": keras,
    "caffe": caffe,
    "matconvnet": matconvnet,
}
"""Every layout, in the order in which they are tried; ONNX first, whose tensors may have anybody's names."""

OUTGOING = ("torchvision", "timm", "keras")


def recognize(raw: Raw) -> tuple[str, Layers]:
    """Find whose tensors these are.

    Returns:
        The layout's name, and the layers, whose tensors are no longer in `raw`.

    Raises:
        ModelError: they are nobody's, or not of a VGG network.

    """
    for name, layout in LAYOUTS.items():
        layers: Layers | None = layout.incoming(raw)
        if layers is not None:
            raw.tensors.clear()
            return name, layers
    raise ModelError(no_network(list(raw.tensors)))
