"""ONNX graphs, of whatever wrote them: what they compute tells their layers, not their names."""

from __future__ import annotations

from verydeep.weights.layouts.onnx.walk import Walk
from verydeep.weights.raw import Raw
from verydeep.weights.recognize import Layers


def incoming(raw: Raw) -> Layers | None:
    """The layers of an ONNX graph.

    What it says beside them is among the facts then, in place of the graph: `known`, `preprocesses`, `opset`,
    `producer`, and `shapes` of the weights where it has no trained numbers.
    """
    if raw.kind != "onnx":
        return None
    graph = raw.facts.pop("graph")
    walk = Walk(graph)
    layers = walk.layers()
    raw.facts |= {
        "known": walk.known(),
        "preprocesses": walk.pixels.preprocessing() is not None,
        "opset": graph.facts["opset"],
        "producer": graph.facts["producer"],
    }
    if walk.made_by_nodes:
        raw.facts["shapes"] = [layer.weight.shape for layer in layers.convolutions + layers.fully_connected]
    return layers
