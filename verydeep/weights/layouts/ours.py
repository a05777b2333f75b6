"""Our own names, in a state dict without a run folder: `conv1_1.weight` ... `fc8.bias`, `bn1_1.running_mean`."""

from __future__ import annotations

import re

from verydeep.errors import ModelError
from verydeep.weights.beside import leave_out
from verydeep.weights.raw import Raw
from verydeep.weights.recognize import Layer, Layers, norm_of

FC_NAMES = ("fc6", "fc7", "fc8")
OUR_NAMES = re.compile(r"(conv\d_\d|fc[678])\.(weight|bias)|bn\d_\d\.\w+")


def incoming(raw: Raw) -> Layers | None:
    """The layers of a state dict with our names."""
    if "conv1_1.weight" not in raw.tensors:
        return None
    places = sorted(
        (int(found[1]), int(found[2]))
        for name in raw.tensors
        if (found := re.fullmatch(r"conv([1-5])_([1-4])\.weight", name))
    )
    layers = Layers(flattened=True)
    try:
        for stage, number in places:
            place = f"{stage}_{number}"
            norm = norm_of(raw.tensors, f"bn{place}") if f"bn{place}.weight" in raw.tensors else ()
            weight, bias = raw.tensors[f"conv{place}.weight"], raw.tensors[f"conv{place}.bias"]
            layers.convolutions.append(Layer(weight, bias, norm))
    except KeyError as missing:
        raise ModelError(f"lacks {missing}") from None
    wanted = [f"{name}.{part}" for name in FC_NAMES for part in ("weight", "bias")]
    missing_names = [name for name in wanted if name not in raw.tensors]
    if not missing_names:
        layers.fully_connected = [Layer(raw.tensors[f"{n}.weight"], raw.tensors[f"{n}.bias"]) for n in FC_NAMES]
    elif len(missing_names) < len(wanted):
        layers.problem = f"lacks {missing_names[0]}"
    beside = [name for name in raw.tensors if not OUR_NAMES.fullmatch(name)]
    strange = [name for name in beside if re.match(r"[a-z]+[1-5]_\d\.", name)]
    if strange:
        raise ModelError(
            f"has {strange[0]} among its convolutions, which VGG does not have: this is another network"
        )
    if layers.fully_connected:
        leave_out(beside, raw.tensors, layers)
    else:
        layers.beside = beside
    return layers
