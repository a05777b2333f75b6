"""Ranges of float images, and checks of images against them.

An image's range is never guessed. It is said, and values outside it are refused, with what they look like.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verydeep.errors import UsageError
from verydeep.network.derivatives import is_recorded

Range = tuple[int | float, int | float]
Grey = Literal["refuse", "repeat"]
ImagesLike = Tensor | NDArray[Any]

LEVELS: Range = (0, 255)
RANGES: tuple[Range, ...] = ((0, 1), (-1, 1), LEVELS)
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # of images and of weights
OVERSHOOT = 0.1  # of the range's width, beyond either end: what goes no further is of this range
TOLERANCE = 1 / 510  # of the range's width, beyond either end: half a level, as rounding may leave it


class RangeWarning(UserWarning):
    """Images are within the range that was said, but look as if they were of another."""


def check_range(range: Range) -> Range:
    """Make sure that a range is one of the three that images come in.

    Raises:
        UsageError: it is another.

    """
    ranges = " or ".join(f"({low}, {high})" for low, high in RANGES)
    try:
        low, high = range
    except (TypeError, ValueError):
        raise UsageError(
            f"range is {range!r}; give the least and greatest value of the images: {ranges}"
        ) from None
    if (low, high) not in RANGES:
        raise UsageError(f"range is {range!r}; images have the range {ranges}: rescale them to one")
    return RANGES[RANGES.index((low, high))]


def as_images(images: ImagesLike, range: Range | None, grey: Grey = "refuse", what: str = "images") -> Tensor:
    """Turn what people have into images with channels first, of floating-point numbers.

    Args:
        images: a tensor of shape (batch, 3, height, width), or an array of shape (batch, height, width, 3): of
            floating-point numbers in the range, or of uint8 where the range is that of levels.
        range: least and greatest value; None where images are preprocessed already.
        grey: `repeat` takes the channel of images of one channel three times.
        what: messages call them.

    Raises:
        UsageError: they cannot be such images; the message says what to do.

    """
    tensor = _from_array(images, what) if isinstance(images, np.ndarray) else images
    if not isinstance(tensor, Tensor):
        raise UsageError(f"{what} are of type {type(images).__name__}; give a torch.Tensor or a numpy.ndarray")
    if grey == "repeat" and tensor.ndim == 4 and tensor.shape[1] == 1:
        tensor = tensor.expand(-1, 3, -1, -1)
    if tensor.dtype == torch.uint8 and range == LEVELS:
        tensor = tensor.float()
    check_images(tensor, what)
    return tensor


def _from_array(images: NDArray[Any], what: str) -> Tensor:
    """Images of an array, channels first."""
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        advice = "; [None] makes one image a batch" if images.ndim == 3 else ""
        raise UsageError(
            f"{what} are an array of shape {images.shape}; it must be (batch, height, width, 3){advice}"
        )
    if images.dtype.kind not in "uif" or images.dtype.char == "g":  # torch has no long double
        raise UsageError(f"{what} are an array of {images.dtype}; it must be of uint8 or float32")
    order = images.dtype.newbyteorder("=")  # torch has this machine's alone
    channels_first = np.require(images.transpose(0, 3, 1, 2), order, ["C", "W"])
    return torch.from_numpy(channels_first)


def check_images(images: Tensor, what: str = "images") -> None:
    """Make sure that these are images with channels first, of floating-point numbers.

    Raises:
        UsageError: their shape or type is another; the message says what to do.

    """
    if images.dtype not in PRECISIONS and (images.is_floating_point() or images.is_complex()):
        raise UsageError(f"{what} are {images.dtype}; convert them with .float()")
    if images.dtype == torch.uint8:
        raise UsageError(
            f"{what} are uint8, which are levels: use range (0, 255), or images / 255 with range (0, 1)"
        )
    if not images.is_floating_point():
        raise UsageError(
            f"{what} are integers ({str(images.dtype).removeprefix('torch.')}); convert them to floats: range "
            "(0, 255) with images.float(), or range (0, 1) with images / 255"
        )
    shape = tuple(images.shape)
    if images.ndim != 4:
        advice = "; [None] makes one image a batch" if images.ndim == 3 else ""
        raise UsageError(f"{what} have the shape {shape}; it must be (batch, 3, height, width){advice}")
    if shape[1] == 3 and 0 not in shape:
        return
    if 0 in shape:
        raise UsageError(f"{what} have the shape {shape}, so they are empty")
    if shape[1] == 1:
        advice = "they are grey: grey='repeat' takes the channel three times, as .expand(-1, 3, -1, -1) does"
    elif shape[1] == 4:
        advice = "if the fourth channel is transparency, blend them with a background first"
    elif shape[3] == 3:
        advice = "channels must come first: use .permute(0, 3, 1, 2)"
    else:
        advice = "RGB is wanted"
    raise UsageError(f"{what} have {shape[1]} channel{'s' * (shape[1] > 1)}, of the shape {shape}; {advice}")


def check_values(images: Tensor, range: Range, what: str = "images") -> None:
    """Make sure that values are finite and within their range, where they can be looked at: see `extremes`.

    Raises:
        UsageError: they are not; the message says what they look like.

    """
    found = extremes(images)
    if found is None:
        return
    low, high = range
    least, greatest = found
    if not least - greatest <= 0 or least in (float("inf"), float("-inf")) or greatest == float("inf"):
        raise UsageError(f"{what} have NaN or infinite values; look for a cause such as a division by zero")
    said = f"range=({low:g}, {high:g})"
    if not _within(least, greatest, range, TOLERANCE):
        raise UsageError(
            f"{what} have values from {least:.4g} to {greatest:.4g}, outside {said}; "
            f"{_looks(least, greatest, range)}"
        )
    other = "(0, 1)"
    if (range == (-1, 1) and least >= 0) or (range == (0, 255) and 0 < greatest <= 1):
        warnings.warn(
            f"{what} have values from {least:.4g} to {greatest:.4g}: within {said}, but they look like "
            f"range {other}; if they are, pass range={other}",
            RangeWarning,
            stacklevel=_level_of_caller(),
        )


def extremes(tensor: Tensor) -> tuple[float, float] | None:
    """Least and greatest value of a tensor, NaN where it has any; under `torch.vmap`, of the whole batch.

    None where there are no values to be looked at: on the meta device, and where operations are recorded.
    """
    if tensor.is_meta or is_recorded():
        return None
    least, greatest = _Extremes.apply(tensor.detach()).tolist()
    return least, greatest


class _Extremes(torch.autograd.Function):
    """As a function of its own, for which `torch.vmap` has a rule: a tensor that is batched has no `.item()`."""

    @staticmethod
    def forward(tensor: Tensor) -> Tensor:
        return torch.stack(torch.aminmax(tensor))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: object, in_dims: tuple[int | None], tensor: Tensor) -> tuple[Tensor, None]:
        return _Extremes.apply(tensor), None


def _level_of_caller() -> int:
    """How many calls up the line stands that shows images to this package, for a warning to name it."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").split(".")[0] in ("verydeep", "torch"):
        level, frame = level + 1, frame.f_back
    return level


def _looks(least: float, greatest: float, said: Range) -> str:
    width = said[1] - said[0]
    fitting = [range for range in RANGES if range != said and _within(least, greatest, range, TOLERANCE)]
    # A wider range holds much: what goes little beyond the one that was said is of that one.
    if not any(high - low < width for low, high in fitting) and _within(least, greatest, said, OVERSHOOT):
        return f"interpolation and networks overshoot so: use images.clamp({said[0]:g}, {said[1]:g})"
    if fitting:
        low, high = fitting[0]
        return f"they look like images of range ({low}, {high}): pass range=({low}, {high})"
    if least >= -3 and greatest <= 3:
        return "they look normalised by mean and deviation already: give the original values"
    if least >= -130 and greatest <= 160:
        return "they look like levels with the mean subtracted already: give the original values"
    return "clamp them, or rescale them to the range"


def _within(least: float, greatest: float, range: Range, slack: float) -> bool:
    """Whether values are within a range, or beyond its ends by no more than this share of its width."""
    low, high = range
    return low - slack * (high - low) <= least and greatest <= high + slack * (high - low)
