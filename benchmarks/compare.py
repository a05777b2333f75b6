"""`verydeep compare` beside the `lpips` package, on the same random VGG-16: agreement, two folders, all pairs.

    python benchmarks/compare.py agreement PHOTOGRAPHS [--count 200]
    python benchmarks/compare.py folders PHOTOGRAPHS [--count 500] [--repeat 3]
    python benchmarks/compare.py matrix PHOTOGRAPHS [--count 100] [--side 224] [--pairs 200] [--repeat 3]

agreement: photographs at their own sizes, each beside a changed copy of itself, by both in one process.
folders: the same pairs as two folders, each program in a process of its own, its start included. The package's is
a loop over the files, as its script for two folders is.
matrix: all pairs of photographs of one size. The package takes some pairs one by one, and its time for all of them
is extrapolated.
Times are medians of runs that take turns; the memory is the peak of the process.

`pip install --no-deps lpips` first.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ENDINGS = (".jpg", ".jpeg", ".png")


def make_weights(folder: Path) -> None:
    """VGG-16 with random weights: as a run folder, and as torchvision's state dict."""
    sys.path.insert(0, str(ROOT / "tests"))
    import torch
    from torchvision_peer import networks

    from verydeep.run_folder import ModelConfig, TrainedOn, write_model
    from verydeep.weights.published import PREPROCESSING

    theirs, ours = networks("D", batch_norm=False, width=1.0, with_fc=False)
    torch.save(theirs.state_dict(), folder / "vgg16.pth")
    config = ModelConfig(ours.architecture, PREPROCESSING["torchvision"], (), TrainedOn((256, 256)))
    write_model(folder / "vgg16", config, {name: tensor.numpy() for name, tensor in ours.state_dict().items()})


def make_pairs(photographs: Path, folder: Path, count: int) -> None:
    """Photographs at their own sizes in `a`, and a changed copy of each in `b`."""
    import numpy as np
    from PIL import Image, ImageFilter

    for number, path in enumerate(some(photographs, count)):
        one = Image.open(path).convert("RGB")
        if number % 3 == 0:
            file = io.BytesIO()
            one.save(file, "JPEG", quality=15)
            other = Image.open(file)
        elif number % 3 == 1:
            other = one.filter(ImageFilter.GaussianBlur(2))
        else:
            other = Image.fromarray(np.roll(np.array(one), 3, 1))
        for name, image in (("a", one), ("b", other)):
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"{number:05}.png")


def make_one_size(photographs: Path, folder: Path, count: int, side: int) -> None:
    """Photographs of one size."""
    from PIL import Image

    (folder / "all").mkdir()
    for number, path in enumerate(some(photographs, count)):
        Image.open(path).convert("RGB").resize((side, side)).save(folder / "all" / f"{number:05}.png")


def some(photographs: Path, count: int) -> list[Path]:
    paths = sorted(path for path in photographs.rglob("*") if path.suffix.lower() in ENDINGS)
    if len(paths) < count:
        raise SystemExit(f"{photographs} has {len(paths)} photographs, {count} are wanted")
    return paths[:: len(paths) // count][:count]


class Package:
    """The package's distance, on the random weights."""

    def __init__(self, weights: Path) -> None:
        from unittest.mock import patch

        import lpips
        import torch
        from torchvision.models import vgg16

        network = vgg16(weights=None)
        network.classifier = torch.nn.Sequential()
        network.load_state_dict(torch.load(weights, weights_only=True))
        with patch("torchvision.models.vgg16", lambda **options: network):
            self.loss = lpips.LPIPS(net="vgg", verbose=False)

    def distance(self, first: Path, second: Path) -> float:
        """Read two files and compare them."""
        import lpips
        import numpy as np
        import torch
        from PIL import Image

        images = [lpips.im2tensor(np.array(Image.open(path).convert("RGB"))) for path in (first, second)]
        with torch.no_grad():
            return float(self.loss(*images).item())


def package_folders(folder: Path) -> None:
    """Print the package's distance of each pair of two folders."""
    package = Package(folder / "vgg16.pth")
    for path in sorted((folder / "a").iterdir()):
        print(path.name, package.distance(path, folder / "b" / path.name), flush=True)


def package_pairs(folder: Path, count: int) -> None:
    """Print the seconds that the package takes for some pairs of one folder, without its start."""
    import random
    from itertools import combinations

    package = Package(folder / "vgg16.pth")
    pairs = random.Random(0).sample(list(combinations(sorted((folder / "all").iterdir()), 2)), count)
    package.distance(*pairs[0])
    start = time.perf_counter()
    for pair in pairs:
        package.distance(*pair)
    print(json.dumps(time.perf_counter() - start))


def agreement(folder: Path) -> None:
    """Compare the distances of all pairs."""
    import verydeep

    found = verydeep.compare(folder / "a", folder / "b", model=folder / "vgg16")
    assert found is not None
    package = Package(folder / "vgg16.pth")
    apart = [abs(package.distance(Path(first), Path(second)) - ours) for first, second, ours in found]
    sizes = len({size_of(Path(first)) for first, *_ in found})
    known = found.statistics
    print(
        f"{len(found)} pairs of photographs of {sizes} sizes, distances from {known['min']:.4f} to "
        f"{known['max']:.4f}: apart by {max(apart):.1e} at most, in the median {statistics.median(apart):.1e}"
    )


def size_of(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def run(*words: object) -> tuple[float, float, str]:
    """Seconds, peak memory in MB and output of a program that is started anew.

    This process imports nothing large: a child's peak counts what it was forked from.
    """
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen([sys.executable, *map(str, words)], stdout=output, cwd=ROOT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, words))} ended with exit code {process.returncode}")
        output.seek(0)
        return seconds, usage.ru_maxrss / 1024, output.read()


