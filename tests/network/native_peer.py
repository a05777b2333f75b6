"""How far what our kernels give is from what is right, and on which instruction sets that is asked."""

from __future__ import annotations

from torch import Tensor

from verydeep.processor import native_module

native = native_module()
INSTRUCTIONS = [name for name in native.available_instructions() if "_" not in name] if native else []


def error(found: Tensor, right: Tensor) -> float:
    """Relative L2."""
    found, right = found.detach().double(), right.detach().double()
    return float((found - right).norm() / right.norm().clamp_min(1e-300))
