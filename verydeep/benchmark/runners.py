"""An engine with a model -> a function from prepared pixels to class scores. Each runs in a process of its own.

Other people's engines get what they like best: images that are preprocessed beforehand, in their layout, which
is not timed. Ours get the bytes, and preprocess them within the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verydeep.benchmark.engines import Engine
from verydeep.benchmark.task import Task
from verydeep.configurations import Architecture, Convolution, Pooling
from verydeep.errors import UsageError
from verydeep.run_folder import read_config, read_model

if TYPE_CHECKING:
    from torch import nn

ONNX, QUANTIZED = "network.onnx", "quantized.xml"
OPSET = 18


@dataclass(frozen=True)
class Runner:
    """An engine that is ready.

    Attributes:
        prepare: turns pixels of shape (batch, height, width, 3) into what `run` takes; not timed.
        run: gives a score map, of shape (batch, classes, rows, columns), or its mean over space.

    """

    prepare: Callable[[NDArray[np.uint8]], Any]
    run: Callable[[Any], NDArray[np.float32]]


def open_runner(engine: Engine, task: Task) -> Runner:
    """Open an engine with the task's model."""
    if engine.ours:
        return _ours(engine, task)
    kind = engine.name.partition("-")[0]
    return {"torch": _torch, "onnxruntime": _onnxruntime, "openvino": _openvino}[kind](engine, task)


