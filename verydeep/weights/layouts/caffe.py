"""Caffe's axes are ours; FC layers are matrices, in Oxford's release with two axes of one before them."""

from __future__ import annotations

from verydeep.errors import ModelError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, split_head


def incoming(raw: Raw) -> Layers | None:
    """The layers of a `.caffemodel`; names are not looked at, as fine-tuned networks have others.

    FC layers may be recast as convolutions already.
    """
    if raw.kind != "caffe":
        return None
    types = raw.facts["types"]
    layers = Layers(has_lrn="LRN" in types.values())
    for name, parts in raw.layers.items():
        if len(parts) != 2:
            raise ModelError(f"has {name} with {len(parts)} blobs, where a layer of a VGG network has two")
        weight, bias = parts
        if types[name] == "InnerProduct":
            layers.fully_connected.append(Layer(weight.reshape(weight.shape[-2:]), bias))
        else:
            layers.convolutions.append(Layer(weight, bias))
    if not layers.fully_connected:
        split_head(layers)
    return layers
