"""A model -> an ONNX file that onnxruntime has answered with, as the network does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import require
from verydeep.exports.check import Difference, Run, compare
from verydeep.exports.graph import graph
from verydeep.files import write_whole
from verydeep.inference import Engine

OUTPUTS = ["score_map", "posterior"]
ERRORS_ALONE = 3  # of onnxruntime's levels of logging


def write_onnx(
    path: Path, engine: Engine, tensors: Mapping[str, NDArray[Any]], *, pixels: bool = False
) -> list[Difference]:
    """Write a model as ONNX, after its answers have been compared.

    Args:
        path: of the file to make.
        engine: the network with its weights.
        tensors: these weights.
        pixels: whether the file takes pixels and preprocesses them itself.

    Returns:
        How far onnxruntime's answers are from the network's, at three sizes.

    Raises:
        VerydeepError: onnx or onnxruntime is not installed, or its answers are others than the network's.

    """
    for module in ("onnx", "onnxruntime"):
        require(module, "export", "an export to ONNX")
    content = graph(engine.config, tensors, pixels=pixels).SerializeToString()
    differences = compare(engine, onnxruntime_with(content), "onnxruntime", pixels=pixels)
    write_whole(path, lambda aside: aside.write_bytes(content))
    return differences


def onnxruntime_with(model: bytes | str) -> Run:
    """Open a model, given as its bytes or its path, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name

    def run(shown: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        score_map, posterior = session.run(OUTPUTS, {entry: shown})
        return score_map, posterior

    return run
