"""A model -> OpenVINO's form, a file of layers (.xml) beside one of weights (.bin), by way of ONNX."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verydeep.errors import require
from verydeep.exports.check import Difference, Run, compare
from verydeep.exports.graph import graph, metadata
from verydeep.files import write_whole
from verydeep.inference import Engine


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
