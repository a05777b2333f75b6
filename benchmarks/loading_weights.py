"""Time and memory of loading a full network D (553 MB): from a run folder, and from every other layout.

    python benchmarks/loading_weights.py [--rounds 5] [--layouts LAYOUT ...]

Files with random numbers are made in a temporary folder, one at a time, and are in the machine's cache when they
are read. Every reading is a process of its own. Time: reading the run folder's file as bytes and opening the
model take turns; medians and their ratio, to be at most 1.2. Memory: the most that the process and its process
apart have at once, looked at every 2 ms, less what the process has after its imports. Opening a run folder is to
take at most 1.3 times the model, another layout twice the model and its largest tensor.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.images.color import Preprocessing
from verydeep.run_folder import ModelConfig, TrainedOn, write_model
from verydeep.weights.layouts import torchvision

ARCHITECTURE = Architecture("D")
MODEL_BYTES = sum(4 * int(np.prod(shape)) for shape in ARCHITECTURE.tensors.values())
LARGEST_BYTES = max(4 * int(np.prod(shape)) for shape in ARCHITECTURE.tensors.values())
FILES = {
    "verydeep": "run",
    "torchvision": "a.pth",
    "old torchvision": "a.pt",
    "timm": "a.safetensors",
    "keras": "a.weights.h5",
    "caffe": "a.caffemodel",
    "matconvnet": "a.mat",
}

CHILD = """
import resource, sys, time
from pathlib import Path
from verydeep.weights.importing import import_weights
from verydeep.weights.opening import open_source
from verydeep.weights.metadata import Metadata
from verydeep.weights.source import locate
path = Path(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, flush=True)
start = time.perf_counter()
if sys.argv[1] == "bytes":
    content = path.read_bytes()
elif sys.argv[1] == "verydeep":
    config, tensors = open_source(path)
else:
    found = import_weights(locate(path))
print(time.perf_counter() - start)
"""
LOOK_SECONDS = 0.002
PAGE = resource.getpagesize()


def tensors() -> dict[str, np.ndarray]:
    """Random weights, small enough for any network."""
    random = np.random.default_rng(0)
    return {name: 0.01 * random.standard_normal(shape, np.float32) for name, shape in ARCHITECTURE.tensors.items()}


def make(layout: str, path: Path) -> None:
    """Write network D as a layout has it."""
    config = ModelConfig(ARCHITECTURE, Preprocessing(), tuple(map(str, range(1000))), TrainedOn((256, 256)))
    ours = tensors()
    if layout == "verydeep":
        write_model(path, config, ours)
    elif layout == "caffe":
        with path.open("wb") as file:
            for layer in caffe_layers(ours):
                file.write(layer)
    elif layout == "matconvnet":
        from scipy.io import savemat

        layers = list(matconvnet_layers(ours))
        cells = np.empty((1, len(layers)), object)
        cells[0, :] = layers
        savemat(path, {"layers": cells})
    elif layout == "old torchvision":
        import torch

        theirs = torchvision.tensors_for(ARCHITECTURE, ours)
        state = {name: torch.from_numpy(np.array(tensor)) for name, tensor in theirs.items()}
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        from verydeep.weights.writing import write_for

        write_for(layout, path, config, ours)


def matconvnet_layers(ours: dict[str, np.ndarray]) -> Iterator[dict[str, Any]]:
    """The layers of D as MatConvNet has them."""
    for layer in ARCHITECTURE.layers:
        if isinstance(layer, Pooling):
            pool = np.array([[2.0, 2.0]])
            yield {"name": layer.name, "type": "pool", "method": "max", "pool": pool, "stride": 2.0, "pad": 0.0}
            continue
        pair = np.empty((1, 2), object)
        pair[0, 0] = ours[f"{layer.name}.weight"].transpose(2, 3, 1, 0)
        pair[0, 1] = ours[f"{layer.name}.bias"][None]
        pad = float(isinstance(layer, Convolution))
        yield {"name": layer.name, "type": "conv", "weights": pair, "stride": 1.0, "pad": pad}
        if layer.name != "fc8":
            yield {"name": f"relu of {layer.name}", "type": "relu"}


def caffe_layers(ours: dict[str, np.ndarray]) -> Iterator[bytes]:
    """The layers of D as Oxford's release has them: V1LayerParameter with 4-D blobs."""
    bottom = "data"
    for layer in ARCHITECTURE.layers:
        ends = field(2, bottom.encode()) + field(3, layer.name.encode())
        bottom = layer.name
        if isinstance(layer, Pooling):
            yield caffe_layer(layer.name, 17, ends + field(19, b"\x10\x02\x18\x02"))  # kernel_size, stride: 2
            continue
        is_convolution = isinstance(layer, Convolution)
        settings = field(10, b"\x18\x01\x20\x03") if is_convolution else b""  # pad: 1, kernel_size: 3
        blobs = b"".join(blob(ours[f"{layer.name}.{part}"], is_convolution) for part in ("weight", "bias"))
        yield caffe_layer(layer.name, 4 if is_convolution else 14, ends + settings + blobs)
        if layer.name != "fc8":
            in_place = field(2, bottom.encode()) + field(3, bottom.encode())
            yield caffe_layer(f"relu of {layer.name}", 18, in_place)


