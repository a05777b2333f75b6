"""A model on disk <-> in memory: its weights with everything that belongs to them. No torch here.

RUN/
  model.safetensors   the best weights (by validation error)
  config.json         architecture, preprocessing, class names, how it was trained, where it comes from
  last.safetensors    the last weights
  journal.jsonl       a line a step and a line an epoch
  split.json          names of the pictures that were held out, where the data came without that part
  training_images.npy hashes of the content of the images that were trained on, as `PictureSource.hashes`
  skipped.jsonl       pictures that could not be read, and why, if there are any
  state.pt            what a run needs to go on; state.previous.pt is the one before
  tensorboard/        the journal's curves for TensorBoard, where it is installed
"""

from __future__ import annotations

import json
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import ModelError, UsageError, printable
from verydeep.files import write_json, write_whole
from verydeep.images.color import Preprocessing, PrincipalColors
from verydeep.safetensors_file import read_tensors

Tensors = Mapping[str, NDArray[Any]]
EARLIER = "earlier"  # in a run's provenance: that of the run it started from, as far as it is about the weights
TOLD = ("origin", "licence", "commit", "recipe", "recipe_name", "data", "grown_from", "started_from", EARLIER)
PIECE = 1 << 18  # numbers that a processor's cache holds

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


@dataclass(frozen=True)
class TrainedOn:
    """What of the training decides how the model is tested (Section 4).

    Attributes:
        scale: least and greatest S.
        mirror: whether mirror images were shown, so that testing may average over them.

    """

    scale: tuple[int, int]
    mirror: bool = True

    def __post_init__(self) -> None:
        if len(self.scale) != 2 or not 1 <= self.scale[0] <= self.scale[1]:
            raise ModelError(f"training's scale is {self.scale}; it has to be the least and the greatest S")

    @property
    def test_scale(self) -> int:
        """Q for a test at one scale: S, or the middle of its range."""
        return sum(self.scale) // 2


@dataclass(frozen=True)
class ModelConfig:
    """Everything about a model but its weights: `config.json`.

    Attributes:
        architecture: of the network.
        preprocessing: what its first layer expects.
        class_names: in the order of its scores.
        trained_on: what decides how it is tested.
        provenance: where it comes from: facts for people, which nothing but `--resume` reads.
        principal_colors: along which its training shifted colors; None where it did not.

    """

    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    trained_on: TrainedOn
    provenance: dict[str, Any] = field(default_factory=dict)
    principal_colors: PrincipalColors | None = None

    def __post_init__(self) -> None:
        if len(self.class_names) != self.architecture.num_classes:
            raise ModelError(
                f"there are {len(self.class_names)} class names for {self.architecture.num_classes} classes"
            )

    def to_json(self) -> dict[str, Any]:
        """The form it has on disk; what is not in the paper is there where it is not as usual."""
        fields = asdict(self)
        fields["architecture"] = _renamed(fields["architecture"], {"window": "image_size"})
        if self.architecture.local_response_norm == LocalResponseNorm():
            del fields["architecture"]["local_response_norm"]
        if self.architecture.hidden is None:
            del fields["architecture"]["hidden"]
        return {"format": "verydeep 1", **fields}

    @staticmethod
    def from_json(fields: Any, where: Path) -> ModelConfig:
        """Read it back.

        Raises:
            ModelError: the file is not of this form; the message names it and what is wrong.

        """
        try:
            if not str(fields["format"]).startswith("verydeep 1"):
                raise ModelError(f"format {fields['format']!r} is not one that this version reads")
            preprocessing, trained_on = fields["preprocessing"], fields["trained_on"]
            colors = fields.get("principal_colors")
            return ModelConfig(
                Architecture(**_renamed(_checked(fields["architecture"]), {"image_size": "window"})),
                Preprocessing(
                    tuple(map(float, preprocessing["mean"])),  # type: ignore[arg-type]
                    tuple(map(float, preprocessing["deviation"])),  # type: ignore[arg-type]
                    preprocessing["channels"],
                ),
                tuple(map(str, fields["class_names"])),
                TrainedOn(tuple(map(int, trained_on["scale"])), bool(trained_on["mirror"])),  # type: ignore[arg-type]
                dict(fields.get("provenance", {})),
                PrincipalColors(
                    tuple(map(float, colors["eigenvalues"])),  # type: ignore[arg-type]
                    tuple(tuple(map(float, row)) for row in colors["eigenvectors"]),  # type: ignore[misc]
                )
                if colors
                else None,
            )
        except KeyError as error:
            raise ModelError(f"{where} is not a model's config.json: it lacks {error}") from None
        except (TypeError, ValueError, OverflowError, ModelError) as error:
            raise ModelError(f"{where} is not a model's config.json: {printable(error)}") from None


