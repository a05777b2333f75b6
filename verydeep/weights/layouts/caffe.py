"""Caffe's axes are ours; FC layers are matrices, in Oxford's release with two axes of one before them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from verydeep.errors import ModelError, printable
from verydeep.images import imagenet
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.metadata import Metadata
from verydeep.weights.published import OXFORD_LICENCE, OXFORD_TRAINED_ON, PREPROCESSING
from verydeep.weights.recognize import Layer, Layers, local_response_norm
from verydeep.weights.steps import (
    CONVOLUTION,
    DENSE,
    FLATTEN,
    LRN,
    MEAN,
    POOLING,
    RELU,
    SOFTMAX,
    Step,
    differing,
    layers_of_steps,
)

KINDS = {
    "Convolution": CONVOLUTION,
    "InnerProduct": DENSE,
    "ReLU": RELU,
    "LRN": LRN,
    "Pooling": POOLING,
    "Flatten": FLATTEN,
    "Softmax": SOFTMAX,
}
"""What VGG's layers are called there; any other type computes something else."""

NOTHING = (
    *("Accuracy", "Data", "Dropout", "DummyData", "HDF5Data", "HDF5Output", "ImageData", "Input", "MemoryData"),
    *("Silence", "Split", "WindowData"),
)
"""Types that compute nothing in a test; losses do not either."""

SAME = ("Dropout", "Split")
"""Types among these that give what they take, under another name."""

WANTED: dict[str, dict[str, Any]] = {
    "Convolution": {"group": 1, "stride": 1, "dilation": 1},
    "InnerProduct": {"axis": 1, "transpose": 0},
    "Pooling": {"method": "MAX", "size": 2, "stride": 2, "pad": 0, "global": 0},
    "ReLU": {"negative_slope": 0},
    "LRN": {"within": 0},
}
"""Settings of a VGG network's layers, by type."""
METHODS = {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}
OXFORDS_CONVOLUTIONS = {"VGG_ILSVRC_16_layers": 13, "VGG_ILSVRC_19_layers": 16}
"""Numbers of convolutions of Oxford's networks D and E, whose classes, preprocessing and licence are known."""


def read_layers(checkpoint: Checkpoint) -> Layers:
    """The layers of a `.caffemodel`; names are not looked at, as fine-tuned networks have others.

    FC layers may be recast as convolutions already.
    """
    parts, facts = checkpoint.parts, checkpoint.facts
    steps = [_step(layer, list(parts.get(layer["name"], {}).values())) for layer in _chain(facts["layers"])]
    layers = layers_of_steps(steps)
    kernels = [layer.weight.shape[2] for layer in layers.convolutions]
    if (
        kernels == [3] * OXFORDS_CONVOLUTIONS.get(facts["name"], 0)
        and layers.num_classes == imagenet.NUM_CLASSES
        and any(layer["name"] == "fc8" for layer in facts["layers"])
    ):
        origin = f"Oxford's {facts['name']}, for Caffe"
        layers.metadata = Metadata(
            PREPROCESSING["oxford"], imagenet.class_names(), OXFORD_TRAINED_ON, OXFORD_LICENCE, origin
        )
    return layers


def _chain(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers that compute something, each on what the one before gives.

    Raises:
        ModelError: they are no chain.

    """
    chain: list[dict[str, Any]] = []
    given: set[bytes] = set()
    for layer in layers:
        computes = layer["type"] not in NOTHING and not layer["type"].endswith("Loss")
        if computes and chain and given and not given >= set(layer["bottoms"]):
            raise ModelError(f"has {_named(layer)} on another layer than the one before it; VGG is one chain")
        if computes:
            chain.append(layer)
            given = set(layer["tops"]) or given
        elif layer["type"] in SAME and given & set(layer["bottoms"]):
            given |= set(layer["tops"])
    return chain


def _named(layer: dict[str, Any]) -> str:
    return printable(f"{layer['type'] or 'a layer without a type'} ({layer['name']})", 100)


def _step(layer: dict[str, Any], blobs: list[NDArray[Any]]) -> Step:
    kind, settings = KINDS.get(layer["type"], "other"), layer["settings"]
    if kind == POOLING:
        settings["method"] = METHODS.get(settings["method"], settings["method"])
        if settings["global"] and settings["method"] == "AVE":
            return Step(MEAN, _named(layer))
    fault = differing(settings, WANTED.get(layer["type"], {}))
    step = Step(kind, _named(layer), fault=fault)
    if kind in (CONVOLUTION, DENSE):
        if len(blobs) != 2:
            raise ModelError(f"has {step.name} with {len(blobs)} blobs, where a layer of a VGG network has two")
        weight, bias = blobs
        if kind == DENSE and weight.shape[:-2] in ((), (1, 1)):
            weight = weight.reshape(weight.shape[-2:])
        if weight.ndim != (4 if kind == CONVOLUTION else 2):
            raise ModelError(f"has {step.name} with weights of shape {weight.shape}")
        step.layer = Layer(weight, bias)
        step.padding = int(settings.get("pad", 0))
    if kind == LRN and not fault:
        size = int(settings["size"])  # the sum is divided by it
        step.lrn = local_response_norm(size, settings["alpha"] / max(1, size), settings["beta"], settings["k"])
    return step
