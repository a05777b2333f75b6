"""Archives as their makers publish them -> the folders of images that the figures in docs/results are of.

    python benchmarks/prepare_data.py cifar10 cifar-10-binary.tar.gz CIFAR10 [--png]
    python benchmarks/prepare_data.py tiny-imagenet tiny-imagenet-200.zip TINY-IMAGENET
    python benchmarks/prepare_data.py caltech50 caltech-101.zip CALTECH50

OUT gets train/CLASS/ and val/CLASS/. CIFAR-10's images become JPEG files of quality 75, whose colours have half
the resolution: the figures are of such files. `--png` keeps every pixel. Images are numbered within their class,
in the order of the archive. Caltech's 50 classes have at most 120 photographs each, a quarter of them in val/:
caltech50.json names them; its archive may also be 101_ObjectCategories.tar.gz. OUT appears when all is there.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from verydeep.errors import UsageError
from verydeep.run_folder import refuse_existing

Members = Iterator[tuple[PurePosixPath, bytes]]
Images = Iterator[tuple[str, bytes]]
"""Paths within OUT, and what the files hold."""

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE  # a label, then the red, the green and the blue plane
CALTECH = Path(__file__).with_name("caltech50.json")


def members(archive: Path) -> Members:
    """Files of a zip or tar archive, in its order; of Caltech's archive within a zip archive, what that holds.

    Raises:
        ValueError: it is neither, or damaged.

    """
    try:
        if not zipfile.is_zipfile(archive):
            with tarfile.open(archive) as files:
                yield from _of_tar(files)
            return
        with zipfile.ZipFile(archive) as outer:
            for entry in outer.infolist():
                if entry.filename.endswith("101_ObjectCategories.tar.gz"):
                    with outer.open(entry) as inner, tarfile.open(fileobj=inner, mode="r|*") as files:
                        yield from _of_tar(files)
                elif not entry.is_dir():
                    yield PurePosixPath(entry.filename), outer.read(entry)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"it is no archive, or damaged ({error})") from None


def _of_tar(files: tarfile.TarFile) -> Members:
    for entry in files:
        file = files.extractfile(entry)
        if file is not None:
            yield PurePosixPath(entry.name), file.read()


def cifar10(archive: Path, *, png: bool = False) -> Images:
    """CIFAR-10's "binary version": batches of records, and a file with the names of the classes."""
    batches: dict[str, bytes] = {}
    names: list[str] = []
    for path, content in members(archive):
        if path.name == "batches.meta.txt":
            names = content.decode().split()
        elif path.suffix == ".bin":
            batches[path.stem] = content
    counts: Counter[str] = Counter()
    for batch in sorted(batches):  # data_batch_1 to data_batch_5, then test_batch
        part = "val" if batch == "test_batch" else "train"
        records = np.frombuffer(batches[batch], np.uint8)
        if len(records) % RECORD or not names:
            raise ValueError(f"{batch} has no records of {RECORD} bytes, or batches.meta.txt is missing")
        if records[::RECORD].max(initial=0) >= len(names):
            raise ValueError(f"{batch} has a label that batches.meta.txt does not name")
        for record in records.reshape(-1, RECORD):
            pixels = np.ascontiguousarray(record[1:].reshape(3, SIDE, SIDE).transpose(1, 2, 0))
            folder, file = f"{part}/{names[record[0]]}", io.BytesIO()
            if png:
                Image.fromarray(pixels).save(file, "PNG")
            else:
                Image.fromarray(pixels).save(file, "JPEG", quality=75, subsampling="4:2:0")
            yield f"{folder}/{counts[folder]:04d}.{'png' if png else 'jpg'}", file.getvalue()
            counts[folder] += 1


def tiny_imagenet(archive: Path) -> Images:
    """Tiny-ImageNet's zip: train/CLASS/images/, and val/images/ with a table of their classes."""
    later: dict[str, bytes] = {}
    classes: dict[str, str] = {}
    for path, content in members(archive):
        if path.name == "val_annotations.txt":
            lines = content.decode().splitlines()
            classes = {file: kind for file, kind, *_ in (line.split("\t") for line in lines)}
        elif path.suffix == ".JPEG" and "train" in path.parts:
            yield f"train/{path.name.partition('_')[0]}/{path.name}", content
        elif path.suffix == ".JPEG" and "val" in path.parts:
            later[path.name] = content
    for name, content in later.items():
        if name not in classes:
            raise ValueError(f"val_annotations.txt does not tell the class of {name}")
        yield f"val/{classes[name]}/{name}", content


def caltech50(archive: Path) -> Images:
    """Caltech-101's photographs of caltech50.json."""
    wanted = {
        (kind, f"image_{number:04d}.jpg"): part
        for kind, parts in json.loads(CALTECH.read_text()).items()
        for part, numbers in parts.items()
        for number in numbers
    }
    for path, content in members(archive):
        part = wanted.get((path.parent.name, path.name))
        if part:
            yield f"{part}/{path.parent.name}/{path.name}", content


READERS: dict[str, tuple[Callable[..., Images], int, int]] = {
    "cifar10": (cifar10, 50_000, 10_000),
    "tiny-imagenet": (tiny_imagenet, 100_000, 10_000),
    "caltech50": (caltech50, 2_483, 799),
}
"""Of each data set: what reads it, and how many images train/ and val/ must have."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=READERS)
    parser.add_argument("archive", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--png", action="store_true", help="of CIFAR-10: keep every pixel")
    given = parser.parse_args()
    if given.png and given.data != "cifar10":
        parser.error("--png is for cifar10; the images of the others are JPEG files already")
    try:
        refuse_existing(given.out)
    except UsageError as error:
        parser.error(str(error))
    read, *wanted = READERS[given.data]
    aside = given.out.resolve().with_name(f".{given.out.name}.part")
    shutil.rmtree(aside, ignore_errors=True)  # of a run that was interrupted
    counts = Counter(train=0, val=0)
    try:
        for name, content in read(given.archive, **({"png": True} if given.png else {})):
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            counts[name.partition("/")[0]] += 1
        if [counts["train"], counts["val"]] != wanted:
            raise ValueError(
                f"it has {counts['train']:,} training and {counts['val']:,} test images, not {wanted[0]:,} and "
                f"{wanted[1]:,}; is it the archive that the help names?"
            )
        aside.rename(given.out)
    except (OSError, ValueError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise SystemExit(f"{given.archive}: {error}") from None
    print(f"{given.out}: {counts['train']:,} training and {counts['val']:,} test images")


if __name__ == "__main__":
    main()
