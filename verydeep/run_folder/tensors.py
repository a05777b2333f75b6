"""Weights on disk <-> arrays by name, and whether they are those of an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import Architecture
from verydeep.errors import ModelError, near_path
from verydeep.files import write_json, write_whole
from verydeep.run_folder.config import ModelConfig, read_config
from verydeep.run_folder.contents import CONFIG, WEIGHTS, folder_of, holds_instead
from verydeep.safetensors_file import read_tensors

Tensors = Mapping[str, NDArray[Any]]
PIECE = 1 << 18  # numbers that a processor's cache holds
SAMPLE = 4096  # numbers of a tensor that its fingerprint is made of, at least, where it has as many


def write_model(run: Path, config: ModelConfig, tensors: Tensors, weights: str = WEIGHTS) -> None:
    """Write a model's weights and then its config.json; each file appears whole."""
    write_weights(run / weights, tensors)
    write_json(run / CONFIG, config.to_json())


def write_weights(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole, with facts about them.

    Raises:
        DiskError: they cannot be written.

    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # Not ascontiguousarray: it makes batch normalisation's counter, a scalar, an array of one.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}

    def write(aside: Path) -> None:
        try:
            save_file(contiguous, aside, metadata=metadata)
        except SafetensorError as error:  # whatever it may be: a full disk is among it
            reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
            raise OSError(reason) from None

    write_whole(path, write)


def weights_file(model: Path) -> Path:
    """Find the weights that a MODEL argument means: a run folder's best, or the file itself.

    Raises:
        ModelError: there are none.

    """
    folder = folder_of(model)
    path = model if model != folder else model / WEIGHTS
    if not path.is_file():
        wanted = f"give a run folder with {CONFIG} and {WEIGHTS}, as `verydeep train` and `verydeep new` make"
        if not model.exists():
            raise ModelError(f"{model} does not exist; {wanted}{near_path(model)}")
        if (model / CONFIG).is_file():
            raise ModelError(f"{model} has no weights yet; {wanted}")
        raise ModelError(f"{model} is not a model; {holds_instead(model) or wanted}")
    return path


def read_model(model: Path) -> tuple[ModelConfig, dict[str, NDArray[Any]]]:
    """Read a model and make sure that its weights are the ones its configuration has; float16 becomes float32.

    Raises:
        ModelError: a file is missing or damaged; a tensor is missing, too many, of another shape, or has a number
            that is not finite.

    """
    path = weights_file(model)
    config = read_config(model)
    tensors = {
        name: tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
        for name, tensor in read_tensors(path).items()
    }
    check_tensors(config.architecture, tensors, str(path))
    return config, tensors


def check_tensors(architecture: Architecture, tensors: Tensors, where: str) -> None:
    """Compare names, shapes and numbers with what the architecture has.

    Raises:
        ModelError: they differ, or a number is not finite; the message names the first tensor.

    """
    check_shapes(architecture, tensors, where)
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise ModelError(f"{where}: {name} has NaN or infinite numbers; the model cannot be used")


def check_shapes(architecture: Architecture, tensors: Tensors, where: str) -> None:
    """Compare names and shapes alone.

    Raises:
        ModelError: they differ; the message names the first tensor.

    """
    wanted = architecture.tensors
    what = f"configuration {architecture.configuration} at width {architecture.width:g}"
    missing, extra = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or extra:
        seen = f"lacks {missing[0]}" if missing else f"has {extra[0]}"
        raise ModelError(f"{where} {seen}, which does not fit {what}: these weights belong to another network")
    for name, shape in wanted.items():
        if tensors[name].dtype.kind == "b":
            raise ModelError(f"{where}: {name} has truth values in place of numbers; the model cannot be used")
        if tensors[name].shape != shape:
            raise ModelError(
                f"{where}: {name} has shape {tensors[name].shape}, {what} has {shape}: "
                "these weights belong to another network"
            )


def all_finite(tensor: NDArray[Any]) -> bool:
    """Whether no number is NaN or infinite; in pieces, as the answers for fc6 at once would take 100 MB."""
    flat = tensor.ravel(order="K")
    return all(np.isfinite(flat[start : start + PIECE]).all() for start in range(0, flat.size, PIECE))


def fingerprint(tensors: Tensors) -> int:
    """Tell weights apart, in milliseconds: a checksum of some numbers of each tensor, evenly spread."""
    checksum = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        sample = tensor.flat[:: max(1, tensor.size // SAMPLE)]
        checksum = crc32(sample.tobytes(), crc32(name.encode(), checksum))
    return checksum
