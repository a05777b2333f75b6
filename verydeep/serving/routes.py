"""The table that routes requests; `openapi.py` describes it. A new address is a handler and a row."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Literal

import numpy as np
from PIL import Image

from verydeep.errors import UsageError, did_you_mean, printable
from verydeep.evaluation.protocols import PROTOCOLS
from verydeep.evaluation.ranking import Ranking, ranked
from verydeep.evaluation.score_map import ScoreMap
from verydeep.extraction.extract import Rows
from verydeep.files import json_text
from verydeep.images.decode import Encoded
from verydeep.images.drawing import heat_colors
from verydeep.images.encode import png
from verydeep.serving import inference_v2
from verydeep.serving.limits import MOST_VALUES, MOST_WRITTEN, Refusal
from verydeep.serving.page import PAGE, POLICY
from verydeep.serving.requests import JSON, Call, Parameter
from verydeep.serving.service import Comparison
from verydeep.visualization.maps import LayerMaps

MOST_TOP = 1000

TOP = Parameter("top", "how many classes, the most probable first", 5, count=True, most=MOST_TOP)
SCALES = Parameter(
    "scales",
    "smaller sides that the image is rescaled to, Q, with commas",
    (),
    count=True,
    several=True,
    most=10_000,
)
SCALE = Parameter("scale", "smaller side that the image is rescaled to", count=True, most=10_000)
VIEWS = Parameter("views", "test protocol (default: dense)", choices=tuple(PROTOCOLS))
LAYERS = Parameter("layers", "names of layers, with commas, such as relu4_1,fc7", several=True, required=True)


@dataclass(frozen=True)
class Answer:
    """What a handler gives.

    Attributes:
        body: of the response.
        headers: beyond those that all responses have.

    """

    body: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": JSON})


Handler = Callable[[Call], Awaitable[Answer]]
Body = Literal["", "image", "images", "pair", "inference"]


@dataclass(frozen=True)
class Route:
    """An address.

    Attributes:
        method: of HTTP.
        path: with parameters in braces.
        handler: that answers.
        summary: of what it does, a short line.
        body: what is sent.
        query: its parameters.
        answers: content types of its answer, the first is usual, and the JSON schema of each.
        is_open: whether no token is wanted.

    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    summary: str
    body: Body = ""
    query: tuple[Parameter, ...] = ()
    answers: tuple[tuple[str, dict[str, Any]], ...] = ((JSON, {}),)
    is_open: bool = False


def as_json(value: Any) -> Answer:
    """An answer in JSON."""
    return Answer(json_text(value, allow_nan=False).encode())


async def page(call: Call) -> Answer:
    """The page for people."""
    return Answer(PAGE, {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY})


async def models(call: Call) -> Answer:
    """What models there are."""
    return as_json([one.facts() for one in call.service.models.values()])


async def predict(call: Call) -> Answer:
    """The most probable classes."""
    images, several = await call.images()
    model = call.model
    rows = await call.service.posteriors(model, images, call.query["views"], call.query["scales"])
    rankings = [labelled(ranked(row, model.class_names, call.query["top"])) for row in rows]
    return as_json(rankings if several else rankings[0])


async def score_map(call: Call) -> Answer:
    """Where in an image classes are seen."""
    image = await _only(call)
    names = call.model.class_names
    label = call.query["label"]
    if label is not None and label not in names:
        raise Refusal(400, f"no class is called {printable(repr(label), 60)}{did_you_mean(label, names)}")

    def render(found: ScoreMap) -> Answer:
        if call.query["format"] == "png":
            return Answer(png(found.draw(names.index(label) if label else None)), {"content-type": "image/png"})
        means = found.posteriors.mean((1, 2))
        chosen = [names.index(label)] if label else np.argsort(-means, kind="stable")[: call.query["top"]]
        values = len(chosen) * found.posteriors[0].size
        if values > MOST_WRITTEN:
            raise Refusal(413, f"the answer would have {values:,} numbers, more than {MOST_WRITTEN:,}: use `top`")
        return as_json(map_as_data(found, [int(one) for one in chosen]))

    return await call.service.score_map(call.model, image, call.query["scale"], render)


async def extract(call: Call) -> Answer:
    """Outputs of layers."""
    images, several = await call.images()
    query = call.query
    in_json = query["format"] == "json"

    def render(rows: list[Rows]) -> Answer:
        if not in_json:
            return _archive(rows, query["layers"])
        plain = [{name: maps[0].tolist() for name, maps in one.items()} for one in rows]
        return as_json(plain if several else plain[0])

    most = MOST_WRITTEN if in_json else MOST_VALUES
    return await call.service.outputs(
        call.model, images, query["layers"], query["pool"], query["scale"], most, render
    )


def _archive(rows: list[Rows], layers: Sequence[str]) -> Answer:
    """Outputs as an archive of NumPy's, an array a layer."""
    try:
        arrays = {name: np.concatenate([one[name] for one in rows]) for name in layers}
    except ValueError:
        raise UsageError(
            "the images' outputs have different shapes; use `pool`, the format json, or one image"
        ) from None
    file = BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # NumPy's types think of the other arguments
    return Answer(file.getvalue(), {"content-type": "application/zip"})


