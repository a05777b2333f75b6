"""Folders on disk -> a data set: which folders are parts, which are classes.

    DATA/<class>/**                         undivided
    DATA/train/<class>/**                   parts: train, val and test, any of them, in any usual spelling
    DATA/val/<class>/**
    DATA/test/<class>/**                    without class folders it has no labels, and is not used
    DATA/train/<class>/**                   ImageNet's; also below DATA/ILSVRC/Data/CLS-LOC
    DATA/val/*                              labels in DATA/LOC_val_solution.csv, or DATA/val.txt with class numbers

Folders are parts only if all of them are called like parts, so that a class may be called `train`. A folder that
can be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from verydeep.errors import DataError, as_text, few
from verydeep.images.data import PARTS, UNDIVIDED, Data, Part
from verydeep.images.image_set import Files, ImageSet
from verydeep.images.imagenet import validation_classes
from verydeep.images.listing import Listing, Skipped, list_images
from verydeep.images.names import case_hint, numbers_of
from verydeep.images.storage import is_local, local_path

SPELLINGS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of parts, in lower case; `_set`, `-data` and the like may follow."""

IMAGENET = Path("ILSVRC", "Data", "CLS-LOC")
_LIKE_A_PART = re.compile(rf"({'|'.join(SPELLINGS)}|eval|evaluation|holdout|fold|split|part)[ _-]?\d*$")
_SUFFIX = re.compile(r"[ _-]?(set|data|split|images)$")


def recognizes(location: str) -> bool:
    """Whether it is a folder on this machine."""
    return is_local(location) and local_path(location).is_dir()


def open_data(location: str) -> Data:
    """Open a data set of folders.

    Raises:
        DataError: its layout is none that is read, or can be read in two ways; or a folder cannot be read.

    """
    root, skipped = local_path(location), Skipped()
    parted = root / IMAGENET
    listing = list_images(parted if parted.is_dir() else root, skipped)
    folders = [folder for folder in listing.folders if folder.every_image or _part_of(folder.path.name)]
    names = [_part_of(folder.path.name) for folder in folders]
    if folders and None not in names and len(set(names)) == len(names):
        parts = {name: folder for name, folder in zip(names, folders, strict=True) if name}
        return _parts(root, listing, parts, skipped)
    _refuse_parts_beside_others(listing, folders)
    return Data({"train": _class_folders(root, listing, None, skipped)}, UNDIVIDED, skipped=str(skipped))


def _part_of(name: str) -> Part | None:
    return SPELLINGS.get(_SUFFIX.sub("", name.lower()))


def _parts(root: Path, listing: Listing, folders: dict[Part, Listing], skipped: Skipped) -> Data:
    labelled = [part for part in PARTS if part in folders and folders[part].folders]
    for folder in folders.values():
        _refuse_tars(folder)
    if not labelled or ("train" in folders and "train" not in labelled):
        flat = [folder for part, folder in folders.items() if part not in labelled]
        raise DataError(
            f"{listing.path} has {_and(map(_name, flat))} with images and no class folders in them, so the "
            "classes are unknown; put each class's images in a folder with the class's name"
        )
    for folder in listing.folders:
        if not folder.every_image and folder in folders.values():
            raise DataError(f"{folder.path} holds no images; fill it or remove it")
        if not folder.every_image:
            skipped.add("folder without images", folder.path)
    first, *others = labelled
    _refuse_one_folder(folders[first])
    whose = "its own"
    found = {first: _class_folders(root, folders[first], None, skipped)}
    class_names = found[first].class_names
    found |= {part: _class_folders(root, folders[part], class_names, skipped) for part in others}
    if "val" in folders and "val" not in found:
        found["val"] = _flat_validation(root, folders["val"], class_names)
        whose = "ImageNet's"
    for path in listing.images:
        skipped.add("image beside the parts", path)
    for part, folder in folders.items():
        if part not in found:
            for path in folder.images:
                skipped.add(f"unlabelled image of {_name(folder)}", path)
    ordered = {part: found[part] for part in PARTS if part in found}
    return Data(ordered, f"{whose} {_and(_name(folders[part]) for part in ordered)}", skipped=str(skipped))


def _name(folder: Listing) -> str:
    return f"{folder.path.name}/"


