"""DISTS: how different two images look to people, to whom one patch of a texture is as good as another.

Source: Ding, Ma, Wang, Simoncelli, Image Quality Assessment: Unifying Structure and Texture Similarity, arXiv
2004.07728, equations 5 to 8; and its package `DISTS_pytorch`.
"""

from __future__ import annotations

from os import PathLike
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from verydeep.arguments import checked
from verydeep.errors import UsageError
from verydeep.feature_layers import check_vgg16
from verydeep.network.derivatives import usable
from verydeep.network.features import Features
from verydeep.network.ranges import Range
from verydeep.perceptual.learned import DISTS_FILE, dists_weights
from verydeep.perceptual.lpips import last_relus
from verydeep.perceptual.pair import ModelLike, Options, PairLoss, Taps, no_autocast, wide

EPSILON = 1e-6  # of both similarities
HANN = (0.25, 0.5, 0.25)  # a window of five, whose ends are 0


class _HannFeatures(Features):
    """A network whose poolings are the root of a Hann window over squares, which loses no high frequencies."""

    def pool(self, x: Tensor) -> Tensor:
        maps = wide(x)  # in float16 squares overflow, and 1e-12 is 0, where a root has no slope
        window = torch.tensor(HANN, device=maps.device, dtype=maps.dtype)
        kernel = (window[:, None] * window).expand(maps.shape[1], 1, 3, 3)
        with no_autocast(x.device):
            means = F.conv2d(maps.square(), kernel, stride=2, padding=1, groups=maps.shape[1])
            return (means + 1e-12).sqrt().to(x.dtype)


class DISTS(PairLoss):
    """One less the similarity of structure and texture, over the image and the last ReLU of each stage.

    `1 - sum_c (alpha_c l_c + beta_c s_c)`, where l compares the means of channel c and s its covariance: with m, v
    and k for mean, variance and covariance, `l = (2 m_x m_y + e) / (m_x^2 + m_y^2 + e)` and `s = (2 k + e) / (v_x
    + v_y + e)`. The network's max-poolings are replaced by the root of a Hann window over squares.

    Args:
        model: a model on disk, one that `verydeep.load` has opened, or a `VGG`: configuration D.
        weights: alpha and beta: a file of the `DISTS_pytorch` package or a converted one; None for those of the
            package that is installed. The package itself is not used.
        range: least and greatest value of the images: (0, 1), (-1, 1) or (0, 255).
        options: `preprocessing`, `reduction`, `check` and `grey`, as `PairLoss` has them.

    Raises:
        UsageError: an argument does not fit, or the weights are of another network.

    """

    tapped = _HannFeatures

    @torch.inference_mode(False)
    @checked
    def __init__(
        self,
        model: ModelLike,
        weights: str | PathLike[str] | None = None,
        *,
        range: Range,
        **options: Unpack[Options],
    ) -> None:
        alpha, beta = dists_weights(weights)
        super().__init__(model, last_relus, engine="torch", range=range, **options)
        check_vgg16(self.features.architecture, "DISTS", any_width=weights is not None)
        channels = {f"relu{one.place}": one.out_channels for one in self.features.architecture.convolutions}
        counts = [3, *(channels[layer] for layer in self.features.layers)]
        if sum(counts) != len(alpha):
            raise UsageError(
                f"the weights are for {len(alpha)} channels, and the network has {sum(counts)}; give its own, for "
                f"VGG-16 {DISTS_FILE} of the package DISTS_pytorch"
            )
        self.counts = counts
        total = alpha.sum() + beta.sum()
        self.alpha: Tensor
        self.beta: Tensor
        self.register_buffer("alpha", alpha / total, persistent=False)
        self.register_buffer("beta", beta / total, persistent=False)

    def _distance(self, taps: Taps, target_taps: Taps, images: Tensor, target: Tensor) -> Tensor:
        assert self.features.preprocess is not None
        low, high = self.features.preprocess.range
        firsts = [(wide(images) - low) / (high - low), *taps.values()]
        seconds = [(wide(target) - low) / (high - low), *target_taps.values()]
        distance = torch.zeros((), device=images.device)
        alphas, betas = (torch.split(usable(one), self.counts) for one in (self.alpha, self.beta))
        for first, second, alpha, beta in zip(firsts, seconds, alphas, betas, strict=True):
            luminance, structure = _differences(wide(first), wide(second))
            distance = distance + luminance @ alpha.to(luminance) + structure @ beta.to(structure)
        return distance


def _differences(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """One less l and one less s, for each channel: of shape (batch, channels).

    As alpha and beta sum to 1, so weighted they are one less the similarity, without the rounding of that
    difference: of an image and itself they are 0.
    """
    first, second = first.flatten(2), second.flatten(2)
    first_mean, second_mean = first.mean(2), second.mean(2)
    luminance = (first_mean - second_mean) ** 2 / (first_mean**2 + second_mean**2 + EPSILON)
    first_rest, second_rest = first - first_mean[..., None], second - second_mean[..., None]
    variances = first_rest.square().mean(2) + second_rest.square().mean(2)
    return luminance, (first_rest - second_rest).square().mean(2) / (variances + EPSILON)
