"""A network's layers by their names: what each gives for pictures, and the names themselves."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, overload

from verydeep.configurations import Architecture
from verydeep.errors import UsageError, require
from verydeep.inference.processor import require_native
from verydeep.layers.names import names
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_config, open_source

if TYPE_CHECKING:
    from verydeep.images.color import Preprocessing
    from verydeep.layers.native import NativeFeatures, Tensors
    from verydeep.layers.network import Features
    from verydeep.layers.pictures import Range
    from verydeep.network.vgg import VGG


@overload
def features(
    model: VGG | str | PathLike[str],
    layers: Sequence[str],
    *,
    range: Range | None = ...,
    preprocessing: Preprocessing | None = ...,
    pooling: Literal["max", "average"] = ...,
    trainable: bool = ...,
    check: bool = ...,
    engine: Literal["torch"] = ...,
) -> Features: ...


@overload
def features(
    model: str | PathLike[str],
    layers: Sequence[str],
    *,
    pooling: Literal["max", "average"] = ...,
    engine: Literal["native"],
) -> NativeFeatures: ...


def features(
    model: VGG | str | PathLike[str],
    layers: Sequence[str],
    *,
    range: Range | None = None,
    preprocessing: Preprocessing | None = None,
    pooling: Literal["max", "average"] = "max",
    trainable: bool = False,
    check: bool = True,
    engine: Literal["torch", "native"] = "torch",
) -> Features | NativeFeatures:
    """Tap a network at the named layers. Only as much of it is computed as the deepest one needs.

    With torch the answer is a `torch.nn.Module` that takes tensors of shape (batch, 3, height, width), with
    gradients to them, and gives a tensor for each name. With the native engine it takes arrays of shape (batch,
    height, width, 3) with levels of 0 to 255, as pictures are decoded, and gives arrays; no torch is loaded.

    Args:
        model: a model on disk, or another library's weights, a file or a name; or, with torch, a `VGG`.
        layers: names such as `conv4_3` (before its ReLU), `relu4_3` (after it), `pool5`, `fc7`.
        range: least and greatest value of the RGB pictures: (0, 1), (-1, 1) or (0, 255); the model's preprocessing
            is applied. None where pictures are preprocessed already, as a `VGG` takes them.
        preprocessing: of a `VGG`; a model on disk has its own.
        pooling: `average` replaces every max-pooling.
        trainable: let gradients go to the weights too; otherwise they are frozen.
        check: compare the pictures' values with `range`.
        engine: `torch`, or `native`.

    Raises:
        UsageError: there is no such layer, and the message names the near ones; or an argument does not fit.
        ModelError: there is no such model, or it cannot be used.
        VerydeepError: the engine is not installed.

    """
    if engine not in ("torch", "native"):
        raise UsageError(f"no engine is called {engine!r}; there are torch and native")
    if engine == "torch":
        require("torch", "train", "features with gradients (engine='native' has them without)")
        from verydeep.layers.network import Features

        network, own = open_network(model)
        if own is not None and preprocessing is not None:
            raise UsageError("a model on disk has its own preprocessing; leave the argument out")
        return Features(
            network,
            layers,
            preprocessing=own or preprocessing,
            range=range,
            pooling=pooling,
            trainable=trainable,
            check=check,
        )
    if range is not None or preprocessing is not None or trainable:
        raise UsageError(
            "the native engine takes levels of 0 to 255 and trains nothing; leave these arguments out"
        )
    if not isinstance(model, (str, PathLike)):
        raise UsageError("the native engine opens a model on disk; give its path")
    return open_native(*open_source(model), layers, pooling=pooling)


def open_network(model: VGG | str | PathLike[str]) -> tuple[VGG, Preprocessing | None]:
    """Open a model on disk, with its preprocessing, or take the network as it is.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: it is no model at all.

    """
    from verydeep.inference.torch_engine import network_of
    from verydeep.network.vgg import VGG

    if isinstance(model, VGG):
        return model, None
    if not isinstance(model, (str, PathLike)):
        raise UsageError(
            f"model is a {type(model).__name__}; give a run folder's path, or a verydeep.VGG with weights in it"
        )
    config, tensors = open_source(model)
    return network_of(config.architecture, tensors), config.preprocessing


def open_native(config: ModelConfig, tensors: Tensors, layers: Sequence[str], **options: Any) -> NativeFeatures:
    """Tap a network by the native engine; options as for `NativeFeatures`.

    Raises:
        VerydeepError: the native engine is not installed.
        UsageError: there is no such layer.

    """
    require_native()
    from verydeep.layers.native import NativeFeatures

    return NativeFeatures(config, tensors, layers, **options)


def layer_names(model: Architecture | VGG | str | PathLike[str]) -> tuple[str, ...]:
    """Names of a network's layers, in the order in which they are computed.

    Args:
        model: an `Architecture`, a `VGG`, or a model on disk.

    Raises:
        ModelError: there is no such model.

    """
    if isinstance(model, (str, PathLike)):
        return names(open_config(model).architecture)
    return names(model if isinstance(model, Architecture) else model.architecture)
