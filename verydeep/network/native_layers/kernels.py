"""The compiled layers, and memory and arrays as they take them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from verydeep.processor import instruction_set, native_module

Sizes = tuple[int, int, int, int]  # images, channels, height, width
Precision = Literal["float32", "bfloat16"]


@lru_cache
def layers_on(threads: int, precision: Precision) -> Any:
    """The compiled layers, for a number of threads and a precision of products."""
    native = native_module()
    assert native is not None
    return native.Layers(instructions=instruction_set(native), threads=threads, precision=precision)


def layers(precision: Precision = "float32") -> Any:
    """The same for as many threads as torch has."""
    return layers_on(torch.get_num_threads(), precision)


def new(kind: str, sizes: Sizes) -> Tensor:
    """Memory for `maps`, `bordered_images` or `argmax` of these sizes; borders are 0, all else is not set."""
    return torch.from_numpy(getattr(native_module(), kind)(sizes))


def new_floats(*shape: int, channels_last: bool = False) -> Tensor:
    """Memory for plain numbers as the kernels write them, whatever torch's default type and device are."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=torch.float32, device="cpu", memory_format=layout)


def new_numbers(like: Tensor) -> Tensor:
    """Memory for the gradient at a tensor, which is kept for the next step."""
    module = native_module()
    assert module is not None
    return torch.from_numpy(module.numbers(like.numel())).view(like.shape)


def array(tensor: Tensor | None) -> Any:
    """A tensor as the compiled layers take it."""
    return None if tensor is None else tensor.detach().resolve_neg().numpy()


def sizes_of(x: Tensor) -> Sizes:
    """Sizes of a plain tensor."""
    images, channels, height, width = x.shape
    return images, channels, height, width


def half(sizes: Sizes) -> Sizes:
    """Sizes after a 2x2 pooling."""
    images, channels, height, width = sizes
    return images, channels, height // 2, width // 2
