"""Data with a training and a validation part -> data with a training, a validation and a test part.

    python benchmarks/hold_out.py DATA OUT [--images 5000] [--classes N] [--seed 0]

The validation part becomes the test part. So many images of the training part, as many of each class, are drawn
for validation. `--classes` keeps the first classes by name. Files are linked where the disk allows it.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np


def place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copyfile(source, target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = sorted(folder.name for folder in (given.data / "train").iterdir())[: given.classes]
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for number, name in enumerate(names):
        files = sorted(path for path in (given.data / "train" / name).rglob("*") if path.is_file())
        order = np.random.default_rng([given.seed, number]).permutation(len(files))
        held_out = set(order[: given.images // len(names)].tolist())
        parts = [("val" if n in held_out else "train", file) for n, file in enumerate(files)]
        parts += [("test", path) for path in sorted((given.data / "val" / name).rglob("*")) if path.is_file()]
        for part, file in parts:
            place(file, given.out / part / name / file.name)
            counts[part] += 1
    print(f"{given.out}: {len(names)} classes, {', '.join(f'{n:,} {part}' for part, n in counts.items())}")


if __name__ == "__main__":
    main()
