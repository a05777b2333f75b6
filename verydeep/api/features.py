"""`verydeep.features`: a network's layers by their names, on torch with gradients, or on the native engine."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import NDArray

from verydeep.arguments import checked
from verydeep.configurations import Architecture
from verydeep.errors import ArgumentError, UsageError, require
from verydeep.inference import open_engine
from verydeep.inference.engine import Engine
from verydeep.model import Model
from verydeep.weights.opening import open_architecture

if TYPE_CHECKING:
    from verydeep.images.color import Preprocessing
    from verydeep.network.features import Features
    from verydeep.network.ranges import Range
    from verydeep.network.vgg import VGG


class EngineFeatures:
    """Some layers of a network on an engine without gradients.

    Args:
        engine: that computes them.
        layers: their names.

    """

    def __init__(self, engine: Engine, layers: Sequence[str]) -> None:
        self.engine = engine
        self.layers = tuple(layers)

    def __repr__(self) -> str:
        return f"<EngineFeatures {', '.join(self.layers)} of {self.engine.config.architecture}>"

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Outputs of the layers, as `Engine.run` gives them."""
        return self.engine.run(images, self.layers)


@overload
def features(
    model: Model | VGG | str | PathLike[str],
    layers: Sequence[str],
    *,
    range: Range | None = ...,
    preprocessing: Preprocessing | str | None = ...,
    pooling: Literal["max", "average"] = ...,
    trainable: bool = ...,
    check: bool = ...,
    grey: Literal["refuse", "repeat"] = ...,
    engine: Literal["auto", "torch"] = ...,
) -> Features: ...


@overload
def features(
    model: Model | str | PathLike[str],
    layers: Sequence[str],
    *,
    pooling: Literal["max", "average"] = ...,
    engine: Literal["native"],
) -> EngineFeatures: ...


@checked
def features(
    model: Model | VGG | str | PathLike[str],
    layers: Sequence[str],
    *,
    range: Range | None = None,
    preprocessing: Preprocessing | str | None = None,
    pooling: Literal["max", "average"] = "max",
    trainable: bool = False,
    check: bool = True,
    grey: Literal["refuse", "repeat"] = "refuse",
    engine: Literal["auto", "torch", "native"] = "auto",
) -> Features | EngineFeatures:
    """Tap a network at the named layers. Only as much of it is computed as the deepest one needs.

    The answer is a `torch.nn.Module` that takes tensors of shape (batch, 3, height, width), with gradients to
    them, and gives a tensor for each name. With `engine="native"` it takes arrays of shape (batch, height, width,
    3) with levels of 0 to 255, as images are decoded, and gives arrays; no torch is loaded.

        tap = verydeep.features("cifar10", ["relu3_2", "pool5"], range=(0, 1))
        maps = tap(torch.rand(2, 3, 64, 64))["relu3_2"]  # (2, 64, 16, 16)

    Args:
        model: a model on disk, or another library's weights, a file or a name; or, with torch, a `VGG` or what
            `verydeep.load` gives.
        layers: names such as `conv4_3` (before its ReLU), `relu4_3` (after it), `pool5`, `fc7`.
        range: least and greatest value of the RGB images: (0, 1), (-1, 1) or (0, 255); the model's preprocessing
            is applied. None where images are preprocessed already, as a `VGG` takes them.
        preprocessing: of a `VGG`, or of another library's weights where they do not come with it: a
            `Preprocessing`, or `torchvision`, `oxford`, `matconvnet` or `amdegroot`. A run folder has its own.
        pooling: `average` replaces every max-pooling.
        trainable: let gradients go to the weights too; otherwise they are frozen.
        check: compare the images' values with `range`.
        grey: `repeat` takes images of one channel too.
        engine: `auto` and `torch` give the module; `auto` computes 3x3 convolutions and their gradients on our own
            kernels where these can, on a CPU in float32. `native` needs no torch and has no gradients.

    Raises:
        UsageError: there is no such layer, and the message names the near ones; or an argument does not fit.
        ModelError: there is no such model, or it cannot be used.
        VerydeepError: the engine is not installed.

    """
    if engine != "native":
        require("torch", "train", "features with gradients (engine='native' has them without)")
        from verydeep.inference.torch_engine import open_network
        from verydeep.network.features import Features

        network, known = open_network(model, layers, preprocessing, engine=engine)
        return Features(
            network,
            layers,
            preprocessing=known,
            range=range,
            pooling=pooling,
            trainable=trainable,
            check=check,
            grey=grey,
            engine=engine,
        )
    given = {
        "range": range is not None,
        "preprocessing": preprocessing is not None,
        "trainable": trainable,
        "check": not check,
        "grey": grey != "refuse",
    }
    if unfit := [name for name, is_given in given.items() if is_given]:
        raise UsageError(
            f"`engine=native` takes RGB levels of 0 to 255 and trains nothing; leave out {' and '.join(unfit)}"
        )
    if not isinstance(model, (str, PathLike)):
        raise UsageError("the native engine opens a model on disk; give its path")
    return EngineFeatures(open_engine(model, layers, pooling=pooling, engine="native"), layers)


@checked
def layer_names(model: Model | Architecture | VGG | str | PathLike[str]) -> tuple[str, ...]:
    """Names of a network's layers, in the order in which they are computed, as `features` takes them.

        verydeep.layer_names(verydeep.Architecture("A"))[:3]  # ('conv1_1', 'relu1_1', 'pool1')

    Args:
        model: an `Architecture`, a `VGG`, what `verydeep.load` gives, or a model on disk.

    Raises:
        ModelError: there is no such model.

    """
    if isinstance(model, (str, PathLike)):
        model = open_architecture(model)
    if isinstance(model, Model):
        model = model.config.architecture
    architecture = model if isinstance(model, Architecture) else getattr(model, "architecture", None)
    if architecture is None:
        raise ArgumentError(
            f"`model` is a {type(model).__name__}; it must be a path or a name, a model, an Architecture or a "
            "verydeep.VGG"
        )
    return tuple(node.name for node in architecture.nodes)
