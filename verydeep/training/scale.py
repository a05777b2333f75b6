"""S, the smaller side of the rescaled training image, as the command line writes it."""

from __future__ import annotations


def read_scale(text: str) -> tuple[int, int]:
    """Read S as the command line writes it: `256`, or `256:512`."""
    least, _, greatest = text.partition(":")
    return int(least), int(greatest or least)


def scale_text(scale: tuple[int, int]) -> str:
    """S as the command line writes it."""
    return str(scale[0]) if scale[0] == scale[1] else f"{scale[0]}:{scale[1]}"
