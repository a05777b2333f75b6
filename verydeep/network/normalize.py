"""Local response normalisation, which A-LRN has behind its first layer."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from verydeep.configurations import LocalResponseNorm


def local_response_norm(
    x: Float[Tensor, "batch channels rows columns"],
    norm: LocalResponseNorm,
) -> Float[Tensor, "batch channels rows columns"]:
    """Divide each number by a power of what its neighbours among the channels amount to, at the same place.

    `x / (k + alpha * sum of squares of some channels)^beta` (Krizhevsky et al. 2012, Section 3.3). torch's own
    function divides alpha by the number of channels, and takes three times as long on a processor: it pools in
    three dimensions. Here the sum is a 1x1 convolution with a band of ones.
    """
    channel = torch.arange(x.shape[1], device=x.device)
    band = ((channel[:, None] - channel).abs() <= norm.size // 2).to(x.dtype)
    sums = F.conv2d(x.square(), band[:, :, None, None])
    if sums.dtype in (torch.bfloat16, torch.float16):  # whose steps beside k are larger than many a sum
        sums = sums.float()
    return (x * (norm.k + norm.alpha * sums).pow(-norm.beta)).to(x.dtype)
