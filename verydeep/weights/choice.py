"""Names and shapes in a checkpoint -> the VGG network among them, and what may be left out beside its layers.

Nested dictionaries and the prefixes that wrappers put before names are the same here: `model.features.0.weight` is
a tensor of the network called `model`, however it came to that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from verydeep.errors import few
from verydeep.weights.checkpoint import NotWeightsError
from verydeep.weights.recognize import Layers, Shape, Tensors, is_network

WRAPPERS = {"module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""What DataParallel, torch.compile, Lightning, FSDP and activation checkpointing put into names, at any place."""
FIRST = ("features.0.weight", "conv1_1.weight", "0.weight")
"""What the first convolution is called: by torchvision and timm, by us, in the features of torchvision alone."""
MOST_NETWORKS = 200  # of one file

AVERAGED = re.compile(r"(^|[._])(ema|averaged?|swa)([._]|$)", re.IGNORECASE)


@dataclass
class Choice:
    """The tensors of one network.

    Attributes:
        names: what each tensor of the file is called in the network, by its name in the file.
        chosen: which of two networks it is and why, where there were two.
        unused: where the tensors lie that are not taken.
        heads: where FC layers lie that are not taken, of a network that has none.

    """

    names: dict[str, str]
    chosen: str = ""
    unused: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, Any]:
        """What people should know about the choice."""
        heads = (
            f"it has FC layers beside its convolutions ({few(self.heads, quoted=False)}), which are not used: "
            "they are found if its parts are called features and classifier"
        )
        return {"chosen": self.chosen, "unused": self.unused, "notes": [heads] * bool(self.heads)}


def choose(shapes: Mapping[str, Shape], wanted: str | None = None) -> Choice:
    """Find the VGG network in a checkpoint.

    Of two networks, one of which is a running average of the other (EMA), the average is taken: timm and
    torchvision test with it.

    Args:
        shapes: of every tensor, by its name in the file.
        wanted: name of the network to take, as messages have it.

    Raises:
        NotWeightsError: there is none, or there are several, or none is called so.

    """
    plain = _without_wrappers(shapes)
    networks = {_shown(prefix): prefix for prefix in _prefixes(plain, shapes)}
    if not networks:
        raise NotWeightsError(no_network(list(shapes)))
    prefixes = list(networks.values())
    chosen = ""
    if wanted is not None:
        networks = _called(networks, wanted)
    if len(networks) > MOST_NETWORKS:  # each is looked through
        raise NotWeightsError(f"has {len(networks):,} networks; name one of them by `tensors`")
    if len(networks) > 1:
        fitting = {name: at for name, at in networks.items() if _fits(_members(plain, at, prefixes), shapes)}
        networks = fitting or dict([next(iter(networks.items()))])
    if len(networks) > 1:
        name = _average(list(networks))
        others = ", ".join(other for other in networks if other != name)
        chosen = f"{name} is used, a running average of the weights, as timm and torchvision do; not {others}"
        networks = {name: networks[name]}
    (prefix,) = networks.values()
    members = _members(plain, prefix, prefixes)
    unused = [name for name in shapes if name not in members]
    has_head = not all(name.startswith("features.") for name in members.values())
    heads = [] if has_head else [name for name in unused if is_linear(name, shapes)]
    return Choice(members, chosen, groups(unused), groups(heads))


def is_linear(name: str, shapes: Mapping[str, Shape]) -> bool:
    """Whether a tensor is the matrix or the bias of a Linear module that has both."""
    module, dot, part = name.rpartition(".")
    weight = shapes.get(f"{module}{dot}weight", ())
    return part in ("weight", "bias") and len(weight) == 2 and shapes.get(f"{module}{dot}bias") == weight[:1]


def no_network(names: Sequence[str]) -> str:
    """Say that tensors of these names are none of a VGG network's."""
    return f"has tensors called {few(names, 3, quoted=False) or 'nothing'}: not the names of a VGG network"


def _without_wrappers(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Names of the file -> names without wrappers; those that would be the same stay as they are."""
    plain = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in shapes}
    counts: dict[str, int] = {}
    for short in plain.values():
        counts[short] = counts.get(short, 0) + 1
    return {name: short if counts[short] == 1 else name for name, short in plain.items()}


def _prefixes(plain: dict[str, str], shapes: Mapping[str, Shape]) -> list[str]:
    """What comes before the names of each network; its first convolution is one of three channels."""
    found: dict[str, int] = {}
    for name, short in plain.items():
        first = next((first for first in FIRST if f".{short}".endswith(f".{first}")), None)
        if first and len(shapes[name]) == 4:
            found[short.removesuffix(first)] = shapes[name][1]
    return [prefix for prefix, channels in found.items() if channels == 3] or list(found)


def _members(plain: dict[str, str], prefix: str, prefixes: list[str]) -> dict[str, str]:
    """The tensors of a network, without those of networks within it; features alone are `features.N` here too."""
    within = tuple(other for other in prefixes if other.startswith(prefix) and other != prefix)
    members = {
        name: short.removeprefix(prefix)
        for name, short in plain.items()
        if short.startswith(prefix) and not short.startswith(within)
    }
    if "0.weight" in members.values():
        numbered = {name: short for name, short in members.items() if re.match(r"\d+\.", short)}
        return {name: f"features.{short}" for name, short in numbered.items()}
    return members


def _fits(members: dict[str, str], shapes: Mapping[str, Shape]) -> bool:
    """Whether convolutions are those of a VGG network."""
    places = {}
    for name, short in members.items():
        found = re.fullmatch(r"(?:features\.|conv)(\d{1,3})(?:_(\d))?\.weight", short)
        if found and len(shapes[name]) == 4:
            places[int(found[1]), int(found[2] or 0)] = shapes[name]
    return is_network([places[place] for place in sorted(places)])


def _called(networks: dict[str, str], wanted: str) -> dict[str, str]:
    short = ".".join(part for part in wanted.strip(".").split(".") if part not in WRAPPERS) or "."
    found = {name: at for name, at in networks.items() if name == short} or {
        name: at for name, at in networks.items() if f"{name}.".startswith(f"{short}.")
    }
    if not found:
        raise NotWeightsError(f"has no VGG network called {wanted}; it has {few(list(networks), quoted=False)}")
    return found


def _average(names: list[str]) -> str:
    """The one of two networks that is a running average.

    Raises:
        NotWeightsError: it is not clear which network is meant.

    """
    averages = [name for name in names if AVERAGED.search(name)]
    if len(names) != 2 or len(averages) != 1:
        raise NotWeightsError(
            f"holds {len(names)} VGG networks: {few(names, quoted=False)}; name one of them behind the file's "
            f"name, as in FILE::{names[0]}, or by `tensors={names[0]}`"
        )
    return averages[0]


def _shown(prefix: str) -> str:
    return prefix.rstrip(".") or "."


def groups(names: Iterable[str]) -> list[str]:
    """Where tensors lie: the first part of their names, or the whole name of one that is alone there."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.partition(".")[0], []).append(name)
    return [members[0] if len(members) == 1 else group for group, members in found.items()]


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
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    linear = [name for name in unknown if is_linear(name, shapes)]
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
