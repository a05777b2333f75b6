"""Files of weights of each kind, whole and made to harm."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import torch
from formats import write_caffe, write_matconvnet
from peers import keras_network, torchvision_network
from safetensors.torch import save_file

from verydeep.configurations import Architecture

ENDINGS = {
    "safetensors": ".safetensors",
    "pytorch": ".pth",
    "old pytorch": ".pt",
    "keras 3": ".weights.h5",
    "keras 2": ".h5",
    "keras": ".keras",
    "matconvnet": ".mat",
    "caffe": ".caffemodel",
    "onnx": ".onnx",
}


def write(kind: str, path: Path) -> Path:
    """A whole file of a kind: a narrow network's weights."""
    architecture = Architecture("A", 3, 1 / 64, 32)
    random = np.random.default_rng(0)
    tensors = {name: random.normal(size=shape).astype(np.float32) for name, shape in architecture.tensors.items()}
    if kind == "caffe":
        return write_caffe(path, architecture, tensors)
    if kind == "matconvnet":
        return write_matconvnet(path, architecture, tensors, ("a", "b", "c"), np.ones(3))
    if kind == "onnx":
        return write_onnx(path, architecture, tensors)
    if kind.startswith("keras"):
        network = keras_network("D", num_classes=3, top=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.save_weights(path) if kind == "keras 3" else network.save(path)
        return path
    state = torchvision_network("A", num_classes=3).state_dict()
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "pytorch")
    return path


def write_onnx(path: Path, architecture: Architecture, tensors: dict[str, np.ndarray]) -> Path:
    """A network as a graph, by onnx itself: convolutions only, their head too."""
    import onnx
    from onnx import helper, numpy_helper

    nodes, initializers, below = [], [], "data"
    for layer in architecture.layers:
        if f"{layer.name}.weight" not in tensors:
            nodes.append(helper.make_node("MaxPool", [below], [layer.name], kernel_shape=[2, 2], strides=[2, 2]))
        else:
            names = [f"{layer.name}.weight", f"{layer.name}.bias"]
            initializers += [numpy_helper.from_array(tensors[name], name) for name in names]
            pads = [layer.kernel // 2 * layer.name.startswith("conv")] * 4
            nodes.append(helper.make_node("Conv", [below, *names], [layer.name], pads=pads))
            if layer.name != "fc8":
                nodes.append(helper.make_node("Relu", [layer.name], [f"relu {layer.name}"]))
        below = nodes[-1].output[0]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("data", below)]
    graph = helper.make_graph(nodes, "vgg", values[:1], values[1:], initializers)
    onnx.save(helper.make_model(graph), path)
    return path


class Malicious:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def crafted(folder: Path, created: Path) -> dict[str, Path]:
    """Files that are made to harm: to run a program, to fill the memory, never to end."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}

    def new(name: str, content: bytes = b"") -> Path:
        files[name] = folder / name
        files[name].write_bytes(content)
        return files[name]

    state = {"features.0.weight": torch.zeros(4, 3, 3, 3), "x": Malicious(created)}
    torch.save(state, new("pickle.pth"))
    torch.save(state, new("old_pickle.pth"), _use_new_zipfile_serialization=False)
    new("bare_pickle.pt", pickle.dumps(Malicious(created)))
    network = torchvision_network("A")
    network.hook = Malicious(created)
    torch.save(network, new("whole_network.pth"))
    loop = torch.nn.Module()
    loop._modules = {"a": loop, "b": loop}  # twice: a walk through it would never end
    torch.save(loop, new("loop.pth"))
    new("nested.safetensors", safetensors(b'{"a":' * 100_000))
    new(
        "huge.safetensors",
        safetensors(b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'),
    )
    one = b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    twice = b'{"a":' + one + b',"b":' + one + b"}"
    new("overlapping.safetensors", safetensors(twice, b"\0" * 4))
    new(
        "negative.safetensors",
        safetensors(b'{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}', b"\0" * 4),
    )
    new("long_header.safetensors", struct.pack("<Q", 1 << 31) + b"{")
    nested = b""
    for _ in range(2000):
        nested = b"\x12" + varint(len(nested)) + nested
    new("nested.caffemodel", nested)
    shape = b"\x0a\x0a" + varint(1 << 62) + b"\x04"
    blob = b"\x3a" + varint(len(shape)) + shape
    layer = b"\x0a\x01a\x3a" + varint(len(blob)) + blob
    new("huge.caffemodel", b"\xa2\x06" + varint(len(layer)) + layer)
    new("nested.onnx", nested)
    with h5py.File(new("huge.h5"), "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
    with h5py.File(new("bomb.h5"), "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (1 << 31,), "f4", chunks=(1 << 22,), compression="gzip")
    with h5py.File(new("loop.h5"), "w") as file:
        file["layers"] = file["/"]
    with h5py.File(new("elsewhere.h5"), "w") as file:
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(folder / "huge.h5"), "/layers/conv2d/vars/0")
    name = "layers/conv2d/vars/0"
    (folder / "secret").write_bytes(bytes(4 * 27))
    with h5py.File(new("soft.h5"), "w") as file:
        file["layers/conv2d_1/vars/0"] = np.zeros((3, 3, 3, 1), "f4")
        file[name] = h5py.SoftLink("/layers/conv2d_1/vars/0")
    with h5py.File(new("raw.h5"), "w") as file:
        file.create_dataset(name, (3, 3, 3, 1), "f4", external=[(str(folder / "secret"), 0, 4 * 27)])
    with h5py.File(new("virtual.h5"), "w") as file:
        layout = h5py.VirtualLayout((3, 3, 3, 1), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "huge.h5"), name, (3, 3, 3, 1))
        file.create_virtual_dataset(name, layout)
    with h5py.File(new("elsewhere_2.h5"), "w") as file:
        file.attrs["layer_names"] = ["conv"]
        file["conv"] = h5py.ExternalLink(str(folder / "huge.h5"), "/layers")
    with h5py.File(new("weights_elsewhere.h5"), "w") as file:
        file["model_weights"] = h5py.ExternalLink(str(folder / "huge.h5"), "/")
    with (
        zipfile.ZipFile(new("bomb.keras"), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.weights.h5", "w") as member,
    ):
        for _ in range(1200):
            member.write(bytes(1 << 20))
    with zipfile.ZipFile(new("outside.keras"), "w") as archive:
        archive.writestr("../outside.txt", "x")
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    new("huge.mat", header + struct.pack("<II", 14, 0x7FFFFFFF) + b"\0" * 64)
    new("newer.mat", b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n")
    return files


def safetensors(header: bytes, content: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + content


def varint(number: int) -> bytes:
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return bytes([*content, number])
