"""`verydeep.inspect`: a file of weights -> what it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from typing import Any

from verydeep.accounting import num_parameters
from verydeep.arguments import checked
from verydeep.errors import command_line, printable
from verydeep.files import digest_of
from verydeep.images.color import Preprocessing
from verydeep.results import Result, in_bytes
from verydeep.run_folder import all_finite, check_shapes, read_config, weights_file
from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.formats import FORMATS
from verydeep.weights.importing import Imported, import_weights, window_question
from verydeep.weights.metadata import Metadata
from verydeep.weights.opening import check_ours, is_ours
from verydeep.weights.published import Published
from verydeep.weights.source import Source, locate, with_network

MOST_NAMES = 10
MOST_LETTERS = 4096  # of a line: a file may have any text in it


@dataclass(frozen=True, repr=False)
class Inspection(Result):
    """What a file of weights is.

    Attributes:
        weights: as they were read: their file, architecture, metadata and notes.

    """

    weights: Imported

    def to_dict(self) -> dict[str, Any]:
        """Facts as plain data, by name; None is what is not known."""
        weights, metadata = self.weights, self.weights.metadata
        architecture, published = weights.architecture, weights.published
        facts = {
            "source": weights.source.name,
            "file": str(weights.path),
            "kind": FORMATS[weights.format].label,
            "bytes": weights.path.stat().st_size,
            "sha256": weights.sha256,
            "layout": weights.layout,
            **{name: getattr(architecture, name) for name in ("configuration", "width", "num_classes", "window")},
            "batch_norm": architecture.batch_norm,
            "parameters": num_parameters(architecture),
            "dtypes": list(weights.dtypes),
            "not_finite": list(weights.not_finite),
            "preprocessing": metadata.preprocessing and asdict(metadata.preprocessing),
            "class_names": None if metadata.class_names is None else list(metadata.class_names[:MOST_NAMES]),
            "trained_on": metadata.trained_on and asdict(metadata.trained_on),
            "licence": metadata.licence,
            "origin": metadata.origin,
            "published": published
            and {
                name: getattr(published, name) for name in ("name", "url", "top1_error", "top5_error", "protocol")
            },
            "notes": [*weights.notes, *_missing(weights)],
        }
        if weights.format == "onnx":
            facts |= {"origin": weights.facts["producer"] or None, "opset": weights.facts["opset"]}
        if "shapes" in weights.facts:
            facts["shapes"] = [list(shape) for shape in weights.facts["shapes"]]
        return facts

    def __str__(self) -> str:
        facts, metadata = self.to_dict(), self.weights.metadata
        width = f", width {facts['width']:g}" if facts["width"] != 1 else ""
        norm = ", batch normalisation" if facts["batch_norm"] else ""
        classes = f"{facts['num_classes']:,}" if facts["num_classes"] else "none: features only"
        if facts["class_names"]:
            classes += f" ({', '.join(facts['class_names'][:3])}{', ...' * (len(facts['class_names']) > 3)})"
        lines = {
            "file": f"{facts['file']}, {facts['kind']}, {in_bytes(facts['bytes'])}",
            "layout": facts["layout"],
            "configuration": facts["configuration"] + width + norm,
            "parameters": f"{facts['parameters']:,} ({', '.join(facts['dtypes'])})",
            "classes": classes,
            "window": f"{facts['window']} pixels",
            "preprocessing": _in_words(metadata.preprocessing),
            "trained at": metadata.trained_on
            and f"S = {' to '.join(map(str, sorted(set(metadata.trained_on.scale))))}",
            "licence": facts["licence"] or "not known",
            "known from": facts["origin"] or "not known",
            "published as": _errors(self.weights.published),
            "not finite": ", ".join(facts["not_finite"]),
            "sha256": facts["sha256"],
        }
        told = [f"{name:13}  {printable(value, MOST_LETTERS)}" for name, value in lines.items() if value]
        return "\n".join([*told, *(f"note: {printable(note, MOST_LETTERS)}" for note in facts["notes"])])


@checked
def inspect(source: str | PathLike[str], *, tensors: str | None = None) -> Inspection:
    """Show what a file of weights is: configuration, classes, preprocessing, licence, origin.

    It takes files of torchvision, timm, Keras, Caffe and MatConvNet, folders of the Hub, models of ours, and ONNX
    graphs. Unknown facts are not an error.

    Args:
        source: weights: a file, a folder or a name.
        tensors: network to take from a checkpoint that holds several, such as state_dict_ema.

    Raises:
        ModelError: there is no such file, it is damaged, or no VGG network's.
        VerydeepError: a library that reads it is not installed.

    """
    where = locate(with_network(source, tensors))
    return Inspection(_ours(where) if is_ours(where.path) else import_weights(where))


def _ours(source: Source) -> Imported:
    """A model of ours, whose numbers need not be finite here."""
    check_ours(source)
    config, path = read_config(source.path), weights_file(source.path)
    tensors, facts = read_tensors(path), config.provenance
    check_shapes(config.architecture, tensors, str(path))
    origin = "this package, which it comes with" if source.embedded else facts.get("origin")
    metadata = Metadata(config.preprocessing, config.class_names, config.trained_on, facts.get("licence"), origin)
    return Imported(
        source=source,
        path=path,
        format="safetensors",
        layout="verydeep",
        architecture=config.architecture,
        tensors=tensors,
        metadata=metadata,
        dtypes=tuple(sorted({type_name(entry.dtype) for entry in read_header(path).entries.values()})),
        sha256=digest_of(path),
        notes=list(facts.get("notes") or []),
        not_finite=tuple(name for name, tensor in tensors.items() if not all_finite(tensor)),
    )


def _missing(weights: Imported) -> list[str]:
    """What must be given before the weights can be used."""
    convert = partial(command_line, "convert", weights.source.name, "RUN")
    window = window_question(weights.architecture.window)
    metadata = weights.metadata
    notes = {
        f"the file does not say {window}: {convert('--window', 'PIXELS')} takes it": not weights.window_known,
        f"preprocessing is not known: {convert('--preprocessing', 'NAME')} takes it": not metadata.preprocessing,
        f"class names are not known: {convert('--class-names', 'FILE')} takes them": metadata.class_names is None,
        "its weights are made by ConstantOfShape nodes: it has shapes but no trained weights": "shapes"
        in weights.facts,
    }
    return [note for note, missing in notes.items() if missing]


def _in_words(preprocessing: Preprocessing | None) -> str:
    if preprocessing is None:
        return "not known"
    mean, deviation = (
        [f"{number:g}" for number in part] for part in (preprocessing.mean, preprocessing.deviation)
    )
    if preprocessing.channels == "BGR":  # numbers in the order of the channels that are named before them
        mean, deviation = mean[::-1], deviation[::-1]
    divided = "" if set(deviation) == {"1"} else f", divided by {' '.join(deviation)}"
    return f"{preprocessing.channels} of 0 to 255, less {' '.join(mean)}{divided}"


def _errors(published: Published | None) -> str:
    if published is None or published.top1_error is None:
        return published.name if published else ""
    errors = f"top-1 error {published.top1_error:g} %, top-5 {published.top5_error:g} %"
    return f"{published.name}: {errors} ({published.protocol})"
