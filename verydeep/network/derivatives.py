"""What torch does with operations beside computing them: it differentiates, transforms and records them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor
from torch.autograd import forward_ad


def is_recorded() -> bool:
    """Whether operations are recorded, or only imagined: by `torch.compile`, by tracing, or by a dispatch mode.

    Tensors then may have no values, and whatever is done without torch would be missing from the record.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return True
    return torch._C._len_torch_dispatch_stack() > 0


def is_transformed(*tensors: Tensor) -> bool:
    """Whether a transform of `torch.func` is active: `grad`, `vmap`, `jvp` or one that is made of them.

    Or whether any of these tensors is batched by `is_grads_batched=True`, which is older.
    """
    return torch._C._are_functorch_transforms_active() or any(map(is_legacy_batchedtensor, tensors))


def is_differentiated(*tensors: Tensor) -> bool:
    """Whether derivatives are taken by any of these: backward, where gradients are enabled, or forward."""
    return any((torch.is_grad_enabled() and one.requires_grad) or has_tangent(one) for one in tensors)


def has_tangent(tensor: Tensor) -> bool:
    """Whether forward-mode differentiation follows a tensor."""
    if torch.compiler.is_compiling():  # then all is left to torch
        return False
    return forward_ad.unpack_dual(tensor).tangent is not None  # type: ignore[no-untyped-call]


def usable(tensor: Tensor) -> Tensor:
    """A tensor, or a copy for autograd where it is one of inference mode, and that mode is over."""
    return tensor.clone() if is_foreign(tensor) else tensor


def is_foreign(tensor: Tensor) -> bool:
    """Whether a tensor is one of inference mode, of no use to autograd, and that mode is over."""
    if torch.compiler.is_compiling():  # which can neither see the mode nor needs to
        return False
    return tensor.is_inference() and not torch.is_inference_mode_enabled()
