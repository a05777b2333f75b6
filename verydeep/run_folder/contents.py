"""Files of a run folder, by their names."""

from __future__ import annotations

from pathlib import Path

from verydeep.errors import UsageError

WEIGHTS, LAST_WEIGHTS, CONFIG, JOURNAL, SPLIT, TRAINING_IMAGES, SKIPPED, STATE, PREVIOUS_STATE, TENSORBOARD = (
    "model.safetensors",
    "last.safetensors",
    "config.json",
    "journal.jsonl",
    "split.json",
    "training_images.npy",
    "skipped.jsonl",
    "state.pt",
    "state.previous.pt",
    "tensorboard",
)


def folder_of(model: Path) -> Path:
    """The run folder of a MODEL argument, which may be one of its weights."""
    return model.parent if model.suffix == ".safetensors" else model


def refuse_existing(run: Path) -> None:
    """Make sure that a new run does not overwrite anything.

    Raises:
        UsageError: the folder holds something already, or is a file.

    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        resume = ", or go on with it by `resume=True`" if has_state(run) else ""
        raise UsageError(f"{run} exists and is not empty; choose another name{resume}")


def has_state(run: Path) -> bool:
    """Whether a run has saved a state to resume from."""
    return any((run / name).is_file() for name in (STATE, PREVIOUS_STATE))
