"""Files of weights of each kind, and ways in which they can be damaged, by chance or on purpose."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch
from formats import write_caffe, write_matconvnet
from peers import keras_network, torchvision_network
from safetensors.torch import save_file

from verydeep.configurations import Architecture

ABSURD = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF)
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


def mutants(content: bytes, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file, each with the name of what was done to it."""
    random = np.random.default_rng(seed)
    ways = list(WAYS)
    for number in range(count):
        way = ways[number % len(ways)]
        yield way, WAYS[way](bytearray(content), random)


def cut(content: bytearray, random: np.random.Generator) -> bytes:
    return bytes(content[: random.integers(0, len(content))])


def flip_bits(content: bytearray, random: np.random.Generator) -> bytes:
    """Anywhere, but mostly at both ends, where structure lies."""
    for _ in range(random.integers(1, 20)):
        reach = len(content) if random.random() < 0.4 else min(len(content), 2048)
        at = int(random.integers(0, reach)) * (1 if random.random() < 0.5 else -1)
        content[at] ^= 1 << int(random.integers(0, 8))
    return bytes(content)


def wrong_numbers(content: bytearray, random: np.random.Generator) -> bytes:
    """A length or a shape becomes absurd, in either order of its bytes."""
    for _ in range(random.integers(1, 4)):
        size = int(random.choice((1, 2, 4, 8)))
        reach = len(content) if random.random() < 0.4 else min(len(content), 2048)
        at = int(random.integers(0, max(1, reach - size)))
        number = int(ABSURD[random.integers(0, len(ABSURD))]) % 256**size
        content[at : at + size] = number.to_bytes(size, "little" if random.random() < 0.8 else "big")
    return bytes(content)


def more_text(content: bytearray, random: np.random.Generator) -> bytes:
    """Digits that stand in a header grow; so do opening brackets."""
    places = [at for at in range(min(len(content), 65536)) if chr(content[at]) in "0123456789[{("]
    for _ in range(random.integers(1, 4)):
        if places:
            at = int(random.choice(places))
            content[at : at + 1] = bytes([content[at]]) * int(random.choice((2, 10, 1000, 100_000)))
    return bytes(content)


def shuffle(content: bytearray, random: np.random.Generator) -> bytes:
    """A piece is taken out, doubled, or put elsewhere."""
    start, end = sorted(int(place) for place in random.integers(0, len(content), 2))
    piece = content[start:end]
    what = random.integers(0, 3)
    if what == 0:
        return bytes(content[:start] + content[end:])
    at = int(random.integers(0, len(content)))
    return bytes(content[:at] + piece + content[at:]) if what == 1 else bytes(content[end:] + piece)


def noise(content: bytearray, random: np.random.Generator) -> bytes:
    """The beginning stays, and nothing else."""
    kept = int(random.integers(4, 512))
    return bytes(content[:kept]) + random.bytes(int(random.integers(0, 4096)))


WAYS: dict[str, Callable[[bytearray, np.random.Generator], bytes]] = {
    "cut": cut,
    "flipped bits": flip_bits,
    "wrong numbers": wrong_numbers,
    "more text": more_text,
    "pieces moved": shuffle,
    "noise": noise,
}


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
    torch.save(torchvision_network("A"), new("whole_network.pth"))
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
