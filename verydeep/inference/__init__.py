"""A model -> an engine. The one place where an engine is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from os import PathLike
from typing import Any, Literal

from numpy.typing import NDArray

from verydeep.arguments import check_type
from verydeep.configurations import Architecture
from verydeep.errors import UsageError, require
from verydeep.inference.engine import Engine as Engine
from verydeep.inference.kernels import has_kernels
from verydeep.plan import PoolingKind
from verydeep.processor import has_gpu, native_module, require_native
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import Reopening, open_source, reopening

EngineName = Literal["auto", "native", "torch"]
PrecisionName = Literal["auto", "float32", "bfloat16", "int16"]


def open_engine(
    model: str | PathLike[str],
    layers: Sequence[str] | None = None,
    *,
    pooling: str = "max",
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> Engine:
    """Open a model on disk with the best engine there is.

    Args:
        model: a run folder, or one of its weights; or another library's weights, a file or a name.
        layers: outputs that will be asked for; None for all. What lies behind the deepest is left out.
        pooling: `average` replaces every max-pooling.
        engine: `auto`, or the one to take: see `choose_engine`.
        precision: `auto`, which is float32; `float32`, `bfloat16`, or `int16` with the native engine.
        device: `auto`, or a device of torch's.
        threads: on the processor; None for as many as this process may use.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: the engine is not one of these, or cannot use the device or the precision; or there is no such
            layer.
        VerydeepError: the engine is not installed.

    """
    choose_engine(engine, precision, device)  # before a large file is read
    config, tensors = open_source(model)
    return engine_of(
        config,
        tensors,
        layers,
        pooling=pooling,
        engine=engine,
        precision=precision,
        device=device,
        threads=threads,
        again=reopening(model, config, tensors),
    )


def engine_of(
    config: ModelConfig,
    tensors: Mapping[str, NDArray[Any]],
    layers: Sequence[str] | None = None,
    *,
    pooling: str = "max",
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    threads: int | None = None,
    again: Reopening | None = None,
) -> Engine:
    """Give an engine a model whose weights are in memory; as `open_engine`. `again` is as for `NativeEngine`."""
    check_type("pooling", pooling, PoolingKind)
    if choose_engine(engine, precision, device, config.architecture) == "native":
        from verydeep.inference.native import NativeEngine

        return NativeEngine(
            config, tensors, layers, pooling=pooling, precision=precision, threads=threads, again=again
        )
    if engine == "auto" and device == "auto" and native_module() is None and find_spec("torch") is None:
        require_native()
    require("torch", "train", f"computing {config.architecture.configuration} with the torch engine")
    from verydeep.inference.torch_engine import TorchEngine

    return TorchEngine.holding(
        config, tensors, layers, pooling=pooling, precision=precision, device=device, threads=threads
    )


def choose_engine(
    engine: EngineName = "auto",
    precision: PrecisionName = "auto",
    device: str = "auto",
    architecture: Architecture | None = None,
) -> Literal["native", "torch"]:
    """Choose between the two engines. Imports torch only where there may be a GPU.

    The native engine is taken for the devices `auto` and `cpu`, torch for every other. A GPU comes first where
    `auto` finds its driver and torch. torch runs on the processor too where the native engine is not installed,
    or has no kernels for the network, as for B-5x5.

    Args:
        engine: `auto`, or the one to take.
        precision: of matrix products.
        device: `auto`, or a device of torch's.
        architecture: of the network; None where it is not known yet.

    Raises:
        UsageError: the engine is not one of these, or cannot use the device or the precision.
        VerydeepError: the native engine is asked for and is not there.

    """
    check_type("engine", engine, EngineName)
    check_type("precision", precision, PrecisionName)
    on_processor = device in ("auto", "cpu")
    if precision == "int16":
        if engine == "torch" or not on_processor:
            raise UsageError("int16 is a precision of the native engine, on the processor; torch has bfloat16")
        engine = "native"
    if engine == "native":
        if not on_processor:
            raise UsageError(f"the native engine computes on the processor, not on {device!r}; use `engine=torch`")
        require_native()
        return "native"
    suits = architecture is None or has_kernels(architecture)
    if engine == "torch" or not on_processor or native_module() is None or not suits:
        return "torch"
    if device == "cpu" or not has_gpu():
        return "native"
    from verydeep.inference.torch_engine import choose_device

    # The driver is there; whether there is a GPU that torch can use, it alone knows.
    return "native" if choose_device(device).type == "cpu" else "torch"