def folders(folder: Path, repeat: int) -> None:
    """Print times and memory of both programs."""
    ours, theirs = [], []
    for _ in range(repeat):
        words = ("-m", "verydeep", "compare", folder / "a", folder / "b", "--model", folder / "vgg16")
        ours.append(run(*words))
        theirs.append(run(__file__, "package-folders", folder))
    rows = list(csv.DictReader(ours[0][2].splitlines()))
    wanted = [float(line.split()[1]) for line in theirs[0][2].splitlines()]
    apart = max(abs(float(row["distance"]) - one) for row, one in zip(rows, wanted, strict=True))
    table([("`lpips`", theirs), ("verydeep", ours)])
    print(f"{len(rows)} pairs; distances apart by {apart:.1e} at most")


def matrix(folder: Path, count: int, repeat: int) -> None:
    """Print times and memory of both programs; the package's time is extrapolated."""
    ours, theirs = [], []
    total = len(list((folder / "all").iterdir()))
    pairs = total * (total - 1) // 2
    for _ in range(repeat):
        words = ("-m", "verydeep", "compare", folder / "all", "--all-pairs", "--model", folder / "vgg16")
        ours.append(run(*words))
        _, memory, output = run(__file__, "package-pairs", folder, "--pairs", count)
        theirs.append((json.loads(output) * pairs / count, memory, output))
    table([(f"`lpips`, extrapolated from {count} pairs", theirs), ("verydeep", ours)])
    print(f"{pairs} pairs of {total} images")


def table(rows: list[tuple[str, list[tuple[float, float, str]]]]) -> None:
    medians = [(name, *(statistics.median(one[i] for one in runs) for i in (0, 1))) for name, runs in rows]
    print("| | seconds | times as fast | peak memory, MB |\n|---|--:|--:|--:|")
    for name, seconds, memory in medians:
        print(f"| {name} | {seconds:.1f} | {medians[0][1] / seconds:.2f} | {memory:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("agreement", "folders", "matrix", *HIDDEN))
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--to", type=Path)
    options = parser.parse_args()
    if options.what in HIDDEN:
        HIDDEN[options.what](options)
        return
    count = options.count or {"agreement": 200, "folders": 500, "matrix": 100}[options.what]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kind = "make-all" if options.what == "matrix" else "make-pairs"
        words = ("--to", folder, "--count", count, "--side", options.side)
        run(__file__, "make-weights", options.photographs, *words)
        run(__file__, kind, options.photographs, *words)
        if options.what == "agreement":
            agreement(folder)
        elif options.what == "folders":
            folders(folder, options.repeat)
        else:
            matrix(folder, options.pairs, options.repeat)


HIDDEN: dict[str, Any] = {
    "make-weights": lambda options: make_weights(options.to),
    "make-pairs": lambda options: make_pairs(options.photographs, options.to, options.count),
    "make-all": lambda options: make_one_size(options.photographs, options.to, options.count, options.side),
    "package-folders": lambda options: package_folders(options.photographs),
    "package-pairs": lambda options: package_pairs(options.photographs, options.pairs),
}
"""What this script does in processes of their own."""

if __name__ == "__main__":
    main()
