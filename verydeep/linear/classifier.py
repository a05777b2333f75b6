"""A linear classifier on a network's features: on disk, and applied. No scikit-learn and no torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import ModelError, printable, refusal
from verydeep.evaluation.posterior import Posteriors, softmax
from verydeep.files import json_text, parse_json, write_whole
from verydeep.notes import say
from verydeep.plan import check_scales
from verydeep.run_folder.contents import folder_of
from verydeep.safetensors_file import read_header, read_tensors
from verydeep.typed import as_type

CLASSIFIER = "classifier.safetensors"

Features = NDArray[np.float32]
Tensors = Mapping[str, NDArray[Any]]
Combination = Literal["stack", "average"]


@dataclass(frozen=True)
class FeatureSpec:
    """What features are made of: Appendix B's, by default.

    Attributes:
        layer: of the network, averaged over space.
        scales: Q, the smaller sides of the rescaled image.
        mirror: whether the mean is taken with the mirror image.
        combine: whether scales are stacked, or averaged.

    """

    layer: str = "relu7"
    scales: tuple[int, ...] = (256, 384, 512)
    mirror: bool = True
    combine: Combination = "stack"

    def __post_init__(self) -> None:
        check_scales(self.scales)


@dataclass(frozen=True, kw_only=True)
class _Description:
    described: FeatureSpec
    class_names: tuple[str, ...]
    sharpness: float
    facts: dict[str, Any]
    network: str


@dataclass(frozen=True, kw_only=True)
class Classifier(_Description):
    """One-against-all scores `weights @ features + bias`, and what they are made of.

    Attributes:
        described: what the features are.
        class_names: in the order of the scores.
        weights: of shape (classes, features).
        bias: of shape (classes,).
        sharpness: factor on the scores before the soft-max, as held-out images fit it best.
        facts: how it was trained and how well it does.
        network: `digest` of the weights whose features it was trained on.

    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def check_network(self, tensors: Tensors) -> None:
        """Make sure that these are the weights whose features it was trained on.

        Raises:
            ModelError: they are others.

        """
        if weights_digest(tensors) != self.network:
            raise ModelError(
                "the classifier beside the model was trained on features of other weights; make it again with "
                "`verydeep transfer`, or use the network's own classes with `network=True`"
            )

    def scores(self, features: Features) -> NDArray[np.float64]:
        """Scores of shape (images, classes)."""
        scores: NDArray[np.float64] = features.astype(np.float64) @ self.weights.T + self.bias
        return scores

    def posteriors(self, features: Features) -> Posteriors:
        """Soft-max of the sharpened scores, of shape (images, classes)."""
        return softmax(self.sharpness * self.scores(features))


def weights_digest(tensors: Tensors) -> str:
    """Tell weights apart by their biases and normalisations, which are small, and which training changes all.

    Those of fc8 do not count: no features come from there.
    """
    from hashlib import sha256  # not above: most models have no classifier

    sha = sha256()
    for name in sorted(tensors):
        if tensors[name].ndim == 1 and not name.startswith("fc8"):
            sha.update(name.encode() + np.ascontiguousarray(tensors[name], "<f4").tobytes())
    return sha.hexdigest()


def classifier_file(model: Path) -> Path:
    """Where the classifier of a model lies: beside its weights."""
    return folder_of(model) / CLASSIFIER


def write_classifier(model: Path, classifier: Classifier) -> Path:
    """Write a classifier beside its model, as one file that appears whole.

    Raises:
        DiskError: it cannot be written.

    """
    from safetensors.numpy import save_file

    facts = {name: value for name, value in asdict(classifier).items() if name not in ("weights", "bias")}
    tensors = {"weights": np.ascontiguousarray(classifier.weights), "bias": np.ascontiguousarray(classifier.bias)}
    path = classifier_file(model)
    metadata = {"verydeep": json_text(facts, allow_nan=False)}
    write_whole(path, lambda aside: save_file(tensors, aside, metadata=metadata))
    return path


def read_classifier(model: Path) -> Classifier | None:
    """Read the classifier beside a model; None where there is none.

    Raises:
        ModelError: it is damaged.

    """
    path = classifier_file(model)
    if not path.is_file():
        return None
    try:
        told: _Description = as_type(_Description, parse_json(read_header(path).metadata.get("verydeep", "")))
        tensors = read_tensors(path, only=("weights", "bias"))
        if min(told.described.scales) < 1:
            raise ValueError(f"its scales are {told.described.scales}")
        wanted, shapes = len(told.class_names), {name: tensor.shape for name, tensor in tensors.items()}
        if shapes.keys() != {"weights", "bias"} or len(shapes["weights"]) != 2:
            raise ValueError("it has not the weights and the bias of one")
        if shapes["bias"] != (wanted,) or shapes["weights"][0] != wanted or not wanted:
            raise ValueError(f"its weights have the shape {shapes['weights']} for {wanted} classes")
        if not all(tensor.dtype.kind == "f" and np.isfinite(tensor).all() for tensor in tensors.values()):
            raise ValueError("its weights are not finite numbers")
    except PermissionError as error:
        raise ModelError(refusal(path, "read", error)) from None
    except (OSError, ValueError, ModelError) as error:
        reason = printable(error)
        raise ModelError(
            f"{path} is not a complete classifier: {reason}; make it again with `verydeep transfer`"
        ) from None
    return Classifier(**vars(told), weights=tensors["weights"], bias=tensors["bias"])


def say_network_alone(model: Path, what: str) -> None:
    """Say so where a classifier lies beside a model and only the network itself is, for instance, tested."""
    if classifier_file(model).is_file():
        say(
            f"{model}: the network's own classes are {what}; the classifier of `verydeep transfer` beside it, by "
            f"which `verydeep predict` answers, is not {what}"
        )
