"""What a few small networks and one short training compute: the values that `golden.json` and `golden.npz` keep.

    python tests/golden/golden_values.py

makes both files anew. Do so only where a change of the numbers is meant, and say in the commit why they change.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

import verydeep
from verydeep.cli import main as command_line

HERE = Path(__file__).parent
IMAGES = HERE.parent / "old_files" / "pictures"
ARRAYS, TRAINING = HERE / "golden.npz", HERE / "golden.json"

Arrays = dict[str, NDArray[np.float32]]

LAYERS = ("pool3", "relu5_1", "fc6", "fc8")
NETWORKS: dict[str, dict[str, Any]] = {
    "A": {"configuration": "A"},
    "A-LRN": {"configuration": "A-LRN"},
    "B-5x5": {"configuration": "B-5x5"},
    "C": {"configuration": "C"},
    "D": {"configuration": "D"},
    "D-batch-norm": {"configuration": "D", "batch_norm": True},
    "D-average-pooling": {"configuration": "D"},
    "E": {"configuration": "E"},
}

# Ten steps: 24 images, 12 a step. Without batch norm, whose statistics of a dozen images enlarge differences.
TRAIN = shlex.split(
    "--recipe digits --config A --width 0.0625 --no-batch-norm --train-scale 34:40 --mirror --color-shift 0.1"
    " --batch-size 12 --epochs 5 --learning-rate 0.01 --weight-decay 0.01 --precision float32 --device cpu"
)


def outputs(name: str) -> Arrays:
    """The score map and some layers of one of `NETWORKS` for one image.

    By the native engine, of whose kernels VERYDEEP_INSTRUCTIONS chooses; by torch where that has no kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_network(Path(folder), **NETWORKS[name])
        pooling = "average" if name.endswith("average-pooling") else "max"
        if name == "B-5x5":
            return torch_outputs(folder)
        return verydeep.features(folder, LAYERS, pooling=pooling, engine="native")(image()[None])


def torch_outputs(folder: str) -> Arrays:
    import torch

    pixels = torch.from_numpy(image().astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        maps = verydeep.features(folder, LAYERS, range=(0, 255), engine="torch")(pixels)
    return {name: each.numpy() for name, each in maps.items()}


def image() -> NDArray[np.uint8]:
    """A fixed image of 96x72 pixels, smooth in part."""
    rows, columns = np.mgrid[:72, :96]
    noise = np.random.default_rng(0).integers(0, 60, (72, 96, 3))
    waves = [np.sin(rows / 9) + np.cos(columns / 7), np.sin((rows + columns) / 11), np.cos((rows - columns) / 5)]
    return (np.stack(waves, -1) * 45 + 100 + noise).clip(0, 255).astype(np.uint8)


def write_network(folder: Path, configuration: str, batch_norm: bool = False) -> None:
    """Write a run folder with weights that are the same everywhere."""
    tensors = verydeep.Architecture(configuration, 5, 0.0625, 32, batch_norm).tensors
    save_file({name: weights(name, size) for name, size in tensors.items()}, folder / "model.safetensors")
    config = {
        "format": "verydeep 1",
        "architecture": {
            "configuration": configuration,
            "num_classes": 5,
            "width": 0.0625,
            "image_size": 32,
            "batch_norm": batch_norm,
        },
        "preprocessing": {"mean": [120, 110, 100], "deviation": [58, 57, 56], "channels": "BGR"},
        "class_names": [str(number) for number in range(5)],
        "trained_on": {"scale": [36, 36], "mirror": False},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def weights(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """A tensor of a network: uniform numbers that the name decides, of a size that keeps the layers' own."""
    numbers = np.random.default_rng(zlib.crc32(name.encode())).random(shape)
    if name.endswith("num_batches_tracked"):
        return np.array(1, np.int64)
    if name.endswith("running_var") or (name.startswith("bn") and name.endswith("weight")):
        return (0.5 + numbers).astype(np.float32)
    limit = (6 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
    return (limit * (2 * numbers - 1)).astype(np.float32)


def training() -> dict[str, Any]:
    """The loss of each of ten steps, and of each tensor at their end its mean, its root mean square and a sum."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command_line(["train", str(IMAGES), str(run), *TRAIN])
        records = map(json.loads, (run / "journal.jsonl").read_text(encoding="utf-8").splitlines())
        losses = [record["loss"] for record in records if "rate" in record]
        return {
            "losses": losses,
            "weights": {k: summary(k, v) for k, v in load_file(run / "last.safetensors").items()},
        }


def summary(name: str, tensor: NDArray[Any]) -> list[float]:
    """Mean, root mean square, and a sum with factors of their own for all numbers, which tells their order too."""
    numbers = tensor.astype(np.float64).ravel()
    factors = np.random.default_rng(zlib.crc32(name.encode())).random(numbers.size) - 0.5
    return [float(numbers.mean()), float((numbers**2).mean() ** 0.5), float(numbers @ factors)]


def main() -> None:
    os.environ["VERYDEEP_INSTRUCTIONS"] = "portable"
    arrays = {f"{name}/{layer}": maps for name in NETWORKS for layer, maps in outputs(name).items()}
    np.savez_compressed(ARRAYS, **arrays)
    TRAINING.write_text(json.dumps(training(), indent=1) + "\n", encoding="utf-8")
    print(f"{ARRAYS}: {ARRAYS.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
