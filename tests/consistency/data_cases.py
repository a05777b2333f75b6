"""Random data folders, read by us and by torchvision's `ImageFolder`."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
from outcomes import AGREE, REFUSED, Outcome, differ
from PIL import Image
from torchvision.datasets import ImageFolder

from verydeep.errors import DataError
from verydeep.evaluation.test_set import Training, choose
from verydeep.images.sources import open_data
from verydeep.run_folder import read_training_images, write_training_images

PARTS = {
    "train": ("train", "Train", "TRAINING", "training_set"),
    "val": ("val", "valid", "Validation", "dev"),
    "test": ("test", "Testing", "test-set"),
}
CLASSES = ("cat", "dog", "train", "été", "ねこ", "white shark, man-eater", "0", "new york", "val")
ENDINGS = {
    "JPEG": (".jpg", ".JPG", ".jpeg", ".jfif", "", ".jpg_large"),
    "PNG": (".png", ".Png", "", ".part2"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib.bmp"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".TIFF"),
    "PPM": (".ppm", ".pnm"),
}
OTHERS = {
    "notes.txt": b"a cat, asleep",
    "labels.json": b"[]",
    "page": b"<!DOCTYPE html><html></html>",
    "empty.dat": b"",
}
SYSTEM = ("@eaDir", "__MACOSX", ".thumbnails", "$RECYCLE.BIN", "#recycle")


def write_image(random: np.random.Generator, folder: Path, number: int) -> None:
    kind = str(random.choice(list(ENDINGS)))
    ending = str(random.choice(ENDINGS[kind]))
    pixels = random.integers(0, 256, (int(random.integers(4, 12)), int(random.integers(4, 12)), 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f"{number}{ending}", format=kind)


def fill(random: np.random.Generator, folder: Path, elsewhere: Path) -> None:
    """Put images into a class folder, and much of what else people have there."""
    folder.mkdir(parents=True)
    for number in range(int(random.integers(1, 4))):
        write_image(random, folder, number)
    for name in (*SYSTEM, "deeper", "0.jpg"):
        if random.random() < 0.12 and not (folder / name).exists():
            (folder / name).mkdir()
            write_image(random, folder / name, 7)
    for name, content in OTHERS.items():
        if random.random() < 0.12:
            (folder / name).write_bytes(content)
    if random.random() < 0.1:
        (folder / "._0.jpg").write_bytes(b"x")
    if random.random() < 0.15:
        real = elsewhere / hashlib.sha256(str(folder).encode()).hexdigest()[:8]
        real.mkdir(parents=True)
        write_image(random, real, 9)
        (folder / "linked").symlink_to(real)


def make(random: np.random.Generator, root: Path) -> list[Path]:
    """Make a data folder; gives the folders with class folders in them."""
    names = random.choice(CLASSES, size=int(random.integers(2, 5)), replace=False).tolist()
    parts = [Path()]
    if random.random() < 0.6:
        kinds = [kind for kind in PARTS if kind == "train" or random.random() < 0.6]
        parts = [Path(str(random.choice(PARTS[kind]))) for kind in kinds]
    for part in parts:
        for name in names:
            if part == parts[0] or random.random() < 0.9:
                fill(random, root / part / name, root.parent / "elsewhere")
        if not (root / part).exists():
            fill(random, root / part / names[0], root.parent / "elsewhere")
    return [root / part for part in parts]


def is_image(path: str) -> bool:
    """What `ImageFolder` is to take for an image: what Pillow opens, outside of hidden and system folders."""
    if any(part.startswith(".") or part in SYSTEM for part in Path(path).parts[-4:]):
        return False
    try:
        with Image.open(path) as image:
            image.verify()
    except Exception:
        return False
    return True


def by_torchvision(root: Path, part: Path) -> dict[str, str]:
    """Each image's name and class."""
    found = ImageFolder(str(part), is_valid_file=is_image, allow_empty=True)
    return {os.path.relpath(path, root): found.classes[label] for path, label in found.samples}


def layout_case(random: np.random.Generator, folder: Path) -> Outcome:
    """Which images there are, in which part, of which class."""
    root = folder / "data"
    folders = make(random, root)
    expected = [by_torchvision(root, part) for part in folders]
    try:
        data = open_data(str(root))
    except DataError as error:
        return Outcome(REFUSED, str(error))
    seen = [
        {name: part.class_names[label] for name, label in zip(part.names, part.labels.tolist(), strict=True)}
        for part in data.parts.values()
    ]
    if seen != expected:
        return differ(f"{seen} where ImageFolder has {expected}")
    for number, path in enumerate(data.all.source.paths):
        with Image.open(path) as image:
            if data.all.source.size(number) != image.size:
                return differ(f"{path} is {image.size}, not {data.all.source.size(number)}")
    return Outcome(AGREE)


def tested_case(random: np.random.Generator, folder: Path) -> Outcome:
    """Which images a model is tested on: those whose bytes are not among its training images."""
    root, run = folder / "data", folder / "run"
    folders = make(random, root)
    try:
        data = open_data(str(root))
        everything = data.all
        trained = random.random(len(everything)) < 0.4
        hashes = everything.select(np.flatnonzero(trained).tolist()).source.hashes(lambda count: None)
        write_training_images(run, hashes)
        known = {path.read_bytes() for path, used in zip(everything.source.paths, trained, strict=True) if used}
        if random.random() < 0.5:  # under another name, and a new one
            source = everything.source.paths[0]
            shutil.copy(source, source.with_name("copy.jpg"))
            write_image(random, source.parent, 99)
            data = open_data(str(root))
        chosen = choose(data, "auto", [Training(read_training_images(run), frozenset())]).of(data)
    except DataError as error:
        return Outcome(REFUSED, str(error))
    kinds = list(data.parts)
    part = folders[kinds.index("test" if "test" in kinds else "val" if "val" in kinds else "train")]
    wanted = {name for name in by_torchvision(root, part) if (root / name).read_bytes() not in known}
    if set(chosen.names) != wanted:
        return differ(f"tested {sorted(chosen.names)}, not {sorted(wanted)}")
    return Outcome(AGREE)
