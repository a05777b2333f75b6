"""The Open Inference Protocol, version 2, which clients of KServe and Triton speak: tensors as JSON or in binary.

A model takes one of three inputs:

- `image`, BYTES: encoded images.
- `pixels`, UINT8, of shape (batch, height, width, 3): the same, decoded.
- `images`, FP32, of shape (batch, 3, height, width): preprocessed already, as the ONNX export takes them.

It gives `probabilities`, FP64, of shape (batch, classes), and `labels`, BYTES: each image's most probable class.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import few, printable
from verydeep.evaluation.posterior import Posteriors
from verydeep.files import json_text
from verydeep.images.decode import Encoded
from verydeep.serving.limits import Refusal
from verydeep.serving.models import ServedModel
from verydeep.serving.requests import Call, check_count, from_base64, json_of
from verydeep.serving.service import Sent
from verydeep.version import __version__

HEADER = "inference-header-content-length"
VERSION = "1"
MOST_SIDE = 1 << 31  # of a tensor: more would be no number that can be told

IMAGE, PIXELS, IMAGES = "image", "pixels", "images"
INPUTS = {
    IMAGE: ("BYTES", [-1]),
    PIXELS: ("UINT8", [-1, -1, -1, 3]),
    IMAGES: ("FP32", [-1, 3, -1, -1]),
}
"""Names of the inputs, of which a request has one: their types and shapes."""
PROBABILITIES, LABELS = "probabilities", "labels"
OUTPUTS = {PROBABILITIES: "FP64", LABELS: "BYTES"}
NUMBERS: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}


@dataclass(frozen=True)
class Asked:
    """A request for inference.

    Attributes:
        id: of the request; it is given back.
        input: name of the tensor that is given.
        values: encoded images, pixels, or preprocessed numbers.
        outputs: names of the tensors that are wanted, and whether in binary.

    """

    id: str | None
    input: str
    values: Sequence[Sent] | NDArray[np.float32]
    outputs: Mapping[str, bool]


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of the server."""
    return {"name": "verydeep", "version": __version__, "extensions": ["binary_tensor_data"]}


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Inputs and outputs of a model."""
    classes = len(model.class_names)
    shapes = {PROBABILITIES: [-1, classes], LABELS: [-1]}
    inputs = {name: one for name, one in INPUTS.items() if name != IMAGES or model.takes_tensors}
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": f"verydeep_{model.engine.name}",
        "inputs": [{"name": name, "datatype": kind, "shape": shape} for name, (kind, shape) in inputs.items()],
        "outputs": [{"name": name, "datatype": kind, "shape": shapes[name]} for name, kind in OUTPUTS.items()],
    }


async def infer(call: Call) -> tuple[bytes, dict[str, str]]:
    """Answer a request: the body and its headers.

    Raises:
        Refusal: the request does not follow the protocol.
        UsageError, ImageError: as `Service.posteriors`.

    """
    model = call.model
    asked = await call.service.in_thread(partial(read, call))
    call.num_images = len(asked.values)
    if isinstance(asked.values, np.ndarray):
        rows = await call.service.posteriors_of_tensor(model, asked.values)
    else:
        rows = await call.service.posteriors(model, asked.values, None, ())
    return write(model, asked, rows)


def read(call: Call) -> Asked:
    """Read a request.

    Raises:
        Refusal: it does not follow the protocol.

    """
    text, binary = _split(call)
    given = json_of(text)
    if not isinstance(given, dict):
        raise Refusal(400, "the JSON must be an object with 'inputs'")
    asked_id = given.get("id")
    if asked_id is not None and not isinstance(asked_id, str):
        raise Refusal(400, "'id' must be text")
    inputs = given.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, f"'inputs' must be a list with one tensor: {', '.join(INPUTS)}")
    (tensor,) = inputs
    name = tensor.get("name")
    if not isinstance(name, str) or name not in INPUTS:
        raise Refusal(400, f"no input is called {printable(repr(name), 60)}; there are {', '.join(INPUTS)}")
    kind, shape = INPUTS[name]
    if tensor.get("datatype") != kind:
        seen = printable(repr(tensor.get("datatype")), 40)
        raise Refusal(400, f"input {name!r} has the datatype {seen}; it must be {kind}")
    sides = _shape(tensor.get("shape"), shape, name)
    parameters = _parameters(tensor, f"input {name!r}")
    check_count(sides[0], call.service.limits.max_images)
    size = parameters.get("binary_data_size")
    if size is None:
        if binary:
            raise Refusal(400, f"{len(binary)} bytes follow the JSON, and no input has 'binary_data_size'")
        values = _of_json(tensor.get("data"), kind, sides, name)
    else:
        if size != len(binary) or isinstance(size, bool):
            raise Refusal(
                400, f"'binary_data_size' is {printable(repr(size), 40)}, and {len(binary)} bytes follow the JSON"
            )
        values = _of_binary(binary, kind, sides, name)
    return Asked(asked_id, name, values, _outputs(given))


def write(model: ServedModel, asked: Asked, rows: Posteriors) -> tuple[bytes, dict[str, str]]:
    """Write an answer: the body and its headers."""
    labels = [model.class_names[number].encode() for number in rows.argmax(1)]
    tensors, binaries = [], []
    for name, binary in asked.outputs.items():
        values = rows if name == PROBABILITIES else labels
        tensor: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": [len(rows)]}
        if name == PROBABILITIES:
            tensor["shape"] = list(rows.shape)
        if binary:
            content = rows.astype("<f8").tobytes() if values is rows else b"".join(map(_with_length, labels))
            tensor["parameters"] = {"binary_data_size": len(content)}
            binaries.append(content)
        else:
            tensor["data"] = rows.ravel().tolist() if values is rows else [one.decode() for one in labels]
        tensors.append(tensor)
    answer: dict[str, Any] = {"model_name": model.name, "model_version": VERSION}
    answer |= {"id": asked.id} if asked.id is not None else {}
    text = json_text(answer | {"outputs": tensors}, allow_nan=False).encode()
    if not binaries:
        return text, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", HEADER: str(len(text))}
    return text + b"".join(binaries), headers


def _split(call: Call) -> tuple[bytes, bytes]:
    """The JSON of a body, and the binary data behind it."""
    length = call.headers.get(HEADER)
    if length is None:
        return call.body, b""
    if not (length.isascii() and length.isdigit() and len(length) < 12 and int(length) <= len(call.body)):
        raise Refusal(
            400,
            f"the header Inference-Header-Content-Length is {printable(repr(length), 40)}; it must be the "
            f"length of the JSON, at most the body's {len(call.body)} bytes",
        )
    return call.body[: int(length)], call.body[int(length) :]


def _shape(given: Any, wanted: Sequence[int], name: str) -> list[int]:
    whole = isinstance(given, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in given)
    fits = whole and len(given) == len(wanted)
    fits = fits and all(
        0 < one < MOST_SIDE if side == -1 else one == side for one, side in zip(given, wanted, strict=True)
    )
    if not fits:
        pattern = str(list(wanted)).replace("-1", "n")
        raise Refusal(400, f"input {name!r} has the shape {printable(repr(given), 60)}; it must be {pattern}")
    return list(given)


def _parameters(thing: dict[str, Any], what: str) -> dict[str, Any]:
    found = thing.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refusal(400, f"'parameters' of {what} must be an object")
    return found


def _outputs(given: dict[str, Any]) -> dict[str, bool]:
    """Names of the outputs that are wanted, and whether in binary."""
    everywhere = _parameters(given, "the request").get("binary_data_output", False) is True
    wanted = given.get("outputs")
    if wanted is None or wanted == []:
        return dict.fromkeys(OUTPUTS, everywhere)
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted):
        raise Refusal(400, "'outputs' must be a list of objects with a name each")
    found = {}
    for one in wanted:
        name = one.get("name")
        if not isinstance(name, str) or name not in OUTPUTS:
            raise Refusal(400, f"no output is called {printable(repr(name), 60)}; there are {few(list(OUTPUTS))}")
        found[name] = _parameters(one, f"output {name!r}").get("binary_data", everywhere) is True
    return found


def _of_json(data: Any, kind: str, shape: list[int], name: str) -> Sequence[Sent] | NDArray[np.float32]:
    """The values of a tensor that is written in JSON."""
    if not isinstance(data, list):
        raise Refusal(400, f"input {name!r} has no 'data'")
    if kind == "BYTES":
        if not all(isinstance(one, str) for one in data):
            raise Refusal(400, f"'data' of {name!r} must be base64 strings; or send the bytes as binary data")
        return _encoded([from_base64(one, f"image {n}") for n, one in enumerate(data)], shape, name)
    flat = _flat(data, prod(shape), name)
    try:
        array = np.array(flat, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise Refusal(400, f"'data' of {name!r} must be numbers") from None
    if kind == "UINT8" and not ((array >= 0) & (array <= 255) & (array == np.floor(array))).all():
        raise Refusal(400, f"'data' of {name!r} must be whole numbers from 0 to 255")
    with np.errstate(over="ignore"):
        return _numbers(array.astype(NUMBERS[kind]), kind, shape, name)


def _flat(data: list[Any], count: int, name: str) -> list[Any]:
    """The numbers of lists within lists."""
    flat = data
    while flat and isinstance(flat[0], list):
        if not all(isinstance(one, list) for one in flat):
            raise Refusal(400, f"'data' of {name!r} mixes numbers and lists")
        flat = [number for one in flat for number in one]
    if len(flat) != count or any(isinstance(one, (list, dict, str, bool)) or one is None for one in flat):
        raise Refusal(400, f"'data' of {name!r} must be the {count} numbers of its shape; {len(flat)} are there")
    return flat


def _of_binary(content: bytes, kind: str, shape: list[int], name: str) -> Sequence[Sent] | NDArray[np.float32]:
    """The values of a tensor that follows the JSON."""
    if kind != "BYTES":
        dtype = NUMBERS[kind]
        if len(content) != prod(shape) * dtype.itemsize:
            raise Refusal(
                400, f"input {name!r} needs {prod(shape) * dtype.itemsize} bytes for its shape, not {len(content)}"
            )
        return _numbers(np.frombuffer(content, dtype), kind, shape, name)
    parts: list[bytes] = []
    at = 0
    while at < len(content):
        if len(parts) == shape[0]:
            raise Refusal(400, f"input {name!r} has the shape {shape}, and more images")
        if at + 4 > len(content):
            raise Refusal(400, f"the binary data of {name!r} ends within a length")
        (length,) = struct.unpack_from("<I", content, at)
        part = content[at + 4 : at + 4 + length]
        if len(part) != length:
            raise Refusal(400, f"the binary data of {name!r} ends within an image of {length} bytes")
        parts.append(part)
        at += 4 + length
    return _encoded(parts, shape, name)


def _encoded(parts: list[bytes], shape: list[int], name: str) -> list[Sent]:
    if [len(parts)] != shape:
        raise Refusal(400, f"input {name!r} has the shape {shape}, and {len(parts)} images")
    return [Encoded(f"image {number}", content) for number, content in enumerate(parts)]


def _numbers(array: NDArray[Any], kind: str, shape: list[int], name: str) -> Sequence[Sent] | NDArray[np.float32]:
    array = array.reshape(shape)
    if kind == "UINT8":
        return list(array)
    if not np.isfinite(array).all() or np.abs(array).max(initial=0) > 1e6:
        raise Refusal(400, f"input {name!r} has numbers that are not finite, or beyond a million")
    return np.asarray(array, np.float32)


def _with_length(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content
