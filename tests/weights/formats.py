"""Files of Caffe's, MatConvNet's and ONNX's, made with the libraries that define their formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from verydeep.configurations import Architecture, Convolution, FullyConnected, Pooling

FIELD = descriptor_pb2.FieldDescriptorProto
CAFFE: dict[str, dict[str, tuple[int, Any, bool]]] = {  # name: (number, type, repeated)
    "Empty": {},
    "BlobShape": {"dim": (1, FIELD.TYPE_INT64, True)},
    "BlobProto": {
        "num": (1, FIELD.TYPE_INT32, False),
        "channels": (2, FIELD.TYPE_INT32, False),
        "height": (3, FIELD.TYPE_INT32, False),
        "width": (4, FIELD.TYPE_INT32, False),
        "data": (5, FIELD.TYPE_FLOAT, True),
        "shape": (7, "BlobShape", False),
        "double_data": (8, FIELD.TYPE_DOUBLE, True),
    },
    "LRNParameter": {
        "local_size": (1, FIELD.TYPE_UINT32, False),
        "alpha": (2, FIELD.TYPE_FLOAT, False),
        "beta": (3, FIELD.TYPE_FLOAT, False),
        "norm_region": (4, FIELD.TYPE_INT32, False),
        "k": (5, FIELD.TYPE_FLOAT, False),
    },
    "PoolingParameter": {
        "pool": (1, FIELD.TYPE_INT32, False),
        "kernel_size": (2, FIELD.TYPE_UINT32, False),
        "stride": (3, FIELD.TYPE_UINT32, False),
        "global_pooling": (12, FIELD.TYPE_BOOL, False),
    },
    "ConvolutionParameter": {
        "pad": (3, FIELD.TYPE_UINT32, True),
        "group": (5, FIELD.TYPE_UINT32, False),
        "stride": (6, FIELD.TYPE_UINT32, True),
        "dilation": (18, FIELD.TYPE_UINT32, True),
    },
    "InnerProductParameter": {"axis": (5, FIELD.TYPE_INT32, False), "transpose": (6, FIELD.TYPE_BOOL, False)},
    "ReLUParameter": {"negative_slope": (1, FIELD.TYPE_FLOAT, False)},
    "V1LayerParameter": {
        "convolution_param": (10, "ConvolutionParameter", False),
        "inner_product_param": (17, "InnerProductParameter", False),
        "lrn_param": (18, "LRNParameter", False),
        "pooling_param": (19, "PoolingParameter", False),
        "relu_param": (30, "ReLUParameter", False),
        "bottom": (2, FIELD.TYPE_STRING, True),
        "top": (3, FIELD.TYPE_STRING, True),
        "name": (4, FIELD.TYPE_STRING, False),
        "type": (5, FIELD.TYPE_INT32, False),
        "blobs": (6, "BlobProto", True),
    },
    "LayerParameter": {
        "convolution_param": (106, "ConvolutionParameter", False),
        "inner_product_param": (117, "InnerProductParameter", False),
        "lrn_param": (118, "LRNParameter", False),
        "pooling_param": (121, "PoolingParameter", False),
        "relu_param": (123, "ReLUParameter", False),
        "name": (1, FIELD.TYPE_STRING, False),
        "type": (2, FIELD.TYPE_STRING, False),
        "bottom": (3, FIELD.TYPE_STRING, True),
        "top": (4, FIELD.TYPE_STRING, True),
        "blobs": (7, "BlobProto", True),
    },
    "NetParameter": {
        "name": (1, FIELD.TYPE_STRING, False),
        "layers": (2, "V1LayerParameter", True),
        "layer": (100, "LayerParameter", True),
    },
}
ALEXNETS = {"local_size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}  # Caffe divides alpha by the size
V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18}


@cache
def caffe_message(*, packed: bool = True) -> Any:
    """The class NetParameter, by Google's own implementation of protocol buffers."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"caffe{packed}.proto", package=f"caffe{packed}", syntax="proto2"
    )
    for name, fields in CAFFE.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind, repeated) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = FIELD.TYPE_MESSAGE, f".caffe{packed}.{kind}"
            else:
                field.type = kind
                field.options.packed = packed and repeated and kind != FIELD.TYPE_STRING
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe{packed}.NetParameter"))


