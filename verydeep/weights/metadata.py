"""What is known about weights beyond their tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn


@dataclass(frozen=True)
class Metadata:
    """What is known about weights. None is what nobody has said.

    Attributes:
        preprocessing: what the first layer expects.
        class_names: in the order of the scores.
        trained_on: S and mirror images, which decide how the model is tested.
        licence: of the weights, as an SPDX name where there is one.
        origin: who published them, for people.
        configuration: a name of Table 1, for what shapes do not tell: A from A-LRN.
        window: side of the images in training, in pixels, for what fc6's shape does not tell.
        features_only: whether the convolutions alone are to be taken.

    """

    preprocessing: Preprocessing | None = None
    class_names: tuple[str, ...] | None = None
    trained_on: TrainedOn | None = None
    licence: str | None = None
    origin: str | None = None
    configuration: str | None = None
    window: int | None = None
    features_only: bool | None = None

    def completed_by(self, other: Metadata) -> Metadata:
        """The same, with what `other` knows where this knows nothing."""
        names = [field.name for field in fields(self)]
        return Metadata(**{name: getattr(other if getattr(self, name) is None else self, name) for name in names})


UNKNOWN = Metadata()
