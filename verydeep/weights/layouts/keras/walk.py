"""Keras's layers, in the order of the data flow, and their weights -> steps of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable
from verydeep.weights.layouts.keras.config import CHANNELS_REVERSED, KerasLayer
from verydeep.weights.recognize import Layer, norm_with_epsilon
from verydeep.weights.steps import (
    CONVOLUTION,
    FLATTEN,
    MEAN,
    NORM,
    NOT_VGG,
    RELU,
    SOFTMAX,
    Size,
    Step,
    Walk,
    differing,
)

Array = NDArray[Any]
Parts = dict[str, Array]  # of a layer, by name or number
EPSILON = 1e-3  # Keras's default
LEAST_DEVIATION = 1e-7  # that Normalization divides by
FIRST, LAST = "channels_first", "channels_last"
MAPPED = ("Conv2D", "MaxPooling2D")  # layers that say where a map has its channels
KEPT_WORDS = 60
NORM_NAMES = ("gamma", "beta", "moving_mean", "moving_variance")
ONLY_IN_TRAINING = (
    "InputLayer",
    "Dropout",
    "SpatialDropout2D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "RandomFlip",
    "RandomRotation",
    "RandomTranslation",
    "RandomZoom",
    "RandomContrast",
    "RandomBrightness",
)


class KerasWalk(Walk):
    """Layers of a Keras model as steps of a network.

    Args:
        layers: in the order of the data flow.
        weights: gives the parts of a layer's weights, in the file's order.

    Raises:
        ModelError: a layer lacks its weights.

    """

    def __init__(self, layers: list[KerasLayer], weights: Callable[[KerasLayer], Parts]) -> None:
        self._weights = weights
        self._flat = False
        formats = {layer.settings.get("data_format") or LAST for layer in layers if layer.kind in MAPPED}
        if len(formats) > 1:
            raise ModelError("has layers with channels first and layers with channels last")
        self._format = FIRST if formats == {FIRST} else LAST
        super().__init__(self._size(layers))
        self._read(layers)

    def _size(self, layers: list[KerasLayer]) -> Size:
        for layer in layers:
            if isinstance(layer.shape, list) and len(layer.shape) == 4:
                height, width = layer.shape[2:] if self._format == FIRST else layer.shape[1:3]
                if isinstance(height, int) and isinstance(width, int):
                    return height, width
            if layer.kind == "Conv2D":
                break
        return None, None

    def _activate(self, layer: KerasLayer, activation: Any) -> None:
        """What an activation computes, which is a name or, in a dictionary, a function or a layer."""
        if isinstance(activation, dict):
            inner = activation.get("config")
            if activation.get("class_name") == "function" or isinstance(inner, str):
                activation = inner
            else:
                kind = str(activation.get("class_name"))
                inside = KerasLayer(kind, f"of {layer.name}", inner if isinstance(inner, dict) else {})
                if kind in ("ReLU", "Softmax"):
                    self._read([inside])
                else:
                    self._other(inside)
                return
        if activation not in (None, "linear"):
            kind = {"relu": RELU, "softmax": SOFTMAX, "log_softmax": SOFTMAX}.get(str(activation), "")
            self.steps.append(Step(kind or "other", f"{printable(activation, KEPT_WORDS)} of {layer}"))

    def _kernel_and_bias(self, layer: KerasLayer) -> tuple[Array, Array]:
        """Kernel and bias of a layer."""
        parts = self._weights(layer).values()
        kernel = next((part for part in parts if part.ndim > 1), None)
        biases = [part for part in parts if part.ndim == 1]
        if kernel is None or kernel.dtype.kind != "f" or len(biases) != bool(layer.settings.get("use_bias", True)):
            raise ModelError(f"has no weights of floating-point numbers for {layer}, or not all of them")
        return kernel, biases[0] if biases else np.zeros(kernel.shape[-1], np.float32)

    def _nothing(self, layer: KerasLayer) -> None:
        """What does nothing in a test."""

    def _convolution(self, layer: KerasLayer) -> None:
        kernel, bias = self._kernel_and_bias(layer)
        if kernel.ndim != 4:
            raise ModelError(f"has {layer} with a kernel of {kernel.ndim} axes")
        rows, columns = kernel.shape[:2]
        settings = layer.settings
        padding = self._padding + (rows // 2 if settings.get("padding") == "same" else 0)
        wanted = dict.fromkeys(("strides", "dilation_rate", "groups"), 1)
        fault = differing(wanted | settings, wanted)
        if rows != columns or settings.get("padding") not in ("same", "valid") or (rows % 2 == 0 and padding):
            fault = (
                f" with a kernel of {rows}x{columns} and padding '{printable(settings.get('padding'))}'{NOT_VGG}"
            )
        weights = Layer(kernel.transpose(3, 2, 0, 1), bias)
        self._add(layer, CONVOLUTION, layer=weights, padding=padding, fault=fault)
        self._activate(layer, settings.get("activation"))

    def _dense(self, layer: KerasLayer) -> None:
        kernel, bias = self._kernel_and_bias(layer)
        if not self._flat or kernel.ndim != 2:
            self._other(layer)  # it is a convolution of 1x1
            return
        self._add_dense(layer, kernel.T, bias)
        self._activate(layer, layer.settings.get("activation"))

    def _norm(self, layer: KerasLayer) -> None:
        settings, parts = layer.settings, self._weights(layer)
        wanted = [
            name for name, made in zip(NORM_NAMES, ("scale", "center"), strict=False) if settings.get(made, True)
        ]
        wanted += NORM_NAMES[2:]
        if not set(wanted) <= parts.keys():  # Keras 3 numbers them
            parts = dict(zip(wanted, parts.values(), strict=False))
        if not set(wanted) <= parts.keys():
            raise ModelError(f"has no weights for {layer}, or not all of them")
        mean, variance = parts["moving_mean"], parts["moving_variance"]
        scale, shift = parts.get("gamma", np.ones_like(mean)), parts.get("beta", np.zeros_like(mean))
        fault = "" if self._over_channels(settings.get("axis", -1)) else f" over axis {settings['axis']}{NOT_VGG}"
        epsilon = float(settings.get("epsilon", EPSILON))
        self._add(layer, NORM, parts=norm_with_epsilon((scale, shift, mean, variance), epsilon), fault=fault)

    def _over_channels(self, axis: Any) -> bool:
        axes = axis if isinstance(axis, list) else [axis]
        return len(axes) == 1 and axes[0] in ((1, -3) if self._format == FIRST else (3, -1))

    def _relu(self, layer: KerasLayer) -> None:
        settings = layer.settings
        plain = (
            settings.get("max_value") is None
            and not settings.get("negative_slope")
            and not settings.get("threshold")
        )
        self._add(layer, RELU if plain else layer.kind + " of another form")

    def _softmax(self, layer: KerasLayer) -> None:
        self._add(layer, SOFTMAX if layer.settings.get("axis", -1) in (-1, [-1], 1) else layer.kind)

    def _pooling(self, layer: KerasLayer) -> None:
        size = layer.settings.get("pool_size", 2)
        seen = {"pool_size": size, "strides": layer.settings.get("strides") or size}
        fault = differing(seen, dict.fromkeys(seen, 2))
        self._add_pooling(layer, fault, keeps_odd=layer.settings.get("padding", "valid") != "valid")

    def _pad(self, layer: KerasLayer) -> None:
        """Zeros around the map, which the convolution behind them takes for its own padding."""
        widths = set(np.ravel(layer.settings.get("padding", 1)).tolist())
        if len(widths) == 1:
            self._padding += int(widths.pop())
        else:
            self._other(layer)

    def _flatten(self, layer: KerasLayer) -> None:
        """Rows, columns, channels: a layer with channels first turns the map before it flattens it."""
        turns = layer.settings.get("data_format", self._format) == FIRST
        fault = (
            f" with channels first on a map with channels last{NOT_VGG}" if turns and self._format == LAST else ""
        )
        if not self._flat:
            self._rows_first = self._format == LAST or turns
            self._flat = True
            self._add(layer, FLATTEN, fault=fault)

    def _mean(self, layer: KerasLayer) -> None:
        self._flat = not layer.settings.get("keepdims")
        self._add(layer, MEAN)

    def _reverse(self, layer: KerasLayer) -> None:
        if self.steps:
            self._other(layer)
        else:
            self.pixels.reverse()

    def _normalization(self, layer: KerasLayer) -> None:
        settings, parts = layer.settings, list(self._weights(layer).values())
        mean, variance = settings.get("mean"), settings.get("variance")
        if mean is None or variance is None:
            if len(parts) < 2:
                raise ModelError(f"has no statistics for {layer}")
            mean, variance = parts[:2]
        if settings.get("invert") or not self._over_channels(settings.get("axis", -1)):
            self._other(layer)
            return
        deviation = np.maximum(np.sqrt(np.asarray(variance, np.float64)), LEAST_DEVIATION)
        self._affine(layer, 1 / deviation, -np.asarray(mean, np.float64) / deviation)

    def _arithmetic(self, layer: KerasLayer) -> None:
        """A constant that pixels are changed by."""
        place = 1 if layer.operands[:1] == [None] else 0
        value = layer.operands[place] if len(layer.operands) == 2 else None
        if value is None or (place == 0 and layer.kind not in ("Add", "Multiply")):
            self._other(layer)
            return
        number = np.asarray(value, np.float64)
        if layer.kind in ("Add", "Subtract"):
            self._affine(layer, 1, number if layer.kind == "Add" else -number)
        else:
            with np.errstate(divide="ignore"):
                self._affine(layer, number if layer.kind == "Multiply" else 1 / number, 0)

    def _affine(self, layer: KerasLayer, scale: Any, offset: Any) -> None:
        numbers = [np.asarray(value, np.float64) for value in (scale, offset)]
        along_channels = all(value.size == 1 or value.shape[-1:] == (value.size,) == (3,) for value in numbers)
        if (
            self.steps
            or self._padding  # whose zeros would be changed too
            or not along_channels
            or (self._format == FIRST and any(value.size > 1 for value in numbers))
        ):
            self._other(layer)
        else:
            self.pixels.affine(*(value.reshape(-1) for value in numbers))

    _READERS: ClassVar[Mapping[str, Callable[[Any, Any], None]]] = {
        **dict.fromkeys(ONLY_IN_TRAINING, _nothing),
        "Conv2D": _convolution,
        "Dense": _dense,
        "BatchNormalization": _norm,
        "ReLU": _relu,
        "Activation": lambda walk, layer: walk._activate(layer, layer.settings.get("activation")),
        "Softmax": _softmax,
        "MaxPooling2D": _pooling,
        "ZeroPadding2D": _pad,
        "Flatten": _flatten,
        "GlobalAveragePooling2D": _mean,
        "Rescaling": lambda walk, layer: walk._affine(
            layer, layer.settings.get("scale", 1), layer.settings.get("offset", 0)
        ),
        "Normalization": _normalization,
        CHANNELS_REVERSED: _reverse,
        **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "TrueDivide"), _arithmetic),
    }
