"""What each protocol of the paper costs: seconds an image and peak memory, measured and by arithmetic.

    python benchmarks/protocols.py IMAGES [--images 3] [--rounds 3] [--configuration D]

IMAGES is a folder of photographs. The network has random weights: they do not change the cost. Protocols take
turns in one process; medians of the rounds. Peak memory is that of a process of its own for each protocol while it
tests one image. The arithmetic counts multiply-adds of the views' convolutions and FC layers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from verydeep.accounting import account
from verydeep.configurations import STRIDE, Architecture
from verydeep.evaluation.evaluate import Member, evaluate
from verydeep.evaluation.protocols import Dense, Protocol, protocols_of
from verydeep.images.color import Preprocessing
from verydeep.images.find import unlabelled
from verydeep.images.geometry import rescaled_size
from verydeep.images.image_set import ImageSet
from verydeep.inference.torch_engine import TorchEngine
from verydeep.network.initialize import initialize
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig, TrainedOn

PROTOCOLS = {
    "centre crop": ("centre", (256,)),
    "ten crops": ("ten", (256,)),
    "dense, one Q": ("dense", (256,)),
    "multi-crop, one Q": ("crops", (256,)),
    "dense, three Q": ("dense", (256, 384, 512)),
    "multi-crop, three Q": ("crops", (256, 384, 512)),
    "multi-crop & dense, three Q": ("both", (256, 384, 512)),
}


def engine_with(configuration: str) -> TorchEngine:
    architecture = Architecture(configuration)
    network = VGG(architecture).eval()
    initialize(network, "he", 0)
    names = tuple(map(str, range(architecture.num_classes)))
    config = ModelConfig(architecture, Preprocessing(deviation=(58.0,) * 3), names, TrainedOn((256, 256)))
    return TorchEngine(network, config, torch.device("cpu"))


def chosen(folder: Path, count: int) -> ImageSet:
    """Photographs of 4:3, lying, as far as there are enough."""
    images = unlabelled([folder])
    sizes = [images.source.size(number) for number in range(len(images))]
    return images.select(sorted(range(len(sizes)), key=lambda n: abs(sizes[n][0] / sizes[n][1] - 4 / 3))[:count])


def multiply_adds(architecture: Architecture, protocols: tuple[Protocol, ...], size: tuple[int, int]) -> float:
    """Of all the views of one image."""
    rows = account(architecture)
    convolutions = sum(row.multiply_adds for row in rows if row.name.startswith("conv"))
    fully_connected = sum(row.multiply_adds for row in rows if row.name.startswith("fc"))
    window = architecture.window
    total = 0.0
    for protocol in protocols:
        for scale in protocol.scales:
            width, height = rescaled_size(*size, scale)
            if isinstance(protocol, Dense):
                rows_, columns = height // STRIDE - window // STRIDE + 1, width // STRIDE - window // STRIDE + 1
                view = convolutions * width * height / window**2 + fully_connected * rows_ * columns
            else:
                view = (convolutions + fully_connected) * len(protocol.offsets(width, height, window))
            total += view * (1 + protocol.mirror)
    return total


def peak_memory(arguments: argparse.Namespace, name: str) -> float:
    """In MB, of a process that tests one image by one protocol."""
    command = [
        sys.executable,
        __file__,
        arguments.folder,
        "--configuration",
        arguments.configuration,
        "--only",
        name,
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def forget_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory_here() -> float:
    """In MB, since it was forgotten."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--configuration", default="D")
    parser.add_argument("--only", choices=PROTOCOLS, help="test one image so, and print the peak memory in MB")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    engine = engine_with(arguments.configuration)
    images = chosen(Path(arguments.folder), 1 if arguments.only else arguments.images)
    tests = {name: protocols_of(views, scales, mirror=True) for name, (views, scales) in PROTOCOLS.items()}
    if arguments.only:
        forget_peak_memory()  # drawing the weights took more than the test does
        evaluate([Member(engine, tests[arguments.only])], images)
        print(peak_memory_here())
        return
    seconds: dict[str, list[float]] = {name: [] for name in tests}
    evaluate([Member(engine, tests["centre crop"])], images)  # warms up
    for _ in range(arguments.rounds):
        for name, protocols in tests.items():
            start = time.perf_counter()
            evaluate([Member(engine, protocols)], images)
            seconds[name].append((time.perf_counter() - start) / len(images))
    sizes = [images.source.size(number) for number in range(len(images))]
    architecture = engine.config.architecture
    work = {
        name: statistics.mean(multiply_adds(architecture, protocols, size) for size in sizes)
        for name, protocols in tests.items()
    }
    rows = [
        {
            "protocol": name,
            "seconds": statistics.median(seconds[name]),
            "giga_multiply_adds": work[name] / 1e9,
            "peak_megabytes": peak_memory(arguments, name),
        }
        for name in tests
    ]
    crops = next(row for row in rows if row["protocol"] == "multi-crop, three Q")
    for row in rows:
        row["measured_share"] = row["seconds"] / crops["seconds"]
        row["predicted_share"] = row["giga_multiply_adds"] / crops["giga_multiply_adds"]
    if arguments.json:
        print(json.dumps({"images": sizes, "threads": torch.get_num_threads(), "rows": rows}))
        return
    print(f"{arguments.configuration}, {len(sizes)} images, {torch.get_num_threads()} threads, float32")
    print("protocol                      s/image   G mult-adds   of multi-crop: measured  predicted   peak MB")
    for row in rows:
        print(
            f"{row['protocol']:27} {row['seconds']:11.2f} {row['giga_multiply_adds']:13.0f} "
            f"{row['measured_share']:26.3f} {row['predicted_share']:10.3f} {row['peak_megabytes']:9.0f}"
        )


if __name__ == "__main__":
    main()