async def channels(call: Call) -> Answer:
    """The strongest channels of layers."""
    query = call.query

    def render(found: list[LayerMaps]) -> Answer:
        return as_json([channels_as_data(one) for one in found])

    image = await _only(call)
    return await call.service.channels(call.model, image, query["layers"], query["top"], query["scale"], render)


async def compare(call: Call) -> Answer:
    """The perceptual distance of two images."""
    images, several = await call.images()
    if not several or len(images) != 2:
        raise Refusal(400, 'send JSON with two images: {"images": [..., ...]}')
    query = call.query
    found = await call.service.compare(
        call.model,
        images,
        query["metric"],
        query["layers"],
        scale=query["scale"],
        resize=query["resize"] == "first",
        drawn=query["map"] == "true",
    )
    return as_json(comparison_as_data(found))


async def health(call: Call) -> Answer:
    """That the server is there."""
    return as_json({"status": "ok"})


async def metrics(call: Call) -> Answer:
    """Counts, for Prometheus."""
    text = call.service.metrics.text(call.service.room.taken)
    return Answer(text.encode(), {"content-type": "text/plain; version=0.0.4; charset=utf-8"})


async def v2_server(call: Call) -> Answer:
    """Name, version and extensions of the server."""
    return as_json(inference_v2.server_metadata())


async def v2_live(call: Call) -> Answer:
    """That the server is there."""
    return as_json({"live": True})


async def v2_ready(call: Call) -> Answer:
    """That the models answer."""
    return as_json({"ready": True})


async def v2_model(call: Call) -> Answer:
    """Inputs and outputs of a model."""
    _check_version(call)
    return as_json(inference_v2.model_metadata(call.model))


async def v2_model_ready(call: Call) -> Answer:
    """That a model answers."""
    _check_version(call)
    return as_json({"name": call.model.name, "ready": True})


async def v2_infer(call: Call) -> Answer:
    """Tensors in, tensors out."""
    _check_version(call)
    return Answer(*await inference_v2.infer(call))


def _check_version(call: Call) -> None:
    """Models have one version."""
    version = call.path.get("version", inference_v2.VERSION)
    if version != inference_v2.VERSION:
        word = printable(repr(version), 40)
        raise Refusal(404, f"{call.model.name} has no version {word}; it has {inference_v2.VERSION}")


def labelled(ranking: Ranking) -> list[dict[str, Any]]:
    """A ranking in the shape of Hugging Face's image classification."""
    return [{"label": one.class_name, "score": one.probability} for one in ranking]


def map_as_data(found: ScoreMap, labels: Sequence[int]) -> dict[str, Any]:
    """Maps of classes as plain data: probabilities of windows, row by row."""
    height, width = found.pixels.shape[:2]
    return {
        "width": width,
        "height": height,
        "window": found.window,
        "stride": found.stride,
        "margin": found.margin,
        "classes": [
            {
                "label": found.class_names[one],
                "mean": float(found.posteriors[one].mean()),
                "map": found.posteriors[one].round(6).tolist(),
            }
            for one in labels
        ],
    }


def channels_as_data(found: LayerMaps) -> dict[str, Any]:
    """A layer's strongest channels as plain data, each with its map as a PNG."""

    def drawn(values: Any) -> str:
        levels = heat_colors(np.clip(values / (found.much or 1.0), 0, 1))
        return base64.b64encode(png(Image.fromarray(levels))).decode()

    return {
        "layer": found.layer,
        "shape": list(found.shape),
        "sees": found.field,
        "silent": found.num_silent,
        "strongest": [
            {"channel": one.number, "strength": one.strength, "map": drawn(one.map)} for one in found.strongest
        ],
    }