def _and(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _class_folders(
    root: Path, listing: Listing, class_names: tuple[str, ...] | None, skipped: Skipped
) -> ImageSet:
    """Images of the class folders of one folder; names are relative to `root`.

    Args:
        root: the data folder.
        listing: of the folder with the class folders.
        class_names: of the part that the classes are numbered by; None numbers them here.
        skipped: gets the images that lie beside the class folders.

    """
    _check_classes(listing)
    _refuse_another_level(listing)
    for path in listing.images:
        skipped.add("image beside the class folders", path)
    found = tuple(as_text(folder.path.name) for folder in listing.folders)
    numbers_of(found, found, str(listing.path))  # no two of them may be the same
    names = class_names or found
    folder_labels = numbers_of(found, names, str(listing.path))
    unknown = [name for name, label in zip(found, folder_labels, strict=True) if label is None]
    if unknown:
        hint = case_hint(unknown, names)
        raise DataError(f"{listing.path} has classes that the training part lacks: {few(unknown)}{hint}")
    paths: list[Path] = []
    labels: list[int | None] = []
    for label, folder in zip(folder_labels, listing.folders, strict=True):
        inside = folder.every_image
        paths += inside
        labels += [label] * len(inside)
    relative = tuple(as_text(path.relative_to(root).as_posix()) for path in paths)
    return ImageSet(relative, np.array(labels, dtype=np.int64), names, Files(tuple(paths)))


def _refuse_tars(listing: Listing) -> None:
    if not listing.folders and any(listing.path.glob("*.tar")):
        raise DataError(
            f"{listing.path} has tar files without shards.json, which `verydeep shard` writes last; unpack them "
            "into a folder for each class, and pack these with `verydeep shard` if they are too many"
        )


def _check_classes(listing: Listing) -> None:
    _refuse_tars(listing)
    if not listing.folders:
        raise DataError(
            f"{listing.path} has no class folders; put each class's images in a folder with the class's name"
        )
    for folder in listing.folders:
        if not folder.every_image:
            raise DataError(f"class folder {folder.path} holds no images; fill it or remove it")


def _refuse_another_level(listing: Listing) -> None:
    """Refuse folders that all hold the same folders: these are the classes rather, and the outer ones parts."""
    folders = listing.folders
    inner = [_innermost(folder) for folder in folders]
    most = max(inner, key=len, default=set())
    # One inner folder alone, such as `images/` in every class, can be no set of classes.
    if len(folders) < 2 or len(most) < 2 or any(folder.images for folder in folders):
        return
    # Parts may lack some of the classes, and are then known by their names.
    like_parts = any(_LIKE_A_PART.match(folder.path.name.lower()) for folder in folders)
    if any(names != most if not like_parts else not names <= most for names in inner):
        return
    outer, classes = few([folder.path.name for folder in folders], 3), few(sorted(most), 3)
    raise DataError(
        f"{listing.path} has the folders {outer}, which all hold the folders {classes}: probably {classes} are "
        f"the classes, and {outer} are parts. Call the parts train, val and test, or give one of them as the "
        f"data. If {outer} are the classes, put their images directly into them"
    )


def _refuse_one_folder(part: Listing) -> None:
    """Refuse a part with one folder that holds the classes: they lie one level too deep."""
    folder, *others = part.folders
    if not others and not folder.images and len(folder.folders) > 1:
        classes = few([inside.path.name for inside in folder.folders], 3)
        raise DataError(
            f"{part.path} has the one folder {folder.path.name!r}, which holds the folders {classes}: probably "
            f"these are the classes; move them up into {part.path}"
        )


def _innermost(folder: Listing) -> set[str]:
    """Names of the folders in it that hold images."""
    return {inside.path.name for inside in folder.every_folder if inside.images}


def _refuse_parts_beside_others(listing: Listing, folders: list[Listing]) -> None:
    """Refuse parts with classes in them beside folders that are none, unless there is one class in each."""
    parts = [folder for folder in folders if _part_of(folder.path.name) and _holds_classes(folder)]
    others = [folder for folder in folders if folder not in parts]
    if not parts:
        return
    them, rest = _and(map(_name, parts)), _and(map(_name, others)) if others else "another part of the same name"
    raise DataError(
        f"{listing.path} has {them} with class folders, and beside them {rest}: keep one folder for each part, "
        f"and move the others elsewhere. If {them} {'is a class' if len(parts) == 1 else 'are classes'}, put the "
        "images directly into the folder"
    )


def _holds_classes(folder: Listing) -> bool:
    return not folder.images and len(_innermost(folder)) > 1


def _flat_validation(root: Path, folder: Listing, class_names: tuple[str, ...]) -> ImageSet:
    """ImageNet's validation images, which lie in one folder, by the list of labels beside them."""
    label_of = {name: number for number, name in enumerate(class_names)}
    listed = validation_classes(root, folder.path, class_names)
    for path in folder.images:
        name = listed.get(path.stem)
        if name is None:
            raise DataError(f"{folder.path}: its list of labels has no class for {path.name}; give the whole list")
        if name not in label_of:
            raise DataError(
                f"{folder.path}: {path.name} is of the class {name}, which the training part lacks; give the "
                "folder with all classes, or move the images of others away"
            )
    labels = np.array([label_of[listed[path.stem]] for path in folder.images], dtype=np.int64)
    names = tuple(as_text(path.relative_to(root).as_posix()) for path in folder.images)
    return ImageSet(names, labels, class_names, Files(tuple(folder.images)))
