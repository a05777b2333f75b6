"""Random networks of Caffe's and MatConvNet's, VGG or nearly so, opened by us; scores beside torch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from formats import write_caffe, write_matconvnet
from outcomes import Outcome
from torch.nn import functional as F
from weight_cases import CLASSES, compare

from verydeep.configurations import Architecture, Convolution, Pooling

Function = Callable[[torch.Tensor], torch.Tensor]


class Kind(NamedTuple):
    """What a layer computes in place of VGG's, and how each file says it; None where the library lacks it."""

    compute: Function
    caffe_old: Mapping[str, Any] | None
    caffe_new: Mapping[str, Any] | None
    matconvnet: Mapping[str, Any] | None


ACTIVATIONS = {
    "leak": Kind(lambda x: F.leaky_relu(x, 0.1), {"negative_slope": 0.1}, {"negative_slope": 0.1}, {"leak": 0.1}),
    "sigmoid": Kind(torch.sigmoid, {"type": 19}, {"type": "Sigmoid"}, {"type": "sigmoid"}),
    "tanh": Kind(torch.tanh, {"type": 23}, {"type": "TanH"}, None),
    "bnll": Kind(F.softplus, {"type": 2}, {"type": "BNLL"}, None),
    "elu": Kind(F.elu, None, {"type": "ELU"}, None),
    "absolute": Kind(torch.abs, {"type": 35}, {"type": "AbsVal"}, None),
    "softmax": Kind(lambda x: x.softmax(1), {"type": 20}, {"type": "Softmax"}, {"type": "softmax"}),
    "none": Kind(lambda x: x, {"type": 6}, {"type": "Dropout"}, {"type": "dropout"}),
}
POOLINGS = {
    "average": Kind(lambda x: F.avg_pool2d(x, 2), {"pool": 1}, {"pool": 1}, {"method": "avg"}),
    "every pixel": Kind(
        lambda x: F.max_pool2d(x, 2, 1), {"stride": 1}, {"stride": 1}, {"stride": [1.0, 1.0], "pad": 0.0}
    ),
}
FORMS = ("caffe_old", "caffe_new", "matconvnet")


def another_layer(random: np.random.Generator, architecture: Architecture, form: str) -> dict[str, Kind]:
    """For a layer of the network, another kind than VGG's that the file can say."""
    layers = [layer for layer in architecture.layers if layer.name != "fc8"]
    layer = layers[int(random.integers(len(layers)))]
    kinds = POOLINGS if isinstance(layer, Pooling) else ACTIVATIONS
    possible = [kind for kind in kinds.values() if getattr(kind, form) is not None]
    return {layer.name: possible[int(random.integers(len(possible)))]}


def torchs(
    architecture: Architecture, tensors: dict[str, np.ndarray], others: dict[str, Kind], norm: Function
) -> Function:
    """The network in float64."""

    def compute(x: torch.Tensor) -> torch.Tensor:
        x = x.double()
        for layer in architecture.layers:
            if isinstance(layer, Pooling):
                x = others[layer.name].compute(x) if layer.name in others else F.max_pool2d(x, 2)
                continue
            weight, bias = (
                torch.from_numpy(tensors[f"{layer.name}.{part}"]).double() for part in ("weight", "bias")
            )
            is_fc = not isinstance(layer, Convolution)
            if is_fc and layer.name == "fc6":
                x = x[:, :, : layer.kernel, : layer.kernel]
            x = F.conv2d(x, weight, bias, padding=0 if is_fc else layer.kernel // 2)
            if layer.name != "fc8":
                x = others[layer.name].compute(x) if layer.name in others else F.relu(x)
            if isinstance(layer, Convolution) and layer.local_response_norm:
                x = norm(x)
        return x.flatten(1)

    return compute


def random_network(random: np.random.Generator) -> tuple[Architecture, dict[str, np.ndarray]]:
    name = str(random.choice(["A-LRN", "A-LRN", "A-LRN", "A", "B", "C", "D", "E"]))
    architecture = Architecture(name, CLASSES, 1 / 32, int(random.choice([32, 64])))
    tensors = {}
    for part, shape in architecture.tensors.items():
        deviation = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.05
        tensors[part] = random.normal(0, deviation, shape).astype(np.float32)
    return architecture, tensors


def library_case(random: np.random.Generator, folder: Path, forms: tuple[str, ...]) -> Outcome:
    architecture, tensors = random_network(random)
    form = str(random.choice(forms))
    others = another_layer(random, architecture, form) if random.random() < 0.4 else {}
    size = int(random.choice([1, 3, 3, 5, 5, 7, 9, 4]))
    alpha, beta, k = 10 ** random.uniform(-5, 1), random.uniform(0.3, 1), random.uniform(0.5, 3)
    caffes = form != "matconvnet"

    def norm(x: torch.Tensor) -> torch.Tensor:
        """torch divides alpha by the size, as Caffe does and MatConvNet does not."""
        return F.local_response_norm(x, size, alpha if caffes else alpha * size, beta, k)

    side = architecture.window
    pixels = torch.from_numpy(random.normal(0, 1, (2, 3, side, side))).float()
    expected = torchs(architecture, tensors, others, norm)(pixels).numpy()
    settings = {called(form, name): getattr(kind, form) for name, kind in others.items()}
    if caffes:
        path = write_caffe(
            folder / "a.caffemodel",
            architecture,
            tensors,
            "net",
            old=form == "caffe_old",
            packed=bool(random.integers(2)),
            recast=form == "caffe_new" and bool(random.integers(2)),
            lrn={"local_size": size, "alpha": alpha, "beta": beta, "k": k},
            settings=settings,
        )
    else:
        param = (float(size), k, alpha, beta)
        path = write_matconvnet(folder / "a.mat", architecture, tensors, param=param, settings=settings)
    return compare(path, pixels, expected, what=f"{form} {architecture.configuration} {settings}")


def called(form: str, layer: str) -> str:
    """What the file calls a pooling, or the activation behind a layer."""
    if layer.startswith("pool"):
        return layer
    return layer.replace("conv", "relu").replace("fc", "relu") if form == "matconvnet" else f"ReLU {layer}"


def caffe_case(random: np.random.Generator, folder: Path) -> Outcome:
    """Caffe's files, in both forms."""
    return library_case(random, folder, FORMS[:2])


def matconvnet_case(random: np.random.Generator, folder: Path) -> Outcome:
    """MatConvNet's files."""
    return library_case(random, folder, FORMS[2:])
