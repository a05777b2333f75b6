"""A model -> files of another runtime, ONNX and OpenVINO, which has answered with them as the network does.

OpenVINO's form is a file of layers (.xml) beside one of weights (.bin). It is made from ONNX.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.comparison.metrics import LPIPS
from verydeep.errors import require
from verydeep.exports.check import Difference, DistanceDifference, Run, compare, compare_distances
from verydeep.exports.graph import graph, metadata
from verydeep.exports.lpips_graph import lpips_graph
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


def write_onnx_metric(
    path: Path, metric: LPIPS, tensors: Mapping[str, NDArray[Any]], *, pixels: bool = False
) -> list[DistanceDifference]:
    """Write LPIPS as ONNX, after its distances have been compared.

    Args:
        path: of the file to make.
        metric: with an engine.
        tensors: the network's weights.
        pixels: whether the file takes pixels of 0 to 255.

    Returns:
        How far onnxruntime's answers are from the metric's, at three sizes.

    Raises:
        VerydeepError: onnx or onnxruntime is not installed, or its answers are others than the metric's.

    """
    for module in ("onnx", "onnxruntime"):
        require(module, "export", "an export to ONNX")
    content = lpips_graph(metric.engine.config, tensors, pixels=pixels).SerializeToString()
    session = _session(content)

    def run(first: NDArray[np.generic], second: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = session.run(["distance", "map"], {"first": first, "second": second})
        return found

    differences = compare_distances(metric, run, "onnxruntime", pixels=pixels)
    write_whole(path, lambda aside: aside.write_bytes(content))
    return differences


def _session(model: bytes | str) -> Any:
    """Open a model, given as its bytes or its path, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ERRORS_ALONE
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnxruntime_with(model: bytes | str) -> Run:
    """Open a network, given as its bytes or its path, on the processor."""
    session = _session(model)
    entry = session.get_inputs()[0].name

    def run(shown: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        score_map, posterior = session.run(OUTPUTS, {entry: shown})
        return score_map, posterior

    return run


def write_openvino(
    path: Path, engine: Engine, tensors: Mapping[str, NDArray[Any]], *, pixels: bool = False
) -> list[Difference]:
    """Write a model in OpenVINO's form, weights in float32, after its answers have been compared.

    Args:
        path: of the `.xml` to make; the `.bin` is made beside it.
        engine: the network with its weights.
        tensors: these weights.
        pixels: whether the model takes pixels and preprocesses them itself.

    Returns:
        How far OpenVINO's answers are from the network's, at three sizes.

    Raises:
        VerydeepError: onnx or OpenVINO is not installed, or its answers are others than the network's.

    """
    require("onnx", "export", "an export to OpenVINO")
    require("openvino", "openvino", "an export to OpenVINO")
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        file.write_bytes(graph(engine.config, tensors, pixels=pixels).SerializeToString())
        # Not convert_model, which tells its makers that it was called.
        model = openvino.Core().read_model(file)
        for name, text in metadata(engine.config, pixels=pixels).items():
            model.set_rt_info(text, ["verydeep", name])
        made = Path(folder) / path.name
        openvino.save_model(model, made, compress_to_fp16=False)
        del model
        differences = compare(engine, openvino_with(made), "OpenVINO", pixels=pixels)
        for source, target in ((made.with_suffix(".bin"), path.with_suffix(".bin")), (made, path)):
            write_whole(target, partial(shutil.copyfile, source))
    return differences


def openvino_with(path: Path) -> Run:
    """Open a model on the processor, in float32: OpenVINO takes bfloat16 unasked where it is quicker."""
    import openvino

    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(shown: NDArray[np.generic]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        answer = compiled(shown)
        return np.array(answer["score_map"]), np.array(answer["posterior"])

    return run
