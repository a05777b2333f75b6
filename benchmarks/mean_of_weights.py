"""One network of the mean of several networks' weights, such as the ends of a training's cycles.

    python benchmarks/mean_of_weights.py MODEL MODEL ... --out RUN

RUN keeps which images any of the models was trained on, so that `verydeep evaluate` leaves them out.

Izmailov et al., Averaging Weights Leads to Wider Optima and Better Generalization, arXiv 1803.05407. The models
must be of one architecture and one beginning: networks that were trained apart have nothing in common layer by
layer, and their mean is none. Statistics of batch normalisation are averaged as weights are, not measured anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.errors import ModelError, UsageError, VerydeepError
from verydeep.run_folder import (
    making_folder,
    read_split,
    read_training_images,
    write_model,
    write_training_images,
)
from verydeep.run_folder.split import write_split
from verydeep.weights.opening import open_source
from verydeep.weights.source import locate

SAME = {"architecture": "architecture", "class_names": "class names", "preprocessing": "preprocessing"}
"""What the models must have in common: fields of `ModelConfig`, and words for them."""


def write_training(models: Sequence[str], run: Path) -> None:
    """Keep the images that any model was trained on, and those that all of them held out, as far as it is known.

    Raises:
        ModelError: names alone tell what was trained on, and no image was held out by all.

    """
    paths = [locate(model).path for model in models]
    trainings = [(read_training_images(path), read_split(path)) for path in paths]
    hashes = [known for known, _ in trainings if known is not None]
    splits = [split for _, split in trainings if split]
    held_out = frozenset.intersection(*splits) if splits else frozenset()
    # A model of an older run kept its split alone: the others' hashes would pass for all.
    by_name = any(known is None and split for known, split in trainings)
    if by_name and not held_out:
        raise ModelError("no image was held out by all of the models; their mean could not be tested")
    if held_out:
        write_split(run, f"of all of {', '.join(models)}", sorted(held_out))
    if hashes and not by_name:
        write_training_images(run, np.concatenate(hashes))


def write_mean(models: Sequence[str], run: Path) -> None:
    """Make a run folder with the mean of the models.

    Raises:
        UsageError: the models do not go together, or the folder is not empty.
        VerydeepError: a model cannot be read, or the folder cannot be written.

    """
    with making_folder(run):
        first, _ = open_source(models[0])
        sums: dict[str, np.ndarray] = {}
        for model in models:
            config, tensors = open_source(model)
            for field, words in SAME.items():
                if getattr(config, field) != getattr(first, field):
                    raise UsageError(f"{model} and {models[0]} differ in their {words}, so they have no mean")
            for name, tensor in tensors.items():
                sums[name] = sums.get(name, 0) + tensor.astype(np.float64)
        mean = {name: (total / len(models)).astype(tensors[name].dtype) for name, total in sums.items()}
        note = f"weights: the mean of {len(models)} networks', of which the last was trained as is told here"
        notes = [*config.provenance.get("notes", []), note]
        write_training(models, run)
        write_model(run, replace(config, provenance={**config.provenance, "notes": notes}), mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    options = parser.parse_args()
    try:
        write_mean(options.models, options.out)
    except VerydeepError as error:
        parser.error(str(error))
    print(f"{options.out}: the mean of {len(options.models)} networks")


if __name__ == "__main__":
    main()
