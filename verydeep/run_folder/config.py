"""config.json: everything about a model but its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import ModelError, printable
from verydeep.images.color import Preprocessing, PrincipalColors
from verydeep.run_folder.contents import CONFIG, folder_of

FORMAT = "verydeep 1"


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
        provenance: where it comes from: facts for people, which nothing but resuming reads.
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
        architecture = fields["architecture"]
        architecture["image_size"] = architecture.pop("window")
        if self.architecture.local_response_norm == LocalResponseNorm():
            del architecture["local_response_norm"]
        if self.architecture.hidden is None:
            del architecture["hidden"]
        return {"format": FORMAT, **fields}

    @staticmethod
    def from_json(fields: Any, where: Path) -> ModelConfig:
        """Read it back.

        Raises:
            ModelError: the file is not of this form; the message names it and what is wrong.

        """
        try:
            if not str(fields["format"]).startswith(FORMAT):
                raise ModelError(f"format {fields['format']!r} is not one that this version reads")
            preprocessing, trained_on = fields["preprocessing"], fields["trained_on"]
            colors = fields.get("principal_colors")
            return ModelConfig(
                _architecture(fields["architecture"]),
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


def read_config(model: Path) -> ModelConfig:
    """Read a model's config.json.

    Raises:
        ModelError: there is none, or it is not of its form.

    """
    path = folder_of(model) / CONFIG
    try:
        fields = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise ModelError(f"{model} is not a run folder: it has no {CONFIG}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
    return ModelConfig.from_json(fields, path)


def _refuse_constant(word: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON has not."""
    raise ValueError(f"it has {word}")


_ARCHITECTURE_TYPES: dict[str, tuple[type, ...]] = {
    "configuration": (str,),
    "num_classes": (int,),
    "width": (int, float),
    "image_size": (int,),
    "batch_norm": (bool,),
    "local_response_norm": (dict,),
    "hidden": (list,),
}
_NORM_TYPES: dict[str, tuple[type, ...]] = {
    "size": (int,),
    "alpha": (int, float),
    "beta": (int, float),
    "k": (int, float),
}


def _architecture(fields: Any) -> Architecture:
    if not isinstance(fields, dict):
        raise ModelError(f"its architecture is {fields!r}")
    fields = _typed(fields, _ARCHITECTURE_TYPES)
    if "local_response_norm" in fields:
        fields["local_response_norm"] = LocalResponseNorm(**_typed(fields["local_response_norm"], _NORM_TYPES))
    if "hidden" in fields:
        fields["hidden"] = tuple(
            _typed({"hidden": number}, {"hidden": (int,)})["hidden"] for number in fields["hidden"]
        )
    return Architecture(window=fields.pop("image_size"), **fields)


def _typed(fields: dict[str, Any], types: dict[str, tuple[type, ...]]) -> dict[str, Any]:
    """The fields, of the types that they have to be: a dataclass would take any."""
    for name, value in fields.items():
        if type(value) not in types.get(name, (type(value),)):
            raise ModelError(f"its architecture has {value!r} as {name}")
    return dict(fields)
