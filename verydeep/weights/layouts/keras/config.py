"""The configuration that Keras writes beside weights -> the layers in the order of the data flow.

Models within models are opened. The JSON of Keras 2 and of Keras 3 is read, and nothing of it is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from verydeep.errors import ModelError, printable

MODELS = {"Functional", "Model", "Sequential"}
MOST_DEPTH, MOST_NAME = 8, 60
CHANNELS_REVERSED = "channels in reverse order"


@dataclass
class KerasLayer:
    """A layer of a Keras model.

    Attributes:
        kind: its class, as Keras calls it.
        name: its own name.
        settings: what it was made with.
        operands: what an operation takes besides a layer's answer.
        top: name of the layer of the outermost model that it is, or is in.
        path: where Keras 3 keeps its weights: classes, numbered within each model.
        shape: of what it takes, the batch first, where the file says it.

    """

    kind: str
    name: str
    settings: dict[str, Any]
    operands: list[Any] = field(default_factory=list)
    top: str = ""
    path: str = ""
    shape: Any = None

    def __str__(self) -> str:
        units = self.settings.get("units") or self.settings.get("filters")
        return (
            f"{printable(self.kind, MOST_NAME)} ({printable(self.name, MOST_NAME)}{f', {units}' if units else ''})"
        )


def layers_of_model(config: str) -> list[KerasLayer]:
    """The layers of a model from the image to the scores.

    Args:
        config: JSON of Keras: the model's class and its configuration.

    Raises:
        ModelError: it is no chain of layers.
        KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError: it is not Keras's.

    """
    return list(_open(json.loads(config), "", "", 0))


def _open(model: Any, top: str, path: str, depth: int) -> Iterator[KerasLayer]:
    if depth > MOST_DEPTH or model["class_name"] not in MODELS:
        raise ModelError(
            f"is a {printable(model['class_name'], MOST_NAME)}, which is not Sequential or functional"
        )
    config = model["config"]
    layers = config["layers"] if isinstance(config, dict) else config  # before Keras 2.2 it was a list
    paths = _paths([layer["class_name"] for layer in layers], path)
    by_name = {_name(layer): (layer, place) for layer, place in zip(layers, paths, strict=True)}
    if len(by_name) != len(layers):
        raise ModelError("has layers with the same name")
    order = list(by_name) if model["class_name"] == "Sequential" else _order(by_name, config)
    for name in order:
        layer, place = by_name[name]
        if layer["class_name"] in MODELS:
            yield from _open(layer, top or name, place, depth + 1)
        else:
            shape = layer["config"].get("batch_shape") or layer["config"].get("batch_input_shape")
            shape = shape or (layer.get("build_config") or {}).get("input_shape")
            yield KerasLayer(_kind(layer), name, layer["config"], _operands(layer), top or name, place, shape)


def _name(layer: Any) -> str:
    return str(layer.get("name") or layer["config"]["name"])


def _kind(layer: Any) -> str:
    """Class of a layer; a class of somebody's own is not taken for Keras's of the same name."""
    module = layer.get("module")
    own = "registered_name" in layer and ">" in str(layer["registered_name"])
    if own or not str(module or "keras").startswith("keras"):
        return f"{layer.get('registered_name') or module}.{layer['class_name']}"
    return str(layer["class_name"])


def _paths(kinds: list[str], path: str) -> list[str]:
    """Where Keras 3 keeps the weights of each layer: by class, numbered from the second on."""
    counts: dict[str, int] = {}
    paths = []
    for kind in kinds:
        word = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        word = re.sub("([a-z])([A-Z])", r"\1_\2", word).lower()
        number = counts[word] = counts.get(word, -1) + 1
        paths.append(f"{path}/{word}_{number}" if number else f"{path}/{word}")
    return [place.lstrip("/") for place in paths]


def _order(layers: dict[str, tuple[Any, str]], config: Any) -> list[str]:
    """Names of a functional model's layers, followed back from its output."""
    outputs = _sources(config["output_layers"])
    if len(outputs) != 1:
        raise ModelError(
            f"has {len(outputs)} outputs ({', '.join(map(printable, outputs))}); give a model with one"
        )
    order: list[str] = []
    name = outputs[0]
    while len(order) <= len(layers):
        layer = layers[name][0]
        order.append(name)
        sources = _sources(layer["inbound_nodes"])
        if not sources:
            return order[::-1]
        if len(layer["inbound_nodes"]) != 1 and layer["class_name"] not in MODELS:
            raise ModelError(f"uses {printable(name)} more than once")
        name = sources[0] if len(sources) == 1 else _reversed(layers, layer, sources)
    raise ModelError("has layers that follow each other in a circle")


def _sources(nodes: Any) -> list[str]:
    """Names of the layers whose answers a layer takes, each once: of Keras 3's or Keras 2's form."""
    if isinstance(nodes, dict):
        if nodes.get("class_name") == "__keras_tensor__":
            return [str(nodes["config"]["keras_history"][0])]
        parts = list(nodes.values())
    elif isinstance(nodes, list):
        if len(nodes) > 2 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            return [nodes[0], *_sources(nodes[3:])]
        parts = nodes
    else:
        return []
    return list(dict.fromkeys(name for part in parts for name in _sources(part)))


def _reversed(layers: dict[str, tuple[Any, str]], layer: Any, sources: list[str]) -> str:
    """What is behind three channels that are put together in reverse, as `preprocess_input` does it."""
    parts = [layers[source][0] for source in sources]
    behind = {name for part in parts for name in _sources(part["inbound_nodes"])}
    indexes = [_operands(part)[-1:] for part in parts if part["class_name"] == "GetItem"]
    if layer["class_name"] != "Stack" or len(behind) != 1 or indexes != [[_last_axis(at)] for at in (2, 1, 0)]:
        raise ModelError(
            f"has {printable(layer['class_name'], MOST_NAME)} ({printable(_name(layer), MOST_NAME)}) on "
            f"{len(sources)} layers, where a VGG network is one chain"
        )
    layer["class_name"], layer["module"] = CHANNELS_REVERSED, None
    return behind.pop()


def _last_axis(index: int) -> list[Any]:
    return [{"class_name": "__ellipsis__", "config": {}}, index]


def _operands(layer: Any) -> list[Any]:
    """What Keras 3 wrote as an operation's arguments; the computed one is None."""
    nodes = layer.get("inbound_nodes") or []
    if not nodes or not isinstance(nodes[0], dict):
        return []
    return [_operand(argument) for argument in [*nodes[0]["args"], *nodes[0].get("kwargs", {}).values()]]


def _operand(argument: Any) -> Any:
    if not isinstance(argument, dict):
        return argument
    return None if argument.get("class_name") == "__keras_tensor__" else argument.get("config", {}).get("value")
