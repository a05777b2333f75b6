"""Labelled pictures, from wherever they are: class folders, ImageNet's layout, shards, the embedded digits."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import DataError, as_text, require
from verydeep.images import decode
from verydeep.images.folders import is_local, local_path
from verydeep.images.names import case_hint, nfc, numbers_of
from verydeep.images.pictures import Arrays, Data, Files, Pictures, few
from verydeep.images.shards import MANIFEST, UNFINISHED, Index, Part, Shards, StoredNames, open_index
from verydeep.images.unlabelled import is_picture, pictures_in

EMBEDDED = ("digits",)
HELD_OUT = 0.2  # share of each class that is held out where the data comes without a validation part
SPLIT_SEED = 0  # of that split: the same for every run, so that their figures can be compared
AGAIN = "the pictures that the model's training held out"
AT_RANDOM = f"a fifth of each class held out at random, seed {SPLIT_SEED}"


def open_data(data: str, held_out: frozenset[str] = frozenset()) -> Data:
    """Open a data set.

    Args:
        data: `digits`, or a folder: with `train/<class>/` and `val/<class>/`; with `<class>/` alone, of which a
            fifth of each class is held out; or ImageNet's, whose `val/` has no class folders but a list of labels
            beside it (`LOC_val_solution.csv`, or `val.txt` with the number of the class); or the folder of what
            `verydeep shard` has made of any of these, or its URL, such as `s3://bucket/folder`.
        held_out: names of the pictures that a model's training held out, for data without a validation part of its
            own: they are held out again, and no other.

    Raises:
        DataError: there is no such folder, or it has none of these layouts.

    """
    held_out = frozenset(map(nfc, held_out))
    if data in EMBEDDED:
        return _digits()
    if not is_local(data):
        return _shards(data, held_out)
    root = local_path(data)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"data folder {data} {what}; give a folder with a folder of pictures for each class, or 'digits'"
        )
    if (root / MANIFEST).is_file():
        return _shards(data, held_out)
    if (root / UNFINISHED).is_dir():
        raise DataError(
            f"{data} is what an interrupted `verydeep shard` has left; go on with it by the same command"
        )
    imagenet = root / "ILSVRC" / "Data" / "CLS-LOC"
    parted = imagenet if imagenet.is_dir() else root
    if (parted / "train").is_dir() and (parted / "val").is_dir():
        return _parted(root, parted)
    if any((parted / name).is_dir() for name in ("train", "val")) and not _has_class_beside_parts(parted):
        missing = "val" if (parted / "train").is_dir() else "train"
        raise DataError(
            f"{parted} has {'train' if missing == 'val' else 'val'}/ but no {missing}/; give both, or a folder "
            "with class folders alone, of which a fifth is then held out"
        )
    pictures = _class_folders(root, root)
    if held_out.isdisjoint(map(nfc, pictures.names)):
        return _held_out(pictures)
    return _held_out_again(pictures, held_out)


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _has_class_beside_parts(root: Path) -> bool:
    return any(folder.name not in ("train", "val", "test") for folder in _folders(root))


def _class_folders(root: Path, folder: Path, class_names: tuple[str, ...] | None = None) -> Pictures:
    """Read `folder/<class>/**`; names are relative to `root`."""
    folders = _folders(folder)
    if not folders and any(folder.glob("*.tar")):
        raise DataError(
            f"{folder} has tar files without {MANIFEST}: shards that `verydeep shard` did not make or finish; "
            "unpack them into a folder for each class, and pack these by `verydeep shard` if they are too many"
        )
    if not folders:
        raise DataError(
            f"{folder} has no class folders; put each class's pictures in a folder with the class's name"
        )
    found = tuple(as_text(path.name) for path in folders)
    names = class_names or found
    folder_labels = numbers_of(found, names, str(folder))
    unknown = [name for name, label in zip(found, folder_labels, strict=True) if label is None]
    if unknown:
        raise DataError(
            f"{folder} has classes that the training part lacks: {few(unknown)}{case_hint(unknown, names)}"
        )
    paths: list[Path] = []
    labels: list[int | None] = []
    for path, label in zip(folders, folder_labels, strict=True):
        inside = pictures_in(path)
        if not inside:
            raise DataError(
                f"class folder {path} holds no pictures ({', '.join(sorted(decode.EXTENSIONS))}); "
                "fill it or remove it"
            )
        paths += inside
        labels += [label] * len(inside)
    relative = tuple(as_text(path.relative_to(root).as_posix()) for path in paths)
    return Pictures(relative, np.array(labels, dtype=np.int64), names, Files(tuple(paths)))


def _parted(root: Path, parted: Path) -> Data:
    train = _class_folders(root, parted / "train")
    if _folders(parted / "val"):
        held_out = _class_folders(root, parted / "val", train.class_names)
        return Data(train, held_out, "the data's own train/ and val/")
    return Data(train, _flat_validation(root, parted, train.class_names), "ImageNet's train/ and val/")


def _flat_validation(root: Path, parted: Path, class_names: tuple[str, ...]) -> Pictures:
    """Read ImageNet's validation pictures, which lie in one folder, by the list of labels beside them."""
    label_of = {name: number for number, name in enumerate(class_names)}
    listed: dict[str, str] = {}
    csv_file, text_file = root / "LOC_val_solution.csv", root / "val.txt"
    if csv_file.is_file():
        try:
            with csv_file.open(newline="", encoding="utf-8-sig") as lines:
                for row in csv.DictReader(lines):
                    listed[row["ImageId"]] = row["PredictionString"].split()[0]
        except (KeyError, IndexError, AttributeError, ValueError):
            raise DataError(
                f"{csv_file} is not the list of labels that ImageNet comes with: it wants the columns ImageId and "
                "PredictionString, whose first word is the class folder's name"
            ) from None
    elif text_file.is_file():
        for line in text_file.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, number = line.rpartition(" ")
            if not number.isdigit() or int(number) >= len(class_names):
                raise DataError(f"{text_file} has the line {line!r}; each wants a file name and a class number")
            listed[Path(name).stem] = class_names[int(number)]
    else:
        raise DataError(
            f"{parted / 'val'} has no class folders, and no list of labels lies beside it: sort the pictures "
            f"into class folders, or put LOC_val_solution.csv or val.txt into {root}"
        )
    paths = sorted(path for path in (parted / "val").iterdir() if is_picture(path))
    unknown = [path.name for path in paths if listed.get(path.stem) not in label_of]
    if unknown or not paths:
        what = f"no label for {unknown[0]}" if unknown else "no pictures"
        raise DataError(f"{parted / 'val'}: {what}; its list of labels has to name every picture's class")
    labels = np.array([label_of[listed[path.stem]] for path in paths], dtype=np.int64)
    names = tuple(as_text(path.relative_to(root).as_posix()) for path in paths)
    return Pictures(names, labels, class_names, Files(tuple(paths)))


