"""The engines that are measured side by side: their names, what they are, and what each needs to be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from verydeep.errors import UsageError, did_you_mean
from verydeep.processor import native_absence

Precision = Literal["float32", "bfloat16", "int16", "int8"]
OUR_MODULE = "verydeep._native"
ALL = "all"
EXPORTING = ("torch", "onnx", "onnxscript")  # what makes an ONNX file of a network


@dataclass(frozen=True)
class Engine:
    """One of the engines.

    Attributes:
        name: as it is chosen and shown.
        summary: what it is, in a few words.
        precision: of its products; the machine's peak for it is what its share is of.
        needs: the modules without which it cannot be measured.
        ours: whether it is one of the package's own.
        usual: whether it is measured where no engine is named.

    """

    name: str
    summary: str
    precision: Precision
    needs: tuple[str, ...] = ()
    ours: bool = False
    usual: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that are not installed."""
        return tuple(module for module in self.needs if find_spec(module) is None)

    @property
    def absence(self) -> str:
        """Why it cannot be measured, where something is missing."""
        if OUR_MODULE in self.missing:
            return native_absence()
        return f"{' and '.join(self.missing)} {'is' if len(self.missing) == 1 else 'are'} not installed"

    @property
    def reads(self) -> str:
        """The form of the model that it takes: `run`, the run folder; `onnx`; or `quantized`."""
        if self.ours or self.name.startswith("torch"):
            return "run"
        return "quantized" if self.precision == "int8" else "onnx"


_ALL = (
    Engine("verydeep", "our kernels, float32", "float32", (OUR_MODULE,), ours=True, usual=True),
    Engine("verydeep-bfloat16", "our kernels, bfloat16", "bfloat16", (OUR_MODULE,), ours=True),
    Engine("verydeep-int16", "our kernels, 16-bit integers", "int16", (OUR_MODULE,), ours=True),
    Engine("verydeep-torch", "our engine on torch, float32, channels last", "float32", ("torch",), ours=True),
    Engine("torch", "eager, float32, NCHW: what torchvision gives", "float32", ("torch",), usual=True),
    Engine("torch-channels-last", "eager, float32, channels last", "float32", ("torch",)),
    Engine("torch-bfloat16", "autocast, channels last, compiled and frozen", "bfloat16", ("torch",)),
    Engine("onnxruntime", "float32", "float32", ("onnxruntime", *EXPORTING), usual=True),
    Engine("openvino", "float32", "float32", ("openvino", *EXPORTING), usual=True),
    Engine("openvino-bfloat16", "bfloat16", "bfloat16", ("openvino", *EXPORTING)),
    Engine("openvino-int8", "quantized by NNCF on the images shown", "int8", ("openvino", "nncf", *EXPORTING)),
)
ENGINES = {engine.name: engine for engine in _ALL}


def choose(include: Sequence[str], exclude: Sequence[str]) -> list[Engine]:
    """Choose engines by their names; `all` is every one, no names are the usual ones.

    Raises:
        UsageError: a name is not one of an engine's, or none is left.

    """
    for name in (*include, *exclude):
        if name not in ENGINES and not (name == ALL and name in include):
            raise UsageError(
                f"no engine is called {name!r}; there are {', '.join(ENGINES)}{did_you_mean(name, ENGINES)}"
            )
    chosen = [
        engine
        for name, engine in ENGINES.items()
        if name not in exclude and (name in include or ALL in include or (engine.usual and not include))
    ]
    if not chosen:
        raise UsageError("there is no engine left to measure; name some with `engines`, or exclude fewer")
    return chosen
