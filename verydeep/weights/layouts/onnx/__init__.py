"""ONNX graphs, of whatever wrote them: what they compute tells their layers, not their names."""

from __future__ import annotations

import json
from collections.abc import Mapping

from verydeep.errors import ModelError, printable
from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn
from verydeep.typed import as_type
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.layouts.onnx.walk import OnnxWalk
from verydeep.weights.metadata import Metadata
from verydeep.weights.recognize import Layers


def read_layers(checkpoint: Checkpoint) -> Layers:
    """The layers of an ONNX graph.

    What it says beside them is among the facts then, in place of the graph: `opset`, `producer`, and `shapes` of
    the weights where it has no trained numbers.
    """
    graph = checkpoint.facts.pop("graph")
    walk = OnnxWalk(graph)
    layers = walk.layers()
    layers.metadata = _metadata(graph.metadata, layers.metadata)
    checkpoint.facts |= {"opset": graph.opset, "producer": graph.producer}
    if walk.made_by_nodes:
        checkpoint.facts["shapes"] = [layer.weight.shape for layer in layers.convolutions + layers.fully_connected]
    return layers


def _metadata(texts: Mapping[str, str], of_graph: Metadata) -> Metadata:
    """What `verydeep export` writes into a file's metadata, read back; else what the graph tells.

    Args:
        texts: the file's metadata.
        of_graph: what the graph itself tells; what it does to pixels goes before the texts.

    """
    try:
        mean, deviation = (tuple(map(float, json.loads(texts[name]))) for name in ("mean", "deviation"))
        scale = json.loads(texts["scale"]) if "scale" in texts else [texts["test_scale"]] * 2
        return Metadata(
            of_graph.preprocessing or Preprocessing(mean, deviation, texts["channels"]),  # type: ignore[arg-type]
            tuple(map(printable, as_type(tuple[str, ...], json.loads(texts["class_names"])))),
            TrainedOn((int(scale[0]), int(scale[1])), texts.get("mirror", "true") == "true"),
            texts.get("licence") and printable(texts["licence"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError, IndexError, ModelError):
        return of_graph
