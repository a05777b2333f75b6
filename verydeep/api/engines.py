"""`verydeep.engines`: what this machine can compute with, and what will be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from verydeep.processor import has_gpu, instruction_set, native_absence, native_module, num_threads
from verydeep.results import Result
from verydeep.run_folder import processor_name
from verydeep.version import installed_version


@dataclass(frozen=True, repr=False)
class Engines(Result):
    """What this machine computes with.

    Attributes:
        processor: its name.
        threads: that a process computes with.
        native: whether the native engine is installed.
        instructions: the instruction set that it uses.
        available_instructions: those that the processor has, the best last.
        bfloat16: whether it multiplies in bfloat16.
        int16: likewise.
        torch: version of PyTorch; None where it is not installed.
        gpu: whether there may be a GPU that torch can use.
        chosen: the engine that `auto` takes; None where there is none.

    """

    processor: str
    threads: int
    native: bool
    instructions: str | None
    available_instructions: tuple[str, ...]
    bfloat16: bool
    int16: bool
    torch: str | None
    gpu: bool
    chosen: Literal["native", "torch"] | None

    def __str__(self) -> str:
        products = {"bfloat16": "no", "int16": "no"}
        native = f"no: {native_absence()}"
        if self.native:
            native = f"{self.instructions}, of {', '.join(self.available_instructions)}"
            products = {
                precision: "yes" if there else f"no: precision {precision} computes in float32"
                for precision, there in (("bfloat16", self.bfloat16), ("int16", self.int16))
            }
        lines = {
            "processor": self.processor,
            "threads": self.threads,
            "native engine": native,
            **products,
            "torch engine": self.torch or "no: torch is not installed",
            "GPU": "there may be one: torch is asked" if self.gpu else "none that torch could use",
            "chosen": self.chosen or "none: there is no native engine, and no torch",
        }
        return "\n".join(f"{name:13}  {value}" for name, value in lines.items())


def engines() -> Engines:
    """Show which engines this machine can use, and which one `auto` chooses.

    The environment variables VERYDEEP_THREADS and VERYDEEP_INSTRUCTIONS override what is found. torch is not
    imported.

    Raises:
        UsageError: VERYDEEP_THREADS or VERYDEEP_INSTRUCTIONS is set to what this machine lacks.

    """
    native, torch, gpu = native_module(), installed_version("torch"), has_gpu()
    instructions = instruction_set(native) if native else None
    torch_first = torch and (gpu or native is None)
    return Engines(
        processor=processor_name(),
        threads=num_threads(),
        native=native is not None,
        instructions=instructions,
        available_instructions=tuple(native.available_instructions()) if native else (),
        bfloat16=bool(native and native.has(instructions, "bfloat16")),
        int16=bool(native and native.has(instructions, "int16")),
        torch=torch,
        gpu=gpu,
        chosen="torch" if torch_first else "native" if native else None,
    )