def caffe_layer(name: str, kind: int, content: bytes) -> bytes:
    """A layer of a number that stands for its type."""
    return field(2, field(4, name.encode()) + b"\x28" + bytes([kind]) + content)


def blob(tensor: np.ndarray, is_convolution: bool) -> bytes:
    """A tensor as a field of a layer."""
    matrix = tensor if is_convolution or tensor.ndim == 1 else tensor.reshape(len(tensor), -1)
    shape = (1,) * (4 - matrix.ndim) + matrix.shape
    sizes = b"".join(bytes([number << 3]) + varint(size) for number, size in enumerate(shape, 1))
    return field(6, sizes + field(5, tensor.tobytes()))


def field(number: int, content: bytes) -> bytes:
    """Bytes as a field of a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number of variable length."""
    content = bytearray()
    while number > 127:
        content.append(number & 127 | 128)
        number >>= 7
    return struct.pack(f"{len(content) + 1}B", *content, number)


def run(how: str, path: Path) -> tuple[float, float]:
    """Read a file in a process: seconds, and the most bytes that it and its process apart have at once."""
    process = subprocess.Popen([sys.executable, "-c", CHILD, how, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    before = 1024 * int(process.stdout.readline())
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(LOOK_SECONDS)
    seconds = float(process.stdout.readline())
    return seconds, peak - before


def resident(process: int) -> int:
    """Bytes of memory that a process and the processes that it has started have."""
    home = Path(f"/proc/{process}")
    try:
        children = (home / "task" / str(process) / "children").read_text().split()
        pages = int((home / "statm").read_text().split()[1])
    except OSError:  # it has ended
        return 0
    return pages * PAGE + sum(resident(int(child)) for child in children)


def main() -> None:
    """Measure, and print a line of JSON for each layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layouts", nargs="+", choices=list(FILES), default=list(FILES))
    arguments = parser.parse_args()
    for layout in arguments.layouts:
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / FILES[layout]
            subprocess.run([sys.executable, __file__, "make", layout, str(path)], check=True)
            file = path / "model.safetensors" if layout == "verydeep" else path
            run("bytes", file)
            rounds = [(run("bytes", file)[0], *run(layout, path)) for _ in range(arguments.rounds)]
        plain, seconds, _ = (statistics.median(column) for column in zip(*rounds, strict=True))
        peak = max(bytes_taken for _, _, bytes_taken in rounds)
        bound = 1.3 * MODEL_BYTES if layout == "verydeep" else 2 * (MODEL_BYTES + LARGEST_BYTES)
        print(
            json.dumps(
                {
                    "layout": layout,
                    "read_seconds": round(plain, 3),
                    "open_seconds": round(seconds, 3),
                    "ratio": round(seconds / plain, 2),
                    "peak_mb": round(peak / 1e6),
                    "models": round(peak / MODEL_BYTES, 2),
                    "bound_mb": round(bound / 1e6),
                    "within": peak <= bound,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