def _renamed(fields: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The same values by other names: on disk the window is called image_size."""
    return {names.get(name, name): value for name, value in fields.items()}


def _refuse_constant(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON has not."""
    raise ValueError(f"it has {word}")


ARCHITECTURE_TYPES = {
    "configuration": str,
    "num_classes": int,
    "width": int | float,
    "image_size": int,
    "batch_norm": bool,
    "local_response_norm": dict,
    "hidden": list,
}
NORM_TYPES = {"size": int, "alpha": int | float, "beta": int | float, "k": int | float}


def _checked(fields: Any) -> dict[str, Any]:
    """The fields of an architecture, of the types that they have to be: a dataclass would take any."""
    if not isinstance(fields, dict):
        raise ModelError(f"its architecture is {fields!r}")
    _check_types(fields, ARCHITECTURE_TYPES)
    checked = dict(fields)
    if "local_response_norm" in fields:
        _check_types(fields["local_response_norm"], NORM_TYPES)
        checked["local_response_norm"] = LocalResponseNorm(**fields["local_response_norm"])
    if "hidden" in fields:
        for channels in fields["hidden"]:
            _check_types({"hidden": channels}, {"hidden": int})
        checked["hidden"] = tuple(fields["hidden"])
    return checked


def _check_types(fields: dict[str, Any], types: dict[str, Any]) -> None:
    for name, value in fields.items():
        wanted = types.get(name, object)
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise ModelError(f"its architecture has {value!r} as {name}")


def refuse_existing(run: Path) -> None:
    """Make sure that a new run does not overwrite anything.

    Raises:
        UsageError: the folder holds something already, or is a file.

    """
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        resume = ", or go on with it by --resume" if has_state(run) else ""
        raise UsageError(f"{run} exists and is not empty; choose another name{resume}")


def has_state(run: Path) -> bool:
    """Whether a run has saved a state to go on from."""
    return any((run / name).is_file() for name in (STATE, PREVIOUS_STATE))


def write_model(run: Path, config: ModelConfig, tensors: Tensors, weights: str = WEIGHTS) -> None:
    """Write a model's weights and then its config.json; each file appears whole."""
    write_weights(run / weights, tensors)
    write_json(run / CONFIG, config.to_json())


def write_weights(path: Path, tensors: Tensors) -> None:
    """Write tensors as safetensors, whole.

    Raises:
        DiskError: they cannot be written.

    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    # Not ascontiguousarray: it makes batch normalisation's counter, a scalar, an array of one.
    contiguous = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}

    def write(aside: Path) -> None:
        try:
            save_file(contiguous, aside)
        except SafetensorError as error:  # whatever it may be: a full disk is among it
            reason = str(error).rpartition("I/O error: ")[2].partition(" (os error")[0]
            raise OSError(reason) from None

    write_whole(path, write)


def weights_file(model: Path) -> Path:
    """Find the weights that a MODEL argument means: a run folder's best, or the file itself.

    Raises:
        ModelError: there are none.

    """
    path = model if model.suffix == ".safetensors" else model / WEIGHTS
    if not path.is_file():
        what = "has no weights yet" if (model / CONFIG).is_file() else "is not a model"
        raise ModelError(
            f"{model} {what if model.exists() else 'does not exist'}; "
            f"give a run folder with {CONFIG} and {WEIGHTS}, as `verydeep train` and `verydeep new` make"
        )
    return path


def read_config(model: Path) -> ModelConfig:
    """Read a model's config.json.

    Raises:
        ModelError: there is none, or it is not of its form.

    """
    path = (model.parent if model.suffix == ".safetensors" else model) / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ModelError(f"{model} is not a run folder: it has no {CONFIG}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
    return ModelConfig.from_json(fields, path)


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


def read_split(model: Path) -> frozenset[str]:
    """Names of the pictures that the model's training held out; empty where it recorded none."""
    path = (model.parent if model.suffix == ".safetensors" else model) / SPLIT
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["held_out"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} does not list the pictures that were held out: {error}") from None


def write_training_images(run: Path, hashes: NDArray[np.uint64]) -> None:
    """Keep the hashes of the images that a run trains on, and those of the run that it starts from."""

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.save(file, np.unique(hashes))

    write_whole(run / TRAINING_IMAGES, write)


def read_training_images(model: Path) -> NDArray[np.uint64] | None:
    """Hashes of the images that a model was trained on; None where it did not keep them.

    Raises:
        ModelError: the file is damaged.

    """
    path = (model.parent if model.suffix == ".safetensors" else model) / TRAINING_IMAGES
    if not path.is_file():
        return None
    try:
        hashes: NDArray[np.uint64] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(f"{path} does not list the images that were trained on: {error}") from None
    if hashes.dtype != np.uint64 or hashes.ndim != 1:
        raise ModelError(f"{path} does not list the images that were trained on: it has {hashes.dtype} numbers")
    return hashes


def copy_training_images(model: Path, run: Path) -> None:
    """Give a copy of a model what its training left behind about its images, as far as there is anything."""
    held_out, hashes = read_split(model), read_training_images(model)
    if held_out:
        write_json(run / SPLIT, {"split": f"of {model}", "held_out": sorted(held_out)})
    if hashes is not None:
        write_training_images(run, hashes)


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
        raise ModelError(f"{where} {seen}, which does not fit {what}: these are another network's weights")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ModelError(
                f"{where}: {name} has shape {tensors[name].shape}, {what} has {shape}: "
                "these are another network's weights"
            )


def all_finite(tensor: NDArray[Any]) -> bool:
    """Whether no number is NaN or infinite; in pieces, as the answers for fc6 at once would take 100 MB."""
    flat = tensor.ravel(order="K")
    return all(np.isfinite(flat[start : start + PIECE]).all() for start in range(0, flat.size, PIECE))


def provenance(**facts: Any) -> dict[str, Any]:
    """Where a model comes from: the versions, the machine and the code that made it, and the facts given."""
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["verydeep", *sys.argv[1:]]),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("verydeep", "torch", "numpy", "pillow")},
        "processor": processor_name(),
        **facts,
    }


def story_of(earlier: ModelConfig) -> dict[str, Any]:
    """What a run keeps in its provenance of the one that it started from, and of that one's own beginnings."""
    told = {name: earlier.provenance[name] for name in TOLD if name in earlier.provenance}
    return {EARLIER: told} if told else {}


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # not above: it takes as long as the rest

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that the package runs from, with a + where it has been changed since."""
    import subprocess

    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None


def processor_name() -> str:
    """The processor's name as its maker gives it."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
