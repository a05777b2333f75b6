"""What is kept of a layer's maps: their mean, their maximum, their Gram matrix, or all of them."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Summary = Literal["mean", "max", "gram", "none"]


def summarize(maps: NDArray[np.float32], summary: Summary) -> NDArray[np.float32]:
    """Summarize maps over space.

    Args:
        maps: of shape (batch, channels, rows, columns).
        summary: `mean` and `max` give an entry a channel, `gram` a matrix of channels x channels, the products of
            channels summed over space and divided by channels x rows x columns (Johnson et al., arXiv 1603.08155),
            and `none` the maps.

    """
    if summary == "none":
        return maps
    if summary == "mean":
        means: NDArray[np.float32] = maps.mean((2, 3), dtype=np.float64).astype(np.float32)
        return means
    if summary == "max":
        most: NDArray[np.float32] = maps.max((2, 3))
        return most
    rows = maps.reshape(*maps.shape[:2], -1)
    return np.asarray(rows @ rows.transpose(0, 2, 1) / (rows.shape[1] * rows.shape[2]), np.float32)


def summary_shape(shape: tuple[int, int, int], summary: Summary) -> tuple[int, ...]:
    """Shape of what is kept of one image's maps of shape (channels, rows, columns)."""
    return {"mean": shape[:1], "max": shape[:1], "gram": (shape[0], shape[0]), "none": shape}[summary]
