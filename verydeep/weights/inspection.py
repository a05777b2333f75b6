"""What there is to say about a file of weights, as plain data."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.accounting import num_parameters
from verydeep.configurations import Architecture
from verydeep.images.color import Preprocessing
from verydeep.run_folder import all_finite, check_shapes, read_config, weights_file
from verydeep.safetensors_file import read_header, read_tensors, type_name
from verydeep.weights.files import KINDS, kind_of
from verydeep.weights.foreign import Found, examine, window_question
from verydeep.weights.opening import check_alone, is_ours
from verydeep.weights.published import checksum
from verydeep.weights.source import Source, locate

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
            f"nobody says {window_question(found.architecture.window)}: `verydeep convert` takes --window"
        )
    if known.preprocessing is None:
        notes.append("preprocessing is not known: `verydeep convert` takes it as --preprocessing")
    if known.class_names is None:
        notes.append("class names are not known: `verydeep convert` takes them as --class-names")
    if "shapes" in found.facts:
        notes.append("its weights are made by ConstantOfShape nodes: it has shapes and no trained numbers")
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
        **(_graph(found.facts) if found.kind == "onnx" else {}),
    }


def _graph(facts: dict[str, Any]) -> dict[str, Any]:
    """What an ONNX file says beside the layers."""
    said = {"origin": facts["producer"] or None, "opset": facts["opset"]}
    return said | {"shapes": [list(shape) for shape in facts["shapes"]]} if "shapes" in facts else said


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
        "window": architecture.window,
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
