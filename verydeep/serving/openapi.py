"""The table of routes -> an OpenAPI description of them."""

from __future__ import annotations

import base64
import re
from typing import Any

from PIL import Image

from verydeep.images.encode import png
from verydeep.serving.inference_v2 import VERSION
from verydeep.serving.limits import Limits
from verydeep.serving.models import ServedModels
from verydeep.serving.requests import JSON
from verydeep.serving.routes import ROUTES, TENSOR, Route
from verydeep.version import __version__

REFUSALS = {
    400: "The request is not understood: the answer says what is wanted.",
    403: "The request comes from another site's page.",
    408: "The body did not arrive in time.",
    413: "The request is larger than the server takes.",
    415: "The body is a form.",
    421: "The name of the host is not one of this server's.",
    431: "Address and headers are too long.",
    500: "The model gives scores that are not finite, or an error of the server.",
    503: "The server is busy; `Retry-After` says when to try again.",
}
ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
BINARY = {"type": "string", "format": "binary"}
EXAMPLE = base64.b64encode(png(Image.new("RGB", (8, 8), (200, 40, 40)))).decode()
BASE64 = {"type": "string", "contentEncoding": "base64", "minLength": 4}


def describe(models: ServedModels, limits: Limits, *, token: bool) -> dict[str, Any]:
    """Describe all routes.

    Args:
        models: of the server.
        limits: likewise.
        token: whether it wants one.

    """
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, models, limits, token=token)
    described: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "verydeep",
            "version": __version__,
            "description": f"Models: {', '.join(models)}. Errors are JSON with one sentence under 'error'.",
        },
        "servers": [{"url": "."}],  # beside this description, wherever it is mounted
        "paths": paths,
        "components": {"schemas": {"Error": ERROR}},
    }
    if token:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return described


def _operation(route: Route, models: ServedModels, limits: Limits, *, token: bool) -> dict[str, Any]:
    guarded = token and not route.is_open
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.summary,
        "parameters": [*_path_parameters(route, models), *_query_parameters(route, models)],
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {kind: {"schema": schema or _any(kind)} for kind, schema in route.answers},
            },
            **{str(status): _refusal(text) for status, text in _refusals(route, guarded=guarded).items()},
        },
    }
    if route.body:
        found["requestBody"] = {"required": True, "content": _body(route, limits)}
    if guarded:
        found["security"] = [{"token": []}]
    return found


def _any(kind: str) -> dict[str, Any]:
    return {} if kind == JSON else {"type": "string"} if kind.startswith("text/") else BINARY


def _refusals(route: Route, *, guarded: bool) -> dict[int, str]:
    found = dict(REFUSALS)
    if not route.body:
        found = {status: found[status] for status in (400, 403, 408, 413, 421, 431, 503)}
    if guarded:
        found[401] = "The token is missing or wrong."
    if "{model}" in route.path:
        found[404] = "There is no such model."
    return found


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}}


def _path_parameters(route: Route, models: ServedModels) -> list[dict[str, Any]]:
    known = {"model": ("name of the model", list(models)), "version": ("its only version", [VERSION])}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": known[name][0],
            "schema": {"type": "string", "enum": known[name][1]},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _query_parameters(route: Route, models: ServedModels) -> list[dict[str, Any]]:
    known = {
        "layers": sorted({layer for model in models.values() for layer in model.layers()}),
        "label": sorted({name for model in models.values() for name in model.class_names}),
    }
    return [
        {
            "name": one.name,
            "in": "query",
            "required": one.required,
            "description": one.text,
            "schema": one.schema(known.get(one.name, ())),
            **({"style": "form", "explode": False} if one.several else {}),
        }
        for one in route.query
    ]


def _body(route: Route, limits: Limits) -> dict[str, Any]:
    if route.body == "inference":
        inference = {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "inputs": {"type": "array", "items": TENSOR, "minItems": 1, "maxItems": 1},
                "outputs": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"name": {"type": "string"}}},
                },
                "parameters": {"type": "object"},
            },
            "required": ["inputs"],
        }
        return {JSON: {"schema": inference}, "application/octet-stream": {"schema": BINARY}}
    least, most = {"image": (1, 1), "images": (1, limits.max_images), "pair": (2, 2)}[route.body]
    images = {"type": "array", "items": BASE64, "minItems": least, "maxItems": most}
    schema = {"type": "object", "properties": {"images": images}, "required": ["images"]}
    listed = {JSON: {"schema": schema, "example": {"images": [EXAMPLE] * least}}}
    raw = {kind: {"schema": BINARY} for kind in ("image/*", "application/octet-stream")}
    return listed if route.body == "pair" else raw | listed
