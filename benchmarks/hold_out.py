"""Data with a training and a validation part -> data with a training, a validation and a test part.

    python benchmarks/hold_out.py DATA OUT [--images 5000] [--classes N] [--seed 0]

The validation part becomes the test part. So many images of the training part, as many of each class, are drawn
for validation. `--classes` keeps the first classes by name. Files are linked where the disk allows it, and keep
their place within the class folder. OUT appears when all of it is there; an interrupted run can be repeated.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
from pathlib import Path

import numpy as np

from verydeep.errors import UsageError
from verydeep.images.sources import refuse_inside
from verydeep.run_folder import refuse_existing

NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)
"""Errors by which a disk says that it cannot link a file, which is then copied."""


def place(source: Path, target: Path) -> None:
    """Link a file, or copy it where it cannot be linked.

    Raises:
        OSError: the target exists, or cannot be written; a file that is there is never written to.

    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        with source.open("rb") as original, target.open("xb") as copy:
            shutil.copyfileobj(original, copy)


def files_of(folder: Path) -> list[Path]:
    """Files in a class folder and the folders within, in the order of their paths."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        refuse_existing(given.out)
        refuse_inside(given.out, str(given.data))
    except UsageError as error:
        parser.error(str(error))
    names = sorted(folder.name for folder in (given.data / "train").glob("*"))[: given.classes]
    if not names or not (given.data / "val").is_dir():
        parser.error(f"{given.data} needs train/ and val/, each with a folder of images for each class")
    out = given.out.resolve()
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was interrupted
    aside.mkdir(parents=True)
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for number, name in enumerate(names):
        folder, tests = given.data / "train" / name, given.data / "val" / name
        files = files_of(folder)
        order = np.random.default_rng([given.seed, number]).permutation(len(files))
        held_out = set(order[: given.images // len(names)].tolist())
        parts = [("val" if n in held_out else "train", file, folder) for n, file in enumerate(files)]
        parts += [("test", file, tests) for file in files_of(tests)]
        for part, file, root in parts:
            place(file, aside / part / name / file.relative_to(root))
            counts[part] += 1
    aside.rename(out)
    print(f"{given.out}: {len(names)} classes, {', '.join(f'{n:,} {part}' for part, n in counts.items())}")


if __name__ == "__main__":
    main()