def write_caffe(
    path: Path,
    architecture: Architecture,
    tensors: Mapping[str, np.ndarray],
    name: str = "VGG_ILSVRC_16_layers",
    *,
    old: bool = True,
    packed: bool = True,
    double: bool = False,
    recast: bool = False,
    last: str = "fc8",
    lrn: Mapping[str, float] = ALEXNETS,
    settings: Mapping[str, Mapping[str, Any]] = {},
    without: Sequence[str] = (),
) -> Path:
    """A .caffemodel: old as Oxford's (V1LayerParameter, 4-D blobs), or of the new form.

    `lrn` has the fields of its LRN layer that are written, `settings` other ones of layers by their names; a
    ReLU's may be its type, bottom and top. Layers of the types of `without` are left out.
    """
    network = caffe_message(packed=packed)(name=name)
    below = "data"
    for layer in architecture.layers:
        kinds = {Convolution: "Convolution", Pooling: "Pooling", FullyConnected: "InnerProduct"}
        kind = "Convolution" if recast and isinstance(layer, FullyConnected) else kinds[type(layer)]
        layer_name = last if layer.name == "fc8" else layer.name
        written = (network.layers if old else network.layer).add(name=layer_name, bottom=[below], top=[layer_name])
        written.type = V1_TYPES[kind] if old else kind
        below = layer_name
        if kind == "Pooling":
            _set(written, "pooling_param", {"kernel_size": 2, "stride": 2} | dict(settings.get(layer.name, {})))
            continue
        if kind == "Convolution":
            pad = [layer.kernel // 2] if isinstance(layer, Convolution) else []
            _set(written, "convolution_param", {"pad": pad} | dict(settings.get(layer.name, {})))
        else:
            _set(written, "inner_product_param", settings.get(layer.name, {}))
        for part in ("weight", "bias"):
            tensor = tensors[f"{layer.name}.{part}"]
            if part == "weight" and kind == "InnerProduct":
                tensor = tensor.reshape(len(tensor), -1)
            blob = written.blobs.add()
            if old:
                shape = (1,) * (4 - tensor.ndim) + tensor.shape
                blob.num, blob.channels, blob.height, blob.width = shape
            else:
                blob.shape.dim.extend(tensor.shape)
            (blob.double_data if double else blob.data).extend(tensor.ravel().tolist())
        has_lrn = isinstance(layer, Convolution) and layer.local_response_norm is not None
        extras = [*["ReLU"] * (layer.name != "fc8"), *["LRN"] * has_lrn]
        for extra in (extra for extra in extras if extra not in without):
            written = (network.layers if old else network.layer).add(name=f"{extra} {layer_name}")
            told = dict(settings.get(written.name, {}))
            written.bottom.append(told.pop("bottom", below))
            below = told.pop("top", layer_name)
            written.top.append(below)
            written.type = told.pop("type", V1_TYPES[extra] if old else extra)
            if extra == "LRN":
                _set(written, "lrn_param", lrn)
            _set(written, "relu_param", told)
    path.write_bytes(network.SerializeToString())
    return path


def _set(layer: Any, message: str, fields: Mapping[str, Any]) -> None:
    for name, value in fields.items():
        target = getattr(layer, message)
        getattr(target, name).extend(value) if isinstance(value, list) else setattr(target, name, value)


def prototxt(architecture: Architecture) -> str:
    """The network's description, for a reader that wants one."""
    side = architecture.window
    lines = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {side} input_dim: {side}']
    below = "data"
    for layer in architecture.layers:
        ends = f'bottom: "{below}" top: "{layer.name}"'
        if isinstance(layer, Pooling):
            lines.append(
                f'layer {{ name: "{layer.name}" type: "Pooling" {ends} '
                "pooling_param { pool: MAX kernel_size: 2 stride: 2 } }"
            )
        elif isinstance(layer, Convolution):
            lines.append(
                f'layer {{ name: "{layer.name}" type: "Convolution" {ends} convolution_param '
                f"{{ num_output: {layer.out_channels} kernel_size: {layer.kernel} pad: {layer.kernel // 2} }} }}"
            )
        else:
            lines.append(
                f'layer {{ name: "{layer.name}" type: "InnerProduct" {ends} '
                f"inner_product_param {{ num_output: {layer.out_channels} }} }}"
            )
        below = layer.name
        if not isinstance(layer, Pooling) and layer.name != "fc8":
            lines.append(f'layer {{ name: "relu {below}" type: "ReLU" bottom: "{below}" top: "{below}" }}')
    return "\n".join(lines)


def write_matconvnet(
    path: Path,
    architecture: Architecture,
    tensors: Mapping[str, np.ndarray],
    class_names: Sequence[str] = (),
    mean: np.ndarray | None = None,
    *,
    old: bool = False,
    compressed: bool = False,
    wordnet_numbers: Sequence[str] = (),
    param: Sequence[float] = (5, 2, 1e-4, 0.75),
    settings: Mapping[str, Mapping[str, Any]] = {},
) -> Path:
    """A MatConvNet network, by SciPy: as it is today, or as before 1.0-beta8."""
    from scipy.io import savemat

    cells: list[dict[str, Any]] = []
    for layer in architecture.layers:
        if isinstance(layer, Pooling):
            pooling = {"name": layer.name, "type": "pool", "pool": [2.0, 2.0], "stride": 2.0, "pad": 0.0}
            cells.append(pooling | dict(settings.get(layer.name, {})))
            continue
        filters = tensors[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
        biases = tensors[f"{layer.name}.bias"][None]
        weights: dict[str, Any] = {"filters": filters, "biases": biases}
        if not old:
            both = np.empty((1, 2), object)
            both[0, 0], both[0, 1] = filters, biases
            weights = {"weights": both}
        pad = 4 * [float(layer.kernel // 2)] if isinstance(layer, Convolution) else 0.0
        cell = {"name": layer.name, "type": "conv", "stride": 1.0, "pad": pad} | dict(settings.get(layer.name, {}))
        cells.append(cell | weights)
        if layer.name == "fc8":
            continue
        relu = layer.name.replace("conv", "relu").replace("fc", "relu")
        cells.append({"name": relu, "type": "relu"} | dict(settings.get(relu, {})))
        if isinstance(layer, Convolution) and layer.local_response_norm:
            cells.append({"name": "norm", "type": "lrn", "param": list(param)})
    layers = np.empty((1, len(cells)), object)
    for number, cell in enumerate(cells):
        layers[0, number] = cell
    meta: dict[str, Any] = {}
    if class_names:
        meta["classes"] = {"description": np.array([class_names], object)}
        if wordnet_numbers:
            meta["classes"]["name"] = np.array([wordnet_numbers], object)
    if mean is not None:
        meta["normalization"] = {"averageImage": mean, "imageSize": [224.0, 224.0, 3.0]}
    content = {"layers": layers} | (meta if old else {"meta": meta})
    savemat(path, content, do_compression=compressed)
    return path
