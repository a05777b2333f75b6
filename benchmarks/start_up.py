"""From the start of the process to the first answer: `verydeep predict` on one image, with a small network.

    python benchmarks/start_up.py [--rounds 21] [--json]

Each round starts Python alone, Python with NumPy, and the command with every engine that is installed, in turn.
Medians of wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.benchmark.task import random_model
from verydeep.configurations import Architecture
from verydeep.processor import native_module
from verydeep.run_folder import write_model


def commands(folder: Path) -> dict[str, list[str]]:
    write_model(folder / "model", *random_model(Architecture("D", 10, 0.1, 64)))
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    image = folder / "image.jpg"
    Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(image)
    predict = [sys.executable, "-m", "verydeep", "predict", str(folder / "model"), str(image)]
    found = {"python": [sys.executable, "-c", ""], "python, numpy": [sys.executable, "-c", "import numpy"]}
    if native_module():
        found["verydeep predict"] = predict
    if find_spec("torch"):
        found["verydeep predict --engine torch"] = [*predict, "--engine", "torch"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = commands(Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in found}
        for number in range(arguments.rounds + 1):
            for name, command in found.items():
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if number:  # the first round reads files that are not in memory yet
                    seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "seconds": medians}))
    else:
        for name, median in medians.items():
            print(f"{name:32} {median:.3f} s")


if __name__ == "__main__":
    main()
