"""Data with a training and a validation part -> data with a training, a validation and a test part.

    python benchmarks/hold_out.py DATA OUT [--images 5000] [--classes N] [--seed 0]

The validation part becomes the test part. So many images of the training part, as many of each class, are drawn
for validation. `--classes` keeps the first classes by name. Hidden files are left out. Files are linked where
the disk allows it, and keep their place within the class folder. OUT appears when all of it is there; an
interrupted run can be repeated.
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
    """Files in a class folder and the folders within, in the order of their paths; hidden ones are left out."""
    seen = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in seen if not any(part[0] == "." for part in path.relative_to(folder).parts))


def classes_of(part: Path) -> list[str]:
    """Names of the class folders of a part."""
    return sorted(path.name for path in part.glob("[!.]*") if path.is_dir())


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
    if given.classes is not None and given.classes < 1:
        parser.error(f"--classes is {given.classes}; it must be at least 1")
    names = classes_of(given.data / "train")[: given.classes]
    if not names or not (given.data / "val").is_dir():
        parser.error(f"{given.data} needs train/ and val/, each with a folder of images for each class")
    if missing := sorted(set(names) - set(classes_of(given.data / "val"))):
        parser.error(f"{given.data / 'val'} has no folder {missing[0]}, which {given.data / 'train'} has")
    files = {name: files_of(given.data / "train" / name) for name in names}
    each, fewest = given.images // len(names), min(names, key=lambda name: len(files[name]))
    if not 1 <= each < len(files[fewest]):
        parser.error(
            f"--images is {given.images}, {each} of each of {len(names)} classes; it must be at least 1 of each, "
            f"and less than the {len(files[fewest])} that {fewest} has"
        )
    out = given.out.resolve()
    aside = out.with_name(f".{out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was interrupted
    aside.mkdir(parents=True)
    counts = dict.fromkeys(("train", "val", "test"), 0)
    for number, name in enumerate(names):
        folder, tests = given.data / "train" / name, given.data / "val" / name
        order = np.random.default_rng([given.seed, number]).permutation(len(files[name]))
        held_out = set(order[:each].tolist())
        parts = [("val" if n in held_out else "train", file, folder) for n, file in enumerate(files[name])]
        parts += [("test", file, tests) for file in files_of(tests)]
        for part, file, root in parts:
            place(file, aside / part / name / file.relative_to(root))
            counts[part] += 1
    aside.rename(out)
    print(f"{given.out}: {len(names)} classes, {', '.join(f'{n:,} {part}' for part, n in counts.items())}")


if __name__ == "__main__":
    main()
