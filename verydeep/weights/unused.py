"""Tensors beside a network's layers: which may be left out, and which are of layers that change the scores."""

from __future__ import annotations

import re

from verydeep.errors import few
from verydeep.weights.choice import groups
from verydeep.weights.recognize import Layers, Tensors

_OF_IMAGES = re.compile(r"(?:.*\.)?(?:pixel_|image_|img_|input_)?(?:mean|std)")
_COLORS = 3
_OF_TRAINING = re.compile(
    r"(?:.*[._])?(?:loss|criterion|epoch|best_\w+|acc\d*|accuracy|n_averaged|class_?weights?)(?:[._].*)?"
)


def leave_out(names: list[str], tensors: Tensors, layers: Layers, *, has_head: bool) -> None:
    """Leave tensors out of a network, if its scores can be right without them.

    Counters, the mean of images and the weights of a loss are left out. Matrices with a bias may be of a second
    head, which is left out with a note. Any other parameter is of a layer that VGG does not have.

    Args:
        names: of the tensors that belong to none of VGG's layers.
        tensors: of the network.
        layers: get the names, and a note or the reason why the FC layers cannot be used.
        has_head: whether there are FC layers; without them there are no scores.

    """
    layers.unused = names
    unknown = [name for name in names if has_head and not _is_harmless(name, tensors)]
    linear = [name for name in unknown if _is_linear(name, tensors)]
    strange = [name for name in unknown if name not in linear]
    if strange:
        layers.problem = layers.problem or (
            f"has {strange[0]} beside its FC layers, which VGG does not have: without it the scores would be "
            "wrong. If images do not pass through it, remove it from the file"
        )
    elif linear:
        layers.notes.append(
            f"it has more FC layers ({few(groups(linear), quoted=False)}), which are not used: if its "
            "images pass through them, the scores are wrong"
        )


def _is_harmless(name: str, tensors: Tensors) -> bool:
    """Whether a tensor is a count, of the images, or of the training alone."""
    of_images = _OF_IMAGES.fullmatch(name) and tensors[name].size in (1, _COLORS)
    return tensors[name].dtype.kind not in "fc" or bool(of_images or _OF_TRAINING.fullmatch(name.lower()))


def _is_linear(name: str, tensors: Tensors) -> bool:
    """Whether a tensor is the matrix or the bias of a Linear module that has both."""
    module, _, part = name.rpartition(".")
    weight, bias = (tensors.get(f"{module}.{own}" if module else own) for own in ("weight", "bias"))
    return (
        part in ("weight", "bias")
        and weight is not None
        and bias is not None
        and weight.ndim == 2
        and bias.shape == weight.shape[:1]
    )
