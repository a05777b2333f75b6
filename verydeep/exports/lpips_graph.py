"""LPIPS as an ONNX graph: two images of any size in, their distance and the distance at each pixel out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.exports.graph import OPSET, GraphBuilder, model_of
from verydeep.feature_layers import LPIPS_EPSILON
from verydeep.plan import nodes_to
from verydeep.run_folder import ModelConfig
from verydeep.version import __version__
from verydeep.weights.lpips import LICENCE, linear_weights

if TYPE_CHECKING:
    import onnx


def lpips_graph(
    config: ModelConfig, tensors: Mapping[str, NDArray[Any]], *, pixels: bool = False
) -> onnx.ModelProto:
    """Write LPIPS as an ONNX model.

    Its inputs are `first` and `second`, of one shape. Its outputs are `distance`, of shape (batch,), and `map`,
    the distance at each pixel, of shape (batch, 1, height, width).

    Args:
        config: of VGG-16; its preprocessing is part of the graph.
        tensors: its weights.
        pixels: whether images have the shape (batch, height, width, 3) and type uint8, R, G and B. Otherwise they
            have the shape (batch, 3, height, width) and type float32, of 0 to 1.

    """
    from onnx import TensorProto, helper

    linear = linear_weights()
    builder = GraphBuilder(tensors)
    shape: list[Any] = ["batch", "height", "width", 3] if pixels else ["batch", 3, "height", "width"]
    kind = TensorProto.UINT8 if pixels else TensorProto.FLOAT
    builder.add("Concat", ["first", "second"], "both", axis=0)  # the network reads its weights once for the two
    if pixels:
        builder.preprocess("both", "images", config)
    else:
        _preprocess_unit(builder, "both", "images", config)
    plan = nodes_to(config.architecture, list(linear))
    builder.network("images", plan[-1].name, plan)
    places = _LayerDistances(builder)
    distances, maps = zip(*(places.of(layer, weights) for layer, weights in linear.items()), strict=True)
    total = builder.add("Sum", list(distances), "sum")
    builder.add("Reshape", [total, builder.constant("flat", [-1], np.int64)], "distance")
    builder.add("Sum", list(maps), "map")
    made = helper.make_graph(
        builder.nodes,
        "LPIPS",
        [helper.make_tensor_value_info(name, kind, shape) for name in ("first", "second")],
        [
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["batch"]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 1, "height", "width"]),
        ],
        builder.weights,
    )
    entry = "uint8, (batch, height, width, 3), R, G, B" if pixels else "float32, (batch, 3, height, width), 0 to 1"
    description = (
        f"LPIPS on VGG-16, version 0.1. In: first and second, {entry}. Out: distance, (batch,), and map, the "
        "distance at each pixel. The metadata has the licence of the linear weights."
    )
    return model_of(
        made,
        description,
        {
            "verydeep": __version__,
            "opset": str(OPSET),
            "metric": "lpips",
            "pixels": json.dumps(pixels),
            "licence": str(config.provenance.get("licence") or ""),
            "licence_of_linear_weights": LICENCE.read_text(encoding="utf-8"),
        },
    )


def _preprocess_unit(builder: GraphBuilder, entry: str, output: str, config: ModelConfig) -> None:
    """`(255 x - mean) / deviation` of images of 0 to 1, channels first, in the network's order of channels."""
    preprocessing = config.preprocessing
    levels = builder.add("Mul", [entry, builder.constant("white", 255)], "levels")
    mean, deviation = (
        builder.constant(name, np.reshape(values, (1, 3, 1, 1)))
        for name, values in (("mean", preprocessing.mean), ("deviation", preprocessing.deviation))
    )
    centred = builder.add("Sub", [levels, mean], "centred")
    if preprocessing.channels == "RGB":
        builder.add("Div", [centred, deviation], output)
    else:
        x = builder.add("Div", [centred, deviation], "normalised")
        builder.add("Gather", [x, builder.constant("order", [2, 1, 0], np.int64)], output, axis=1)


class _LayerDistances:
    """The nodes that compare the outputs of a layer for the two images.

    Args:
        builder: of the graph, whose `images` has both.

    """

    def __init__(self, builder: GraphBuilder) -> None:
        self._builder = builder
        self._epsilon = builder.constant("epsilon", LPIPS_EPSILON)
        self._front, self._two, self._four = (
            builder.constant(name, [value], np.int64) for name, value in (("front", 0), ("two", 2), ("four", 4))
        )
        shape = builder.add("Shape", ["images"], "images_shape")
        self._size = builder.add("Slice", [shape, self._two, self._four], "images_size")

    def of(self, layer: str, weights: NDArray[np.float32]) -> tuple[str, str]:
        """Names of the mean distance, of shape (batch, 1, 1, 1), and of the map at the images' size."""
        builder = self._builder
        length = builder.add("ReduceL2", [layer], f"{layer}_length", axes=[1], keepdims=1)
        divisor = builder.add("Add", [length, self._epsilon], f"{layer}_divisor")
        unit = builder.add("Div", [layer, divisor], f"{layer}_unit")
        halves = builder.add_several("Split", [unit], [f"{layer}_first", f"{layer}_second"], axis=0)
        difference = builder.add("Sub", halves, f"{layer}_difference")
        square = builder.add("Mul", [difference, difference], f"{layer}_square")
        kernel = builder.constant(f"{layer}_weights", weights.reshape(1, -1, 1, 1))
        distance = builder.add("Conv", [square, kernel], f"{layer}_distance", kernel_shape=[1, 1])
        shape = builder.add("Shape", [distance], f"{layer}_shape")
        batch = builder.add("Slice", [shape, self._front, self._two], f"{layer}_batch")
        size = builder.add("Concat", [batch, self._size], f"{layer}_size", axis=0)
        grown = builder.add(
            "Resize",
            [distance, "", "", size],
            f"{layer}_map",
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        return builder.add("GlobalAveragePool", [distance], f"{layer}_mean"), grown
