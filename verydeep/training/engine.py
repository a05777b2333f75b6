"""What computes a training: our own kernels on a CPU, or torch."""

from __future__ import annotations

import math
from typing import Literal

import torch

from verydeep.errors import UsageError
from verydeep.notes import say
from verydeep.processor import has_bfloat16, native_module

TrainingEngine = Literal["native", "torch"]
AskedEngine = Literal["auto", "native", "torch"]

LEAST_WORK = 1e9
"""Multiply-adds of a step's forward pass below which torch is faster: each layer of ours has a fixed cost."""


def choose_training_engine(
    asked: AskedEngine,
    precision: str,
    device: torch.device,
    before: str | None = None,
    work: float = math.inf,
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
    native = native_module()
    if native is None:
        return "the native engine is not installed"
    if precision == "bfloat16" and not has_bfloat16(native):
        return "the native engine has no products in bfloat16 on this processor"
    return None


def uses_bfloat16(precision: str, device: torch.device, engine: TrainingEngine) -> bool:
    """Whether products are of bfloat16: always, never, or where the device multiplies it by itself.

    On processors that lack the instruction torch emulates bfloat16, and is slower than in float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if engine == "native":
        native = native_module()
        return native is not None and has_bfloat16(native)
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
