"""Our own names, in a state dict without a run folder: `conv1_1.weight` ... `fc8.bias`, `bn1_1.running_mean`."""

from __future__ import annotations

import re

from verydeep.errors import ModelError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, norm_of


def incoming(raw: Raw) -> Layers | None:
    """The layers of a state dict with our names."""
    if "conv1_1.weight" not in raw.tensors:
        return None
    places = sorted(
        (int(found[1]), int(found[2]))
        for name in raw.tensors
        if (found := re.fullmatch(r"conv([1-5])_([1-4])\.weight", name))
    )
    layers = Layers(pooled=False)
    try:
        for stage, number in places:
            place = f"{stage}_{number}"
            norm = norm_of(raw.tensors, f"bn{place}") if f"bn{place}.weight" in raw.tensors else ()
            weight, bias = raw.tensors[f"conv{place}.weight"], raw.tensors[f"conv{place}.bias"]
            layers.convolutions.append(Layer(weight, bias, norm))
        if "fc6.weight" in raw.tensors:
            for name in ("fc6", "fc7", "fc8"):
                layers.fully_connected.append(Layer(raw.tensors[f"{name}.weight"], raw.tensors[f"{name}.bias"]))
    except KeyError as missing:
        raise ModelError(f"lacks {missing}") from None
    return layers
