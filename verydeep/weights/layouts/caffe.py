"""Caffe's axes are ours; FC layers are matrices, in Oxford's release with two axes of one before them."""

from __future__ import annotations

from verydeep.configurations import LocalResponseNorm
from verydeep.errors import ModelError
from verydeep.weights.files.raw import Raw
from verydeep.weights.recognize import Layer, Layers, local_response_norm, split_head


def incoming(raw: Raw) -> Layers | None:
    """The layers of a `.caffemodel`; names are not looked at, as fine-tuned networks have others.

    FC layers may be recast as convolutions already.
    """
    if raw.kind != "caffe":
        return None
    types = raw.facts["types"]
    lrn = _response_norm(raw)
    layers = Layers(has_lrn="LRN" in types.values(), lrn=lrn, pooled=False, poolings=_poolings(raw))
    pads: list[float | None] = []
    for name, parts in raw.layers.items():
        if len(parts) != 2:
            raise ModelError(f"has {name} with {len(parts)} blobs, where a layer of a VGG network has two")
        weight, bias = parts
        if types[name] == "InnerProduct":
            layers.fully_connected.append(Layer(weight.reshape(weight.shape[-2:]), bias))
        else:
            layers.convolutions.append(Layer(weight, bias))
            pads.append(raw.facts["settings"].get(name, {}).get("pad"))
    if not layers.fully_connected:
        split_head(layers)
    _check_padding(layers, pads)
    return layers


LRN_DEFAULTS = {"size": 5, "alpha": 1.0, "beta": 0.75, "within": 0, "k": 1.0}  # Caffe's
OTHER_NETWORKS = {
    "AbsVal",
    "BNLL",
    "Concat",
    "Deconvolution",
    "ELU",
    "Eltwise",
    "Exp",
    "Log",
    "MVN",
    "Power",
    "Sigmoid",
    "Slice",
    "Swish",
    "TanH",
    "Threshold",
}
"""Types of layers without weights that change what a network computes, and that no VGG network has."""


WANTED: dict[str, dict[str, float]] = {
    "Convolution": {"group": 1, "stride": 1, "dilation": 1},
    "Pooling": {"method": 0, "size": 2, "stride": 2, "pad": 0, "global": 0},
    "ReLU": {"negative_slope": 0},
}
"""Settings of a VGG network's layers, by type."""


def _poolings(raw: Raw) -> tuple[int, ...]:
    """How many convolutions come before each pooling.

    Raises:
        ModelError: a layer is none of a VGG network's, or has other settings.

    """
    poolings, convolutions = [], 0
    for name, kind in raw.facts["types"].items():
        if kind in OTHER_NETWORKS:
            raise ModelError(
                f"has the layer {name} of type {kind}, which VGG does not have: this is another network"
            )
        for setting, value in raw.facts["settings"].get(name, {}).items():
            wanted = WANTED.get(kind, {}).get(setting, value)
            if value != wanted:
                raise ModelError(
                    f"has the layer {name} with {setting} {value:g}, where VGG has {wanted:g}: this is another "
                    "network"
                )
        convolutions += kind == "Convolution"
        if kind == "Pooling":
            poolings.append(convolutions)
    return tuple(poolings)


def _response_norm(raw: Raw) -> LocalResponseNorm | None:
    """The local response normalisation that a file has; Caffe divides its sum by the number of channels.

    Raises:
        ModelError: it is not where A-LRN has it, or of another kind.

    """
    kinds = [kind for kind in raw.facts["types"].values() if kind in ("Convolution", "ReLU", "LRN", "Pooling")]
    if "LRN" not in kinds:
        return None
    if kinds[:3] != ["Convolution", "ReLU", "LRN"] or kinds.count("LRN") > 1:
        raise ModelError("has LRN elsewhere than once after its first convolution's ReLU, so it is not A-LRN")
    name = next(name for name, kind in raw.facts["types"].items() if kind == "LRN")
    settings = LRN_DEFAULTS | raw.facts["settings"].get(name, {})
    if settings["within"]:
        raise ModelError(f"has the LRN layer {name} within each channel, where A-LRN sums over channels")
    size = int(settings["size"])
    return local_response_norm(size, settings["alpha"] / max(1, size), settings["beta"], settings["k"])


def _check_padding(layers: Layers, pads: list[float | None]) -> None:
    """Make sure that every convolution keeps the map's size."""
    for number, (layer, pad) in enumerate(zip(layers.convolutions, pads, strict=False), 1):
        kernel = layer.weight.shape[-1]
        if pad is not None and 2 * pad + 1 != kernel:
            raise ModelError(
                f"pads convolution {number} by {pad:g}, where VGG pads a kernel of {kernel}x{kernel} by "
                f"{kernel // 2}: this is another network"
            )