def comparison_as_data(found: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    drawn = base64.b64encode(found.map).decode() if found.map else None
    return {"metric": found.metric, "distance": found.distance, "map": drawn}


async def _only(call: Call) -> Encoded:
    images, _ = await call.images()
    if len(images) != 1:
        raise Refusal(400, f"{len(images)} images were sent; send one")
    return images[0]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


NUMBER, TEXT, WHOLE = {"type": "number"}, {"type": "string"}, {"type": "integer"}
CLASSES = _list(_object(label=TEXT, score=NUMBER))
MAP = _object(
    width=WHOLE,
    height=WHOLE,
    window=WHOLE,
    stride=WHOLE,
    margin=WHOLE,
    classes=_list(_object(label=TEXT, mean=NUMBER, map=_list(_list(NUMBER)))),
)
LAYER = _object(
    layer=TEXT,
    shape=_list(WHOLE),
    sees=WHOLE,
    silent=WHOLE,
    strongest=_list(_object(channel=WHOLE, strength=NUMBER, map=TEXT)),
)
FACTS = _object(
    name=TEXT,
    classes=_list(TEXT),
    window=WHOLE,
    scales=_list(WHOLE),
    views=_list(TEXT),
    has_map={"type": "boolean"},
    layers=_list(TEXT),
    members=_list(TEXT),
    configuration=TEXT,
    engine=TEXT,
)
TENSOR = {
    "type": "object",
    "properties": {
        "name": TEXT,
        "datatype": TEXT,
        "shape": _list(WHOLE),
        "data": {},
        "parameters": {"type": "object"},
    },
    "required": ["name", "datatype", "shape"],
}

_MODEL = (
    Route(
        "POST",
        "/predict",
        predict,
        "Classify an image, or several",
        "images",
        (TOP, SCALES, VIEWS),
        ((JSON, {"anyOf": [CLASSES, _list(CLASSES)]}),),
    ),
    Route(
        "POST",
        "/map",
        score_map,
        "Show where in an image classes are seen",
        "image",
        (
            Parameter("label", "name of the class (default: the most probable)"),
            SCALE,
            Parameter("top", "how many classes, as JSON", 5, count=True, most=MOST_TOP),
            Parameter("format", "png, or json: probabilities of each window", "png", choices=("png", "json")),
        ),
        (("image/png", {}), (JSON, MAP)),
    ),
    Route(
        "POST",
        "/extract",
        extract,
        "Give the outputs of layers",
        "images",
        (
            LAYERS,
            Parameter("pool", "what is kept of an output", "mean", choices=("mean", "max", "gram", "none")),
            SCALE,
            Parameter("format", "json, or npz: arrays of NumPy", "json", choices=("json", "npz")),
        ),
        ((JSON, {"anyOf": [{"type": "object"}, _list({"type": "object"})]}), ("application/zip", {})),
    ),
    Route(
        "POST",
        "/channels",
        channels,
        "Show the strongest channels of layers",
        "image",
        (
            LAYERS,
            Parameter("top", "how many channels of each", 8, count=True, most=64),
            SCALE,
        ),
        ((JSON, _list(LAYER)),),
    ),
    Route(
        "POST",
        "/compare",
        compare,
        "Measure the perceptual distance of two images",
        "pair",
        (
            Parameter(
                "metric",
                "lpips needs VGG-16's weights (default: lpips where the model is VGG-16, else content)",
                choices=("lpips", "content", "style"),
            ),
            Parameter("layers", "for content and style: layers to compare, with commas", (), several=True),
            SCALE,
            Parameter(
                "resize",
                "first rescales the second image to the size of the first",
                "none",
                choices=("none", "first"),
            ),
            Parameter("map", "true gives a PNG of where the images differ", "false", choices=("false", "true")),
        ),
        ((JSON, _object(metric=TEXT, distance=NUMBER, map={"type": ["string", "null"]})),),
    ),
)

_V2_MODEL = (
    Route(
        "GET",
        "",
        v2_model,
        "Inputs and outputs of a model",
        answers=(
            (
                JSON,
                _object(
                    name=TEXT, versions=_list(TEXT), platform=TEXT, inputs=_list(TENSOR), outputs=_list(TENSOR)
                ),
            ),
        ),
    ),
    Route(
        "GET",
        "/ready",
        v2_model_ready,
        "Tell that a model answers",
        answers=((JSON, _object(name=TEXT, ready={"type": "boolean"})),),
    ),
    Route(
        "POST",
        "/infer",
        v2_infer,
        "Infer: tensors in, tensors out",
        "inference",
        answers=(
            (JSON, _object(model_name=TEXT, model_version=TEXT, outputs=_list(TENSOR))),
            ("application/octet-stream", {}),
        ),
    ),
)


def _below(prefix: str, routes: Sequence[Route]) -> tuple[Route, ...]:
    """The same addresses below another."""
    return tuple(replace(one, path=prefix + one.path) for one in routes)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/", page, "The page for people", answers=(("text/html", {}),)),
    Route("GET", "/models", models, "List the models", answers=((JSON, _list(FACTS)),)),
    *_MODEL,
    *_below("/models/{model}", _MODEL),
    Route(
        "GET",
        "/health",
        health,
        "Tell that the server is there",
        answers=((JSON, _object(status=TEXT)),),
        is_open=True,
    ),
    Route("GET", "/metrics", metrics, "Counts, for Prometheus", answers=(("text/plain", {}),)),
    Route(
        "GET",
        "/v2",
        v2_server,
        "Name and version of the server",
        answers=((JSON, _object(name=TEXT, version=TEXT, extensions=_list(TEXT))),),
    ),
    Route(
        "GET",
        "/v2/health/live",
        v2_live,
        "Tell that the server is there",
        answers=((JSON, _object(live={"type": "boolean"})),),
    ),
    Route(
        "GET",
        "/v2/health/ready",
        v2_ready,
        "Tell that the models answer",
        answers=((JSON, _object(ready={"type": "boolean"})),),
    ),
    *_below("/v2/models/{model}", _V2_MODEL),
    *_below("/v2/models/{model}/versions/{version}", _V2_MODEL),
)
"""All addresses but `/openapi.json`, which describes them."""
