"""The images that a run has held out, and those that it was trained on: by them a test knows what it may test."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.array_files import write_array
from verydeep.errors import ModelError, printable, refusal
from verydeep.files import parse_json, read_json, write_json, write_whole
from verydeep.run_folder.contents import MOST_SPLIT_BYTES, SPLIT, TRAINING_IMAGES, TRAINING_NAMES, folder_of
from verydeep.typed import as_type


def read_split(model: Path) -> frozenset[str]:
    """Names of the images that the model's training held out; empty where it recorded none.

    Raises:
        ModelError: the file is damaged.

    """
    path = folder_of(model) / SPLIT
    if not path.is_file():
        return frozenset()
    try:
        fields = as_type(dict[str, Any], read_json(path, MOST_SPLIT_BYTES))
        return frozenset(as_type(tuple[str, ...], fields.get("held_out"), "held_out"))
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} does not list the images that were held out: {printable(error)}") from None


def write_split(run: Path, origin: str, held_out: Iterable[str]) -> None:
    """Keep the names of the images that a run holds out, and how they were chosen, a phrase."""
    write_json(run / SPLIT, {"split": origin, "held_out": list(held_out)})


def read_training_images(model: Path) -> NDArray[np.uint64] | None:
    """Hashes of the images that a model was trained on; None where it did not keep them.

    Raises:
        ModelError: the file is damaged.

    """
    path = folder_of(model) / TRAINING_IMAGES
    if not path.is_file():
        return None
    from verydeep.array_files import read_array  # not above: an answer for one image does not ask

    try:
        return read_array(path, (np.dtype("<u8"), 1))
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} does not list the images that were trained on: {printable(error)}") from None


def write_training_images(run: Path, hashes: NDArray[np.uint64]) -> None:
    """Keep the hashes of the images that a run trains on, and those of the run that it starts from."""
    write_array(run / TRAINING_IMAGES, np.unique(hashes))


def read_training_names(run: Path) -> frozenset[str] | None:
    """Names of the images that a run trains on; None where it did not keep them, or they are damaged."""
    import gzip  # not above, as it is imported for each answer
    import zlib

    try:
        with gzip.open(run / TRAINING_NAMES) as file:
            lines = file.read(MOST_SPLIT_BYTES).splitlines()
        return frozenset(as_type(tuple[str, ...], [parse_json(line) for line in lines]))
    except (OSError, EOFError, ValueError, zlib.error):
        return None


def write_training_names(run: Path, names: Iterable[str]) -> None:
    """Keep the names of the images that a run trains on, by which it tells later what has changed."""
    import gzip

    def write(aside: Path) -> None:
        with gzip.open(aside, "wt", encoding="utf-8") as lines:
            for name in names:
                lines.write(json.dumps(name) + "\n")

    write_whole(run / TRAINING_NAMES, write)


def copy_training_images(model: Path, run: Path) -> None:
    """Give a copy of a model what its training left behind about its images, as far as there is anything."""
    held_out, hashes = read_split(model), read_training_images(model)
    if held_out:
        write_split(run, f"of {model}", sorted(held_out))
    if hashes is not None:
        write_training_images(run, hashes)
