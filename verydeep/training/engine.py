"""What computes a training: our own kernels on a CPU, or torch."""

from __future__ import annotations

from typing import Literal

import torch

from verydeep.errors import UsageError
from verydeep.notes import say
from verydeep.processor import native_module

TrainingEngine = Literal["native", "torch"]
AskedEngine = Literal["auto", "native", "torch"]

LEAST_WORK = 1e9
"""Multiply-adds of a step's forward pass below which torch is faster: each layer of ours has a fixed cost."""


def choose_engine(
    asked: AskedEngine,
    precision: str,
    device: torch.device,
    before: str | None = None,
    work: float = LEAST_WORK,
) -> TrainingEngine:
    """Choose the engine of a training: what was asked for, what the run began with, or the faster one.

    Args:
        asked: `auto` where nothing was asked for.
        precision: of the recipe.
        device: where to train.
        before: the engine of a run that is resumed; what is not `native` is torch.
        work: multiply-adds of the forward pass of a step.

    Raises:
        UsageError: the kernels were asked for, and cannot train so.

    """
    obstacle = _obstacle(precision, device)
    if asked == "native" and obstacle:
        raise UsageError(f"`engine=native` cannot train here: {obstacle}; leave it out, or give `engine=torch`")
    by_itself = before == "native" if before else work >= LEAST_WORK
    if asked == "torch" or (asked == "auto" and not by_itself):
        return "torch"
    if obstacle and before == "native":
        say(f"the run was begun with `engine=native`; it goes on with torch, as {obstacle}")
    return "torch" if obstacle else "native"


def _obstacle(precision: str, device: torch.device) -> str | None:
    """Why the kernels cannot train, a clause; None where they can."""
    if device.type != "cpu":
        return f"the native engine computes on the CPU, not on {device}"
    if precision == "bfloat16":
        return "the native engine trains in float32, not in bfloat16"
    if native_module() is None:
        return "the native engine is not installed"
    return None


def uses_bfloat16(precision: str, device: torch.device, engine: TrainingEngine) -> bool:
    """Whether torch takes products in bfloat16: always, never, or where the device multiplies it by itself.

    On processors that lack the instruction bfloat16 is emulated and slower than float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return engine == "torch" and device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
