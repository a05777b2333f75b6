"""config.json: everything about a model but its weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from verydeep.configurations import Architecture, LocalResponseNorm
from verydeep.errors import ModelError, near_path, printable, refusal
from verydeep.files import read_json
from verydeep.images.color import Preprocessing, PrincipalColors
from verydeep.run_folder.contents import CONFIG, folder_of, holds_instead
from verydeep.typed import as_type

FORMAT = "verydeep 1"
EARLIER = "earlier"
"""In a run's provenance: what is kept of that of the run it started from."""


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
            raise ModelError(f"training's scale is {self.scale}; it must be the least and the greatest S")

    @staticmethod
    def of_window(window: int) -> TrainedOn:
        """A window's usual scale: 256 pixels for one of 224."""
        side = round(window * 256 / 224)
        return TrainedOn((side, side))

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
        provenance: where it comes from: facts for people, which only resuming and studies read.
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
                raise ModelError(f"format {fields['format']!r} is not supported by this version")
            return ModelConfig(
                _architecture(fields["architecture"]),
                as_type(Preprocessing, fields["preprocessing"], "its preprocessing"),
                as_type(tuple[str, ...], fields["class_names"], "class_names"),
                as_type(TrainedOn, fields["trained_on"], "trained_on"),
                _provenance(fields.get("provenance", {})),
                as_type(PrincipalColors | None, fields.get("principal_colors"), "principal_colors"),
            )
        except KeyError as error:
            raise ModelError(f"{where} is not a model's config.json: it lacks {error}") from None
        except (TypeError, ValueError, ModelError) as error:
            raise ModelError(f"{where} is not a model's config.json: {printable(error)}") from None


def read_config(model: Path) -> ModelConfig:
    """Read a model's config.json.

    Raises:
        ModelError: there is none, or it is not of its form.

    """
    path = folder_of(model) / CONFIG
    try:
        fields = read_json(path)
    except FileNotFoundError:
        folder = folder_of(model)
        if not folder.exists():
            wanted = "give a run folder, as `verydeep train` and `verydeep new` make"
            raise ModelError(f"{folder} does not exist; {wanted}{near_path(folder)}") from None
        instead = holds_instead(folder)
        raise ModelError(
            f"{model} is not a run folder: it has no {CONFIG}" + f"; {instead}" * bool(instead)
        ) from None
    except OSError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from None
    return ModelConfig.from_json(fields, path)


def _architecture(fields: Any) -> Architecture:
    """The network; its window is called otherwise in the file."""
    fields = as_type(dict[str, Any], fields, "its architecture")
    fields = {"window" if name == "image_size" else name: value for name, value in fields.items()}
    architecture: Architecture = as_type(Architecture, fields, "its architecture")
    return architecture


_PROVENANCE: dict[str, Any] = {
    **dict.fromkeys(("data", "recipe", EARLIER), dict[str, Any]),
    **dict.fromkeys(("command", "processor", "recipe_name", "grown_from", "started_from"), str),
    **dict.fromkeys(("licence", "origin"), str),
    **dict.fromkeys(("new_layers", "notes"), tuple[str, ...]),
}
"""Facts that are read again, and their types; there may be any others."""


def _provenance(fields: Any) -> dict[str, Any]:
    facts: dict[str, Any] = as_type(dict[str, Any], fields, "its provenance")
    for name, kind in _PROVENANCE.items():
        as_type(kind | None, facts.get(name), name)
    as_type(int | None, (facts.get("data") or {}).get("num_images"), "num_images")
    return facts
