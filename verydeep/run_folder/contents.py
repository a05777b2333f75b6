"""Files of a run folder, by their names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verydeep.errors import UsageError, as_text
from verydeep.files import read_json
from verydeep.images.formats import EXTENSIONS
from verydeep.lock import LOCK, writing_folder

WEIGHTS = "model.safetensors"
LAST_WEIGHTS = "last.safetensors"
CONFIG = "config.json"
JOURNAL = "journal.jsonl"
SPLIT = "split.json"
TRAINING_IMAGES = "training_images.npy"
TRAINING_NAMES = "training_names.jsonl.gz"
SKIPPED = "skipped.jsonl"
STATE = "state.pt"
PREVIOUS_STATE = "state.previous.pt"
TENSORBOARD = "tensorboard"

MOST_LOOKED_INTO = 20
"""Folders that are looked into for images."""

MOST_SPLIT_BYTES = 1 << 28  # names of six million images
BEFORE_CONFIG = (SPLIT, TRAINING_IMAGES, TRAINING_NAMES)
"""What a new run writes before its config.json."""
OF_TRAINING = (WEIGHTS, LAST_WEIGHTS, CONFIG, JOURNAL, *BEFORE_CONFIG, STATE)


def folder_of(model: Path) -> Path:
    """The run folder of a MODEL argument, which may be one of its weights."""
    return model.parent if model.suffix == ".safetensors" else model


def holds_instead(folder: Path) -> str:
    """What a folder that is no run holds, and what to give; empty where a quick look does not tell."""
    try:
        inside = sorted(folder.iterdir())
        runs = [path for path in inside if (path / CONFIG).is_file()]
        if runs:
            return f"it holds runs; give one of them, such as {as_text(runs[0])}"
        deeper = [path for part in inside[:MOST_LOOKED_INTO] if part.is_dir() for path in part.iterdir()]
    except OSError:
        return ""
    if any(path.suffix.lower() in EXTENSIONS for path in (*inside, *deeper)):
        return "it holds images; give a run folder, or a name such as cifar10"
    return ""


def is_empty(folder: Path) -> bool:
    """Whether nothing is in a folder but the lock of whoever writes there."""
    return all(path.name == LOCK for path in folder.iterdir())


def refuse_existing(run: Path) -> None:
    """Make sure that a new run does not overwrite anything.

    Raises:
        UsageError: the folder holds something already, or is a file; or its name is one of a file of weights.

    """
    if run.suffix == ".safetensors":
        raise UsageError(f"{run} has the ending of a file of weights; give the name of a folder")
    if run.exists() and not (run.is_dir() and is_empty(run)):
        raise UsageError(f"{run} exists and is not empty; choose another name")


@contextmanager
def making_folder(folder: Path) -> Iterator[None]:
    """Make a folder that is new or empty, as the only process that writes there; all of it, or nothing.

    Raises:
        UsageError: as `refuse_existing`.
        BusyError: another process writes there.

    """
    with writing_folder(folder):
        refuse_existing(folder)
        try:
            yield
        except BaseException:
            for path in folder.iterdir():  # of a model half made nobody can make use, and it would be in the way
                if path.name != LOCK:
                    path.unlink()
            raise


def remove_unbegun(run: Path) -> None:
    """Remove what a run has left that was ended before its config.json was there: it had not begun to train.

    The split is the first of it. Without one, files of these names are somebody else's.
    """
    left = [path for path in run.iterdir() if path.name != LOCK]
    parts = [path for path in left if is_part(path, *BEFORE_CONFIG, CONFIG)]
    whole = [path for path in left if path not in parts]
    if all(path.name in BEFORE_CONFIG for path in whole) and (not whole or _is_split(run / SPLIT)):
        for path in left:
            path.unlink()


def _is_split(path: Path) -> bool:
    try:
        return set(read_json(path, MOST_SPLIT_BYTES)) == {"split", "held_out"}
    except (OSError, ValueError, TypeError):
        return False


def remove_parts(run: Path) -> None:
    """Remove what a killed run was writing; what others write beside it, such as a classifier, stays."""
    for path in run.iterdir():
        if is_part(path, *OF_TRAINING):
            path.unlink(missing_ok=True)


def is_part(path: Path, *names: str) -> bool:
    """Whether a file is what a killed process has left of a file of one of these names."""
    return path.suffix == ".part" and path.name.startswith(tuple(f".{name}." for name in names))


def resume_command(data: str, run: Path, **settings: object) -> str:
    """What continues a run."""
    options = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    return shlex.join(["verydeep", "train", data, str(run), "--resume", *options])


def has_state(run: Path) -> bool:
    """Whether a run has saved a state to resume from."""
    return any((run / name).is_file() for name in (STATE, PREVIOUS_STATE))
