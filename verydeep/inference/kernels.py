"""Which networks the native engine can compute: those of Table 1. Imports nothing heavy."""

from __future__ import annotations

from verydeep.configurations import Architecture
from verydeep.errors import UsageError

SIDES = (1, 3)  # of the convolutions that there are kernels for


def has_kernels(architecture: Architecture) -> bool:
    """Whether the native engine has a kernel for each of the convolutions."""
    return all(layer.kernel in SIDES for layer in architecture.convolutions)


def check_kernels(architecture: Architecture) -> None:
    """Make sure that the native engine can compute a network.

    Raises:
        UsageError: it has other convolutions than 3x3 and 1x1.

    """
    if not has_kernels(architecture):
        side = next(layer.kernel for layer in architecture.convolutions if layer.kernel not in SIDES)
        raise UsageError(
            f"the native engine computes convolutions of 3x3 and 1x1, and {architecture.configuration} has "
            f"{side}x{side}; use `engine=torch`"
        )
