"""The plan of a network and its weights -> an ONNX graph with the literature's names, for images of any size.

The graph is written node by node from `Architecture.nodes`, not traced. So it needs no torch, and batch, height
and width are free.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.accounting import num_parameters
from verydeep.configurations import BATCH_NORM_EPSILON, Convolution, Node, Pooling
from verydeep.errors import UsageError
from verydeep.run_folder import ModelConfig
from verydeep.version import __version__

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # what readers of the last years understand; nothing here needs more
LARGEST = 2_000_000_000  # bytes of weights; a protocol buffer ends at 2 GiB


def graph(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], *, pixels: bool = False) -> onnx.ModelProto:
    """Write a network as an ONNX model.

    Its outputs are `score_map`, the class scores before the soft-max, of shape (batch, classes, rows, columns),
    and `posterior`, the soft-max of the map's mean over space, of shape (batch, classes).

    Args:
        config: of the model; its preprocessing and class names are kept as metadata.
        tensors: its weights.
        pixels: whether preprocessing is part of the graph. If so its input is `pixels`, of shape (batch, height,
            width, 3) and type uint8, R, G and B; otherwise `images`, preprocessed, of shape (batch, 3, height,
            width) and type float32.

    Raises:
        UsageError: the weights are too large for one file.

    """
    from onnx import TensorProto, helper

    if 4 * num_parameters(config.architecture) > LARGEST:
        raise UsageError("an ONNX file holds at most 2 GB, and these weights are more; use a smaller width")
    builder = GraphBuilder(tensors)
    if pixels:
        shape: list[Any] = ["batch", "height", "width", 3]
        entry = helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)
        builder.preprocess("pixels", "images", config)
    else:
        shape = ["batch", 3, "height", "width"]
        entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    builder.network("images", "score_map", config.architecture.nodes)
    builder.add("GlobalAveragePool", ["score_map"], "scores_over_space")
    builder.add("Flatten", ["scores_over_space"], "scores", axis=1)
    builder.add("Softmax", ["scores"], "posterior", axis=1)
    classes = config.architecture.num_classes
    made = helper.make_graph(
        builder.nodes,
        f"VGG {config.architecture.configuration}",
        [entry],
        [
            helper.make_tensor_value_info("score_map", TensorProto.FLOAT, ["batch", classes, "rows", "columns"]),
            helper.make_tensor_value_info("posterior", TensorProto.FLOAT, ["batch", classes]),
        ],
        builder.weights,
    )
    return model_of(made, describe(config, pixels=pixels), metadata(config, pixels=pixels))


def model_of(made: onnx.GraphProto, description: str, properties: dict[str, str]) -> onnx.ModelProto:
    """A graph as a model, with what belongs to it."""
    from onnx import helper

    model: onnx.ModelProto = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="verydeep",
        producer_version=__version__,
        doc_string=description,
    )
    helper.set_model_props(model, properties)
    return model


def describe(config: ModelConfig, *, pixels: bool = False) -> str:
    """What goes in and what comes out, in words."""
    side, preprocessing = config.architecture.window, config.preprocessing
    formula = (
        f"(pixel - mean) / deviation, mean {preprocessing.mean}, deviation {preprocessing.deviation} of R, G, B"
    )
    if pixels:
        entry = f"pixels: uint8, (batch, height, width, 3), R, G, B of 0 to 255; inside, {formula}"
    else:
        entry = f"images: float32, (batch, 3, height, width), {preprocessing.channels}, of 0 to 255: {formula}"
    return (
        f"VGG network {config.architecture.configuration}. In: {entry}; both sides at least {side}. Out: "
        "score_map, class scores before the soft-max, one every 32 pixels; posterior, the soft-max of its mean."
    )


def metadata(config: ModelConfig, *, pixels: bool = False) -> dict[str, str]:
    """What belongs to the model beside its weights, as ONNX's metadata takes it: texts, of which many are JSON."""
    architecture, preprocessing = config.architecture, config.preprocessing
    return {
        "verydeep": __version__,
        "opset": str(OPSET),
        "configuration": architecture.configuration,
        "width": f"{architecture.width:g}",
        "image_size": str(architecture.window),
        "batch_norm": json.dumps(architecture.batch_norm),
        "preprocessing_in_graph": json.dumps(pixels),
        "mean": json.dumps(preprocessing.mean),
        "deviation": json.dumps(preprocessing.deviation),
        "channels": "RGB" if pixels else preprocessing.channels,
        "test_scale": str(config.trained_on.test_scale),
        "scale": json.dumps(config.trained_on.scale),
        "mirror": json.dumps(config.trained_on.mirror),
        "class_names": json.dumps(config.class_names, ensure_ascii=False),
        "licence": str(config.provenance.get("licence") or ""),
    }


class GraphBuilder:
    """Nodes and weights of a graph that is being written; each node bears the name of what it gives."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._tensors = tensors

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; gives the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def add_several(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> list[str]:
        """Add a node with several outputs, which bears the name of the first."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs

    def constant(self, name: str, values: Any, kind: type[np.generic] = np.float32) -> str:
        """Add numbers that do not change; gives their name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values, dtype=kind)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def preprocess(self, entry: str, output: str, config: ModelConfig) -> None:
        """`(pixel - mean) / deviation`, the network's order of channels, and channels first."""
        from onnx import TensorProto

        preprocessing = config.preprocessing
        levels = self.add("Cast", [entry], "levels", to=TensorProto.FLOAT)
        centred = self.add("Sub", [levels, self.constant("mean", preprocessing.mean)], "centred")
        x = self.add("Div", [centred, self.constant("deviation", preprocessing.deviation)], "normalised")
        if preprocessing.channels == "BGR":
            x = self.add("Gather", [x, self.constant("order", [2, 1, 0], np.int64)], "turned", axis=3)
        self.add("Transpose", [x], output, perm=[0, 3, 1, 2])

    def network(self, entry: str, output: str, plan: Sequence[Node]) -> None:
        """All nodes of a plan, fully convolutional (Section 3.2); the last one gives `output`."""
        x = entry
        for node in plan:
            kind, attributes = _operator(node)
            tensors = [name for name in node.tensors if not name.endswith("num_batches_tracked")]
            inputs = [x, *(self.constant(name, self._tensors[name]) for name in tensors)]
            x = self.add(kind, inputs, output if node is plan[-1] else node.name, **attributes)


def _operator(node: Node) -> tuple[str, dict[str, Any]]:
    """ONNX's operator that computes a node, and its attributes."""
    layer = node.layer
    if isinstance(layer, Pooling):
        return "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}
    kernel = {"kernel_shape": [layer.kernel, layer.kernel]}
    if node.kind == "fully_connected":
        return "Conv", kernel
    if node.kind == "convolution":
        return "Conv", {**kernel, "pads": [layer.kernel // 2] * 4}
    if node.kind == "batch_norm":
        return "BatchNormalization", {"epsilon": BATCH_NORM_EPSILON}
    if node.kind == "relu":
        return "Relu", {}
    assert isinstance(layer, Convolution) and layer.local_response_norm  # the one kind that is left
    lrn = layer.local_response_norm
    # ONNX divides the sum by its size, AlexNet's formula does not.
    return "LRN", {"size": lrn.size, "alpha": lrn.alpha * lrn.size, "beta": lrn.beta, "bias": lrn.k}
