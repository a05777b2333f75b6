"""`verydeep engines`: what this machine can compute with, and what will be chosen."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tyro.conf import FlagCreatePairsOff

from verydeep.commands.progress import json_line
from verydeep.inference.processor import has_gpu, instruction_set, native_module, num_threads
from verydeep.run_folder import processor_name


@dataclass
class Engines:
    """Show what this machine can compute with, and what predict and evaluate will choose.

    VERYDEEP_THREADS and VERYDEEP_INSTRUCTIONS in the environment overrule what is found.
    """

    json: FlagCreatePairsOff[bool] = False
    """Print one JSON object."""

    def run(self) -> None:
        """Print it."""
        facts = engines()
        print(json_line(facts) if self.json else readable(facts))


def engines() -> dict[str, Any]:
    """What there is, as plain data; torch is not imported for it."""
    native = native_module()
    facts: dict[str, Any] = {
        "processor": processor_name(),
        "threads": num_threads(),
        "native": native is not None,
        "instructions": None,
        "available_instructions": [],
        "bfloat16": False,
        "int16": False,
        "torch": _version("torch"),
        "gpu": has_gpu(),
    }
    if native is not None:
        chosen = instruction_set(native)
        facts["instructions"] = chosen
        facts["available_instructions"] = native.available_instructions()
        facts |= {precision: native.has(chosen, precision) for precision in ("bfloat16", "int16")}
    torch_first = facts["gpu"] or native is None
    facts["chosen"] = "torch" if torch_first and facts["torch"] else "native" if native is not None else None
    return facts


def readable(facts: dict[str, Any]) -> str:
    """Tell the same in a few lines."""
    if facts["native"]:
        native = f"{facts['instructions']}, of {', '.join(facts['available_instructions'])}"
        products = {
            precision: "yes" if facts[precision] else f"no: --precision {precision} computes in float32"
            for precision in ("bfloat16", "int16")
        }
    else:
        native = "no: the package was installed without a C++ compiler"
        products = {"bfloat16": "no", "int16": "no"}
    gpu = "there may be one: torch is asked" if facts["gpu"] else "none that torch could use"
    lines = {
        "processor": facts["processor"],
        "threads": facts["threads"],
        "native engine": native,
        **products,
        "torch engine": facts["torch"] or "no: torch is not installed",
        "GPU": gpu,
        "chosen": facts["chosen"] or "none: install a C++ compiler and verydeep again, or torch",
    }
    return "\n".join(f"{name:13}  {value}" for name, value in lines.items())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
