"""ONNX graphs, of whatever wrote them: what they compute tells their layers, not their names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from verydeep.errors import ModelError, printable
from verydeep.images.color import Preprocessing
from verydeep.run_folder import TrainedOn
from verydeep.typed import as_type
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.class_names import as_they_came
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
        of_graph: what the graph itself tells.

    """
    try:
        mean, deviation = (tuple(map(float, json.loads(texts[name]))) for name in ("mean", "deviation"))
        said = Preprocessing(mean, deviation, texts["channels"])  # type: ignore[arg-type]
        scale = json.loads(texts["scale"]) if "scale" in texts else [texts["test_scale"]] * 2
        return Metadata(
            _preprocessing(said, of_graph.preprocessing),
            as_they_came(as_type(tuple[str, ...], json.loads(texts["class_names"]))),
            TrainedOn((int(scale[0]), int(scale[1])), texts.get("mirror", "true") == "true"),
            texts.get("licence") and printable(texts["licence"]),
        )
    except (KeyError, TypeError, ValueError, RecursionError, IndexError, ModelError):
        return of_graph


def _preprocessing(said: Preprocessing, of_graph: Preprocessing | None) -> Preprocessing:
    """What is done to pixels: by the graph itself where it does that, else as is said.

    Small numbers of a graph are taken for those of pixels of 0 to 1, and so 255 times as much. What is said tells
    where they are of levels of 0 to 255 all the same.
    """
    if of_graph is None:
        return said
    ours, theirs = (np.array([one.mean, one.deviation]) for one in (said, of_graph))
    if np.allclose(255 * ours, theirs, rtol=1e-5):
        return replace(of_graph, mean=said.mean, deviation=said.deviation)
    return of_graph