def _shards(location: str, held_out: frozenset[str]) -> Data:
    index = open_index(location)
    manifest = index.manifest
    first, count = manifest.train.num_pictures, len(index.labels)
    train = _part_of(index, range(first), manifest.train)
    val = _part_of(index, range(first, count), manifest.val)
    data = Data(train, val, manifest.split)
    if manifest.split != AT_RANDOM or not held_out:
        return data
    if held_out == frozenset(map(nfc, val.names)):
        return replace(data, split=AGAIN)
    # A run on the folder that these were made of, when it had other pictures, may have held out others.
    names = data.all.names
    if held_out.isdisjoint(map(nfc, names)):
        return data
    order = sorted(range(count), key=lambda number: names[number].split("/"))  # the folder's
    return _held_out_again(data.all.select(order), held_out)


def _part_of(index: Index, numbers: range, part: Part) -> Pictures:
    return Pictures(
        StoredNames(index, numbers),
        index.labels[numbers.start : numbers.stop],
        index.manifest.class_names,
        Shards(index, numbers),
        part.fingerprint,
    )


def _held_out(pictures: Pictures) -> Data:
    """Hold out a fifth of each class, at least one picture, the same ones every time."""
    train: list[int] = []
    held_out: list[int] = []
    for label, name in enumerate(pictures.class_names):
        members = np.flatnonzero(pictures.labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {name!r} has one picture; it takes two, one to train on and one to hold out for testing"
            )
        # Each class has random numbers of its own, so that another class does not change this one's split.
        random = np.random.default_rng([SPLIT_SEED, *hashlib.sha256(nfc(name).encode()).digest()])
        members = random.permutation(members)
        num_held_out = max(1, round(HELD_OUT * len(members)))
        held_out += members[:num_held_out].tolist()
        train += members[num_held_out:].tolist()
    return Data(
        pictures.select(sorted(train)),
        pictures.select(sorted(held_out)),
        AT_RANDOM,
    )


def _held_out_again(pictures: Pictures, held_out: frozenset[str]) -> Data:
    parts: tuple[list[int], list[int]] = [], []
    for number, name in enumerate(pictures.names):
        parts[nfc(name) in held_out].append(number)
    return Data(
        pictures.select(parts[0]),
        pictures.select(parts[1]),
        AGAIN,
    )


def _digits() -> Data:
    """Scikit-learn's 1,797 handwritten digits of 8x8 pixels and 17 levels (UCI ML repository, CC BY 4.0)."""
    rows = _rows_of_digits()
    levels = np.round(rows[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    arrays = tuple(np.repeat(image[:, :, None], 3, axis=2) for image in levels)
    names = tuple(f"digits/{number:04d}" for number in range(len(arrays)))
    pictures = Pictures(names, rows[:, -1].astype(np.int64), tuple("0123456789"), Arrays(arrays))
    return _held_out(pictures)


def _rows_of_digits() -> NDArray[np.float64]:
    """64 levels and the digit, a row for each picture, from the file that scikit-learn brings along."""
    require("sklearn", "train", "the embedded data set 'digits'")
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():  # the library itself takes longer to import than all pictures to be classified
            return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    digits = load_digits()
    return np.column_stack([digits.data, digits.target])
