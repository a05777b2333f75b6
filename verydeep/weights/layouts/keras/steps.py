"""Keras's layers, in the order of the data flow, and their weights -> steps of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import STRIDE
from verydeep.errors import ModelError, printable
from verydeep.weights.layouts.keras.config import CHANNELS_TURNED, KerasLayer
from verydeep.weights.recognize import Layer, Layers, norm_with_epsilon
from verydeep.weights.source import Known
from verydeep.weights.steps import (
    CONVOLUTION,
    DENSE,
    FLATTEN,
    MEAN,
    NORM,
    NOT_VGG,
    POOLING,
    RELU,
    SOFTMAX,
    Pixels,
    Step,
    channels_first,
    layers_of_steps,
    trained_on_of,
)

Array = NDArray[Any]
Parts = list[tuple[str, Array]]  # of a layer: name or number, and tensor
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


class KerasSteps:
    """Layers of a Keras model as steps.

    Args:
        layers: in the order of the data flow.
        weights: gives the parts of a layer's weights, in the file's order.

    Attributes:
        steps: what the model computes.
        pixels: what it does before the first layer.
        size: height and width of the image, where the model says them.

    Raises:
        ModelError: a layer lacks its weights.

    """

    def __init__(self, layers: list[KerasLayer], weights: Callable[[KerasLayer], Parts]) -> None:
        self.steps: list[Step] = []
        self.pixels = Pixels()
        self._weights = weights
        self._padding = 0
        self._flat = self._rows_first = False
        formats = {layer.settings.get("data_format") or LAST for layer in layers if layer.kind in MAPPED}
        if len(formats) > 1:
            raise ModelError("has layers with channels first and layers with channels last")
        self._format = FIRST if formats == {FIRST} else LAST
        self.size = self._size(layers)
        for layer in layers:
            self._READERS.get(layer.kind, KerasSteps._other)(self, layer)

    def layers(self) -> Layers:
        """The layers of the network that it is.

        Raises:
            ModelError: it is no VGG network.

        """
        return layers_of_steps(self.steps, self.size)

    def known(self) -> Known:
        """What the model does to pixels itself, and its image's side where no window says it."""
        return Known(self.pixels.preprocessing(), trained_on=trained_on_of(self.size))

    def _size(self, layers: list[KerasLayer]) -> tuple[int | None, int | None]:
        for layer in layers:
            if isinstance(layer.shape, list) and len(layer.shape) == 4:
                height, width = layer.shape[2:] if self._format == FIRST else layer.shape[1:3]
                if isinstance(height, int) and isinstance(width, int):
                    return height, width
            if layer.kind == "Conv2D":
                break
        return None, None

    def _add(self, named: KerasLayer, kind: str, **parts: Any) -> None:
        if self._padding and kind != CONVOLUTION:
            parts["fault"] = f" behind padding{NOT_VGG}"
        self._padding = 0
        self.steps.append(Step(kind, str(named), **parts))

    def _activate(self, layer: KerasLayer, activation: Any) -> None:
        """What an activation computes, which is a name or, in a dictionary, a function or a layer."""
        if isinstance(activation, dict):
            inner = activation.get("config")
            if activation.get("class_name") == "function" or isinstance(inner, str):
                activation = inner
            else:
                kind = str(activation.get("class_name"))
                inside = KerasLayer(kind, f"of {layer.name}", inner if isinstance(inner, dict) else {})
                (self._READERS[kind] if kind in ("ReLU", "Softmax") else KerasSteps._other)(self, inside)
                return
        if activation not in (None, "linear"):
            kind = {"relu": RELU, "softmax": SOFTMAX, "log_softmax": SOFTMAX}.get(str(activation), "")
            self.steps.append(Step(kind or "other", f"{printable(activation, KEPT_WORDS)} of {layer}"))

    def _both(self, layer: KerasLayer) -> tuple[Array, Array]:
        """Kernel and bias of a layer."""
        parts = [part for _, part in self._weights(layer)]
        kernel = next((part for part in parts if part.ndim > 1), None)
        biases = [part for part in parts if part.ndim == 1]
        if kernel is None or kernel.dtype.kind != "f" or len(biases) != bool(layer.settings.get("use_bias", True)):
            raise ModelError(f"has no weights of floating-point numbers for {layer}, or not all of them")
        return kernel, biases[0] if biases else np.zeros(kernel.shape[-1], np.float32)

    def _other(self, layer: KerasLayer) -> None:
        """Anything that no VGG network has."""
        self._add(layer, layer.kind)

    def _nothing(self, layer: KerasLayer) -> None:
        """What does nothing in a test."""

    def _convolution(self, layer: KerasLayer) -> None:
        kernel, bias = self._both(layer)
        if kernel.ndim != 4:
            raise ModelError(f"has {layer} with a kernel of {kernel.ndim} axes")
        rows, columns = kernel.shape[:2]
        told, fault = layer.settings, ""
        padding = self._padding + (rows // 2 if told.get("padding") == "same" else 0)
        for name in ("strides", "dilation_rate", "groups"):
            if set(np.ravel(told.get(name, 1)).tolist()) != {1}:
                fault = f" with {name} of {told[name]}{NOT_VGG}"
        if rows != columns or told.get("padding") not in ("same", "valid") or (rows % 2 == 0 and padding):
            fault = f" with a kernel of {rows}x{columns} and padding '{printable(told.get('padding'))}'{NOT_VGG}"
        weights = Layer(kernel.transpose(3, 2, 0, 1), bias)
        self._add(layer, CONVOLUTION, layer=weights, padding=padding, fault=fault)
        self._activate(layer, told.get("activation"))

    def _dense(self, layer: KerasLayer) -> None:
        kernel, bias = self._both(layer)
        if not self._flat or kernel.ndim != 2:
            self._add(layer, f"{layer.kind} of a map")  # it is a convolution of 1x1
            return
        weight = kernel.T
        if self._rows_first:
            channels = [step.layer for step in self.steps if step.kind == CONVOLUTION and step.layer]
            weight, self._rows_first = channels_first(weight, len(channels[-1].weight) if channels else 3), False
        self._add(layer, DENSE, layer=Layer(weight, bias))
        self._activate(layer, layer.settings.get("activation"))

    def _norm(self, layer: KerasLayer) -> None:
        told, parts = layer.settings, dict(self._weights(layer))
        wanted = [
            name for name, made in zip(NORM_NAMES, ("scale", "center"), strict=False) if told.get(made, True)
        ]
        wanted += NORM_NAMES[2:]
        if not set(wanted) <= parts.keys():  # Keras 3 numbers them
            parts = dict(zip(wanted, parts.values(), strict=False))
        if not set(wanted) <= parts.keys():
            raise ModelError(f"has no weights for {layer}, or not all of them")
        mean, variance = parts["moving_mean"], parts["moving_variance"]
        scale, shift = parts.get("gamma", np.ones_like(mean)), parts.get("beta", np.zeros_like(mean))
        fault = "" if self._over_channels(told.get("axis", -1)) else f" over axis {told['axis']}{NOT_VGG}"
        epsilon = float(told.get("epsilon", EPSILON))
        self._add(layer, NORM, parts=norm_with_epsilon((scale, shift, mean, variance), epsilon), fault=fault)

    def _over_channels(self, axis: Any) -> bool:
        axes = axis if isinstance(axis, list) else [axis]
        return len(axes) == 1 and axes[0] in ((1, -3) if self._format == FIRST else (3, -1))

    def _relu(self, layer: KerasLayer) -> None:
        told = layer.settings
        plain = told.get("max_value") is None and not told.get("negative_slope") and not told.get("threshold")
        self._add(layer, RELU if plain else f"{layer.kind} of another form")

    def _activation(self, layer: KerasLayer) -> None:
        self._activate(layer, layer.settings.get("activation"))

    def _softmax(self, layer: KerasLayer) -> None:
        self._add(layer, SOFTMAX if layer.settings.get("axis", -1) in (-1, [-1], 1) else layer.kind)

    def _pooling(self, layer: KerasLayer) -> None:
        told, fault = layer.settings, ""
        for name in ("pool_size", "strides"):
            seen = told.get(name) or told.get("pool_size", 2)
            if set(np.ravel(seen).tolist()) != {2}:
                fault = f" with {name} of {seen}, where VGG's are 2"
        even = None not in self.size and not any(int(side or 0) % STRIDE for side in self.size)
        if told.get("padding", "valid") != "valid" and not even:
            fault = f" that keeps a last odd row{NOT_VGG}"
        self._add(layer, POOLING, fault=fault)

    def _pad(self, layer: KerasLayer) -> None:
        """Zeros around the map, which the convolution behind them takes for its own padding."""
        widths = set(np.ravel(layer.settings.get("padding", 1)).tolist())
        if len(widths) == 1:
            self._padding += int(widths.pop())
        else:
            self._add(layer, layer.kind)

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

    def _turn(self, layer: KerasLayer) -> None:
        if self.steps:
            self._add(layer, layer.kind)
        else:
            self.pixels.turn()

    def _rescaling(self, layer: KerasLayer) -> None:
        self._affine(layer, layer.settings.get("scale", 1), layer.settings.get("offset", 0))

    def _normalization(self, layer: KerasLayer) -> None:
        told, parts = layer.settings, [part for _, part in self._weights(layer)]
        mean, variance = told.get("mean"), told.get("variance")
        if mean is None or variance is None:
            if len(parts) < 2:
                raise ModelError(f"has no statistics for {layer}")
            mean, variance = parts[:2]
        if told.get("invert") or not self._over_channels(told.get("axis", -1)):
            self._add(layer, f"{layer.kind} of another form")
            return
        deviation = np.maximum(np.sqrt(np.asarray(variance, np.float64)), LEAST_DEVIATION)
        self._affine(layer, 1 / deviation, -np.asarray(mean, np.float64) / deviation)

    def _arithmetic(self, layer: KerasLayer) -> None:
        """A constant that pixels are changed by."""
        place = 1 if layer.operands[:1] == [None] else 0
        value = layer.operands[place] if len(layer.operands) == 2 else None
        if value is None or (place == 0 and layer.kind not in ("Add", "Multiply")):
            self._add(layer, layer.kind)
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
            or not along_channels
            or (self._format == FIRST and any(value.size > 1 for value in numbers))
        ):
            self._add(layer, layer.kind)
        else:
            self.pixels.affine(*(value.reshape(-1) for value in numbers))

    _READERS: ClassVar[Mapping[str, Callable[[Any, KerasLayer], None]]] = {
        **dict.fromkeys(ONLY_IN_TRAINING, _nothing),
        "Conv2D": _convolution,
        "Dense": _dense,
        "BatchNormalization": _norm,
        "ReLU": _relu,
        "Activation": _activation,
        "Softmax": _softmax,
        "MaxPooling2D": _pooling,
        "ZeroPadding2D": _pad,
        "Flatten": _flatten,
        "GlobalAveragePooling2D": _mean,
        "Rescaling": _rescaling,
        "Normalization": _normalization,
        CHANNELS_TURNED: _turn,
        **dict.fromkeys(("Add", "Subtract", "Multiply", "Divide", "TrueDivide"), _arithmetic),
    }
