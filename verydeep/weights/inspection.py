"""What there is to say about a file of weights, as plain data."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.configurations import Architecture, num_parameters
from verydeep.errors import ModelError, printable
from verydeep.images.color import Preprocessing
from verydeep.run_folder import all_finite, check_shapes, read_config, weights_file
from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.files import KINDS, kind_of, read
from verydeep.weights.files.onnx import Graph
from verydeep.weights.files.raw import Raw
from verydeep.weights.foreign import Found, examine, window_question
from verydeep.weights.layouts.onnx import Walk
from verydeep.weights.opening import check_alone, is_ours
from verydeep.weights.published import checksum
from verydeep.weights.recognize import architecture_of
from verydeep.weights.source import Source, locate, weights_path

MOST_NAMES = 10


def inspect(source: str | PathLike[str]) -> dict[str, Any]:
    """Tell what weights are.

    Raises:
        ModelError: as `open_source`; but what is not known about them is no error.

    """
    where = locate(source)
    if is_ours(where.path):
        check_alone(where)
        return _ours(where)
    path = weights_path(where.path)
    if kind_of(path) == "onnx":
        return _graph(where, path)
    return _found(examine(where))


def _ours(where: Source) -> dict[str, Any]:
    config = read_config(where.path)
    path = weights_file(where.path)
    tensors = read_tensors(path)
    check_shapes(config.architecture, tensors, str(path))
    dtypes = {type_name(entry.dtype) for entry in read_header(path).entries.values()}
    return {
        **_file(where, path, checksum(path)),
        "layout": "verydeep",
        **_architecture(config.architecture),
        "dtypes": sorted(dtypes),
        "not_finite": [name for name, tensor in tensors.items() if not all_finite(tensor)],
        "preprocessing": _preprocessing(config.preprocessing),
        "class_names": _few(config.class_names),
        "trained_on": {"scale": list(config.trained_on.scale), "mirror": config.trained_on.mirror},
        "licence": config.provenance.get("licence"),
        "origin": "this package, which it comes with" if where.embedded else config.provenance.get("origin"),
        "published": None,
        "notes": list(config.provenance.get("notes", [])),
    }


def _found(found: Found) -> dict[str, Any]:
    known, published = found.known, found.published
    notes = list(found.notes)
    if not found.window_known:
        notes.append(
            f"nobody says {window_question(found.architecture.image_size)}: `verydeep convert` takes --window"
        )
    if known.preprocessing is None:
        notes.append("preprocessing is not known: `verydeep convert` takes it as --preprocessing")
    if known.class_names is None:
        notes.append("class names are not known: `verydeep convert` takes them as --class-names")
    return {
        **_file(found.source, found.path, found.sha256),
        "layout": found.layout,
        **_architecture(found.architecture),
        "dtypes": list(found.dtypes),
        "not_finite": list(found.not_finite),
        "preprocessing": _preprocessing(known.preprocessing),
        "class_names": _few(known.class_names),
        "trained_on": known.trained_on
        and {"scale": list(known.trained_on.scale), "mirror": known.trained_on.mirror},
        "licence": known.licence,
        "origin": known.origin,
        "published": published
        and {
            "name": published.name,
            "url": published.url,
            "top1_error": published.top1_error,
            "top5_error": published.top5_error,
            "protocol": published.protocol,
        },
        "notes": notes,
    }


def _graph(where: Source, path: Path) -> dict[str, Any]:
    raw = read(path)
    graph: Graph = raw.facts["graph"]
    try:
        walk = Walk(graph)
        facts = _shapes_alone(where, path, raw, walk) if walk.made_by_nodes else _found(examine(where))
    except ModelError as error:
        said = printable(error)
        raise ModelError(said if str(path) in said else f"{path} {said}") from None
    facts["origin"] = graph.facts["producer"] or None
    return facts | {"opset": graph.facts["opset"]}


def _shapes_alone(where: Source, path: Path, raw: Raw, walk: Walk) -> dict[str, Any]:
    """What shapes tell, of a graph whose nodes make one number of every weight."""
    layers = walk.layers()
    shapes = [[layer.weight.shape for layer in part] for part in (layers.convolutions, layers.fully_connected)]
    norms = any(layer.norm for layer in layers.convolutions)
    architecture = architecture_of(*shapes, batch_norm=norms, has_lrn=layers.has_lrn, lrn=layers.lrn)
    dtypes = tuple(dict.fromkeys(raw.dtypes.values())) or ("float32",)
    found = Found(where, path, "onnx", "onnx", architecture, {}, walk.known(), dtypes, checksum(path))
    found.notes.append("its weights are made by ConstantOfShape nodes: it has shapes and no trained numbers")
    return _found(found) | {"shapes": [list(shape) for part in shapes for shape in part]}


def _file(where: Source, path: Path, sha256: str) -> dict[str, Any]:
    kind = kind_of(path)
    return {
        "source": where.name,
        "file": str(path),
        "kind": KINDS[kind],
        "bytes": path.stat().st_size,
        "sha256": sha256,
    }


def _architecture(architecture: Architecture) -> dict[str, Any]:
    return {
        "configuration": architecture.configuration,
        "width": architecture.width,
        "num_classes": architecture.num_classes,
        "image_size": architecture.image_size,
        "batch_norm": architecture.batch_norm,
        "parameters": num_parameters(architecture),
    }


def _preprocessing(preprocessing: Preprocessing | None) -> dict[str, Any] | None:
    if preprocessing is None:
        return None
    return {
        "mean": list(preprocessing.mean),
        "deviation": list(preprocessing.deviation),
        "channels": preprocessing.channels,
    }


def _few(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names[:MOST_NAMES])
