"""MatConvNet's axes: filters are (rows, columns, in, out), and FC layers are convolutions, as in the paper."""

from __future__ import annotations

import numpy as np

from verydeep.errors import ModelError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, split_head


def incoming(raw: Raw) -> Layers | None:
    """The layers of a MatConvNet network. MATLAB drops axes of one at the end, which come back here."""
    if raw.kind != "matlab":
        return None
    layers = Layers(has_lrn=any(kind in ("lrn", "normalize") for kind in raw.facts["types"]))
    for name, parts in raw.layers.items():
        if len(parts) != 2 or not 2 <= parts[0].ndim <= 4:
            raise ModelError(f"has {name} with {len(parts)} parts, where a layer of a VGG network has two")
        filters, biases = parts
        filters = filters.reshape(filters.shape + (1,) * (4 - filters.ndim))
        layers.convolutions.append(Layer(np.transpose(filters, (3, 2, 0, 1)), biases))
    split_head(layers)
    return layers