def class_scores(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean of score maps over space; scores that have no space stay as they are."""
    means: NDArray[np.float64] = scores.reshape(*scores.shape[:2], -1).astype(np.float64).mean(-1)
    return means


def _ours(engine: Engine, task: Task) -> Runner:
    if engine.name == "verydeep-torch":
        import torch

        from verydeep.inference.torch_engine import TorchEngine

        torch.set_num_threads(task.threads)
        return Runner(lambda pixels: pixels, TorchEngine.holding(*read_model(task.run), device="cpu").score_maps)
    from verydeep.inference.native import NativeEngine

    assert engine.precision != "int8", "none of ours"
    ours = NativeEngine(*read_model(task.run), precision=engine.precision, threads=task.threads)
    if ours.precision != engine.precision:
        raise UsageError(f"this processor has no {engine.precision}")
    return Runner(lambda pixels: pixels, ours.score_maps)


def plain_network(
    architecture: Architecture, tensors: Mapping[str, NDArray[Any]], *, dense: bool
) -> nn.Sequential:
    """Build the network of torch's own modules, in torchvision's order, in evaluation mode.

    Args:
        architecture: of the network.
        tensors: its weights by name.
        dense: make the FC layers convolutions, for images of any size; otherwise they are linear layers for one
            window, as in torchvision.

    """
    import torch
    from torch import nn

    modules: list[nn.Module] = []

    def fill(module: nn.Module, name: str) -> nn.Module:
        shapes = {key: tensor.shape for key, tensor in module.state_dict().items()}
        state = {key: np.reshape(tensors[f"{name}.{key}"], shape) for key, shape in shapes.items()}
        module.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, assign=True)
        return module

    with torch.device("meta"):
        for layer in architecture.layers:
            if isinstance(layer, Pooling):
                modules.append(nn.MaxPool2d(2))
                continue
            channels = layer.in_channels, layer.out_channels
            if isinstance(layer, Convolution):
                modules.append(fill(nn.Conv2d(*channels, layer.kernel, padding=layer.kernel // 2), layer.name))
                if layer.batch_norm:
                    modules.append(fill(nn.BatchNorm2d(layer.out_channels), f"bn{layer.place}"))
            elif dense:
                modules.append(fill(nn.Conv2d(*channels, layer.kernel), layer.name))
            else:
                if layer.name == "fc6":
                    modules.append(nn.Flatten())
                modules.append(fill(nn.Linear(channels[0] * layer.kernel**2, channels[1]), layer.name))
            if isinstance(layer, Convolution) or not layer.last:
                modules.append(nn.ReLU(inplace=True))
            if isinstance(layer, Convolution) and (norm := layer.local_response_norm):
                modules.append(nn.LocalResponseNorm(norm.size, norm.alpha * norm.size, norm.beta, norm.k))
    return nn.Sequential(*modules).eval()


def is_dense(task: Task, architecture: Architecture) -> bool:
    """Whether images are larger than the network's window."""
    window = (architecture.window,) * 2
    return any(shape[1:3] != window for case in task.cases for shape in case.batches)


def _torch(engine: Engine, task: Task) -> Runner:
    import torch

    torch.set_num_threads(task.threads)
    torch.set_grad_enabled(False)
    config, tensors = read_model(task.run)
    network: Any = plain_network(config.architecture, tensors, dense=is_dense(task, config.architecture))
    form = torch.contiguous_format if engine.name == "torch" else torch.channels_last
    network = network.to(memory_format=form)
    reduced = engine.precision == "bfloat16"
    if reduced:
        from torch._inductor import config as inductor

        inductor.freezing = True
        network = torch.compile(network, dynamic=task.dynamic)

    def prepare(pixels: NDArray[np.uint8]) -> torch.Tensor:
        return torch.from_numpy(config.preprocessing.apply(pixels)).to(memory_format=form)

    def run(images: torch.Tensor) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            scores: NDArray[np.float32] = network(images).float().numpy()
        return scores

    return Runner(prepare, run)


def _onnxruntime(engine: Engine, task: Task) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = task.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(task.folder / ONNX, options, providers=["CPUExecutionProvider"])
    preprocessing = read_config(task.run).preprocessing

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = session.run(None, {"images": images})[0]
        return scores

    return Runner(preprocessing.apply, run)


def _openvino(engine: Engine, task: Task) -> Runner:
    import openvino

    core = openvino.Core()
    model = core.read_model(task.folder / (QUANTIZED if engine.reads == "quantized" else ONNX))
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "bf16" if engine.precision == "bfloat16" else "f32",
    }
    preprocessing = read_config(task.run).preprocessing
    compiled: dict[tuple[int, ...], Any] = {}

    def infer_request(shape: tuple[int, ...]) -> Any:
        """One for each shape, unless shapes are not known beforehand: it is faster so."""
        key = () if task.dynamic else shape
        if key not in compiled:
            if not task.dynamic:
                model.reshape(shape)
            compiled[key] = core.compile_model(model, "CPU", options).create_infer_request()
        return compiled[key]

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        outputs = infer_request(images.shape).infer([images], share_inputs=True, share_outputs=True)
        scores: NDArray[np.float32] = outputs[0]
        return scores

    return Runner(preprocessing.apply, run)


def export(task: Task) -> None:
    """Write the network as ONNX, with a batch of any size, and of images of any size where the task has such."""
    import logging
    import warnings

    import torch

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    config, tensors = read_model(task.run)
    dense = is_dense(task, config.architecture)
    network = plain_network(config.architecture, tensors, dense=dense)
    _, height, width, _ = task.cases[0].batches[0]
    shapes: dict[int, Any] = {0: torch.export.Dim("batch")}
    if task.dynamic:
        shapes |= dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, height, width),),
        str(task.folder / ONNX),
        input_names=["images"],
        output_names=["scores"],
        dynamic_shapes=(shapes,),
        opset_version=OPSET,
        dynamo=True,
        external_data=True,
        verbose=False,
    )


def quantize(task: Task) -> None:
    """Quantize the ONNX network to 8 bits by NNCF, calibrated on the very images that are shown."""
    import nncf
    import openvino

    preprocessing = read_config(task.run).preprocessing
    batches = [pixels for case in range(len(task.cases)) for pixels in task.pixels(case)]
    images = [preprocessing.apply(image[None]) for batch in batches for image in batch]
    model = openvino.Core().read_model(task.folder / ONNX)
    quantized = nncf.quantize(model, nncf.Dataset(images))
    openvino.save_model(quantized, task.folder / QUANTIZED, compress_to_fp16=False)
