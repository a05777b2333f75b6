"""`verydeep inspect`: a file of weights -> what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.api.describe import in_bytes as size
from verydeep.commands.command import json_line
from verydeep.errors import printable
from verydeep.weights.inspection import inspect
from verydeep.weights.source import with_network

MOST_LETTERS = 4096  # of a line: a file may have any text in it


@dataclass
class Inspect:
    """Tell what a file of weights is: configuration, classes, preprocessing, licence, where it is known from.

    It takes files of torchvision, timm, Keras, Caffe and MatConvNet, folders of the Hub, models of ours, and ONNX
    graphs.
    """

    source: Annotated[Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Weights: a file, a folder or a name."""
    tensors: str | None = None
    """Which network to look at in a checkpoint that holds several: state_dict_ema, say."""
    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print it."""
        facts = inspect(with_network(self.source, self.tensors))
        print(json_line(facts) if self.json else readable(facts))


def readable(facts: dict[str, Any]) -> str:
    """Tell the same in lines, a fact each."""
    width = f", width {facts['width']:g}" if facts["width"] != 1 else ""
    norm = ", batch normalisation" if facts["batch_norm"] else ""
    classes = f"{facts['num_classes']:,}" if facts["num_classes"] else "none: features only"
    if facts["class_names"]:
        classes += f" ({', '.join(facts['class_names'][:3])}, ...)"
    lines = {
        "file": f"{facts['file']}, {facts['kind']}, {size(facts['bytes'])}",
        "layout": facts["layout"],
        "configuration": facts["configuration"] + width + norm,
        "parameters": f"{facts['parameters']:,} ({', '.join(facts['dtypes'])})",
        "classes": classes,
        "window": f"{facts['window']} pixels",
        "preprocessing": _preprocessing(facts["preprocessing"]),
        "trained at": _scale(facts["trained_on"]),
        "licence": facts["licence"] or "not known",
        "known from": facts["origin"] or "nowhere",
        "published as": _published(facts["published"]),
        "not finite": ", ".join(facts["not_finite"]),
        "sha256": facts["sha256"],
    }
    told = [f"{name:13}  {printable(value, MOST_LETTERS)}" for name, value in lines.items() if value]
    return "\n".join([*told, *(f"note: {printable(note, MOST_LETTERS)}" for note in facts["notes"])])


def _preprocessing(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "not known"
    mean, deviation = ([f"{number:g}" for number in facts[name]] for name in ("mean", "deviation"))
    if facts["channels"] == "BGR":  # numbers in the order of the channels that are named before them
        mean, deviation = mean[::-1], deviation[::-1]
    divided = "" if set(deviation) == {"1"} else f", divided by {' '.join(deviation)}"
    return f"{facts['channels']} of 0 to 255, less {' '.join(mean)}{divided}"


def _scale(facts: dict[str, Any] | None) -> str:
    return f"S = {' to '.join(map(str, sorted(set(facts['scale']))))}" if facts else ""


def _published(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    if facts["top1_error"] is None:
        return str(facts["name"])
    errors = f"top-1 error {facts['top1_error']:g} %, top-5 {facts['top5_error']:g} %"
    return f"{facts['name']}: {errors} ({facts['protocol']})"
