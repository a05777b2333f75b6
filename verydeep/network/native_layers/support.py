"""What the kernels can compute here and now; all else runs on torch."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.modules.module import _has_any_global_hook
from torch.nn.utils.parametrize import is_parametrized

from verydeep.configurations import BATCH_NORM_EPSILON
from verydeep.network.derivatives import has_tangent, is_foreign, is_recorded, is_transformed
from verydeep.network.synchronized import BatchNorm
from verydeep.processor import has_bfloat16, native_module


def takes(x: Tensor) -> bool:
    """Whether the kernels can compute with a tensor here and now: on the CPU, in float32, with plain autograd.

    All else runs on torch: `torch.compile`, tracing, transforms of `torch.func`, forward-mode derivatives,
    tensor subclasses, other devices and types; and autocast, unless it is to a type that the kernels multiply.
    """
    return native_module() is not None and not is_recorded() and _takes_autocast() and is_plain(x)


def _takes_autocast() -> bool:
    """Whether there is no autocast, or one to bfloat16, which the kernels multiply here."""
    if not torch.is_autocast_enabled("cpu"):
        return True
    native = native_module()
    return native is not None and torch.get_autocast_dtype("cpu") == torch.bfloat16 and has_bfloat16(native)


def is_plain(x: Any) -> bool:
    """Whether a tensor is one of numbers that the kernels can read."""
    return (
        type(x) in (Tensor, Parameter)
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.layout == torch.strided
        and not is_transformed(x)
        and not has_tangent(x)
        and not is_foreign(x)
    )


def takes_module(module: nn.Module) -> bool:
    """Whether a module is a 3x3 convolution and nothing more: no hook, no parametrisation, no other forward.

    Its input is one that the kernels take.
    """
    if not is_plain_convolution(module) or module.kernel_size != (3, 3) or module.bias is None:
        return False
    return is_plain(module.weight) and is_plain(module.bias)


def is_plain_convolution(module: nn.Module, *, padded: bool = True) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a convolution of any size and nothing more: `padded` is as of `is_told_by_weights`."""
    return _is_convolution(module, padded=padded) and not has_hooks(module)


def is_told_by_weights(module: nn.Module, *, padded: bool) -> bool:
    """Whether weights alone tell what a module computes, which is what the native engine reads of it.

    Args:
        module: of a layer with weights.
        padded: whether a convolution has half of its kernel as padding, as all but FC layers do.

    """
    return _is_convolution(module, padded=padded) or (_is_batch_norm(module) and module.eps == BATCH_NORM_EPSILON)


def _is_convolution(module: nn.Module, *, padded: bool) -> TypeGuard[nn.Conv2d]:
    """Whether a module is a plain convolution, whatever the size of its kernel."""
    if not isinstance(module, nn.Conv2d) or type(module).forward is not nn.Conv2d.forward:
        return False
    if is_parametrized(module):
        return False
    padding = tuple(side // 2 * padded for side in module.kernel_size)
    plain = (module.stride, module.padding, module.dilation, module.groups, module.padding_mode)
    return "forward" not in vars(module) and plain == ((1, 1), padding, (1, 1), 1, "zeros")


def _is_batch_norm(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
    """Whether a module is a batch normalisation of torch's or ours."""
    if not isinstance(module, nn.BatchNorm2d) or "forward" in vars(module) or is_parametrized(module):
        return False
    return type(module).forward in (nn.BatchNorm2d.forward, BatchNorm.forward)


def takes_linear(module: nn.Conv2d, x: Tensor) -> bool:
    """Whether `linear` can compute a plain convolution that covers the whole of this input."""
    return takes(x.float()) and module.bias is not None and is_plain(module.weight) and is_plain(module.bias)


def takes_batch_norm(module: nn.Module) -> bool:
    """Whether a module is a batch normalisation with running statistics and nothing more; likewise."""
    if not _is_batch_norm(module) or has_hooks(module):
        return False
    tensors = module.weight, module.bias, module.running_mean, module.running_var
    return module.momentum is not None and all(map(is_plain, tensors))


def has_hooks(module: nn.Module) -> bool:
    """Whether something of the user's is called when a module is, or when gradients go through it."""
    return _has_any_global_hook() or any(  # type: ignore[no-untyped-call]
        (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    )
