"""DISTS as a metric, on torch: it is no distance of vectors, so each pair is computed anew."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray

from verydeep.comparison.metrics import COPIES, Map, Metric, Vectors
from verydeep.evaluation.posterior import check_finite
from verydeep.inference.engine import Images
from verydeep.inference.torch_engine import choose_device, use_threads
from verydeep.network.vgg import VGG
from verydeep.perceptual import DISTS
from verydeep.plan import check_size, output_shapes
from verydeep.weights.features import open_features

PAIR_PIXELS = 4 * 224 * 224  # of images that are shown at once


class DistsMetric(Metric):
    """`verydeep.perceptual.DISTS`. What it keeps of an image are its pixels.

    Args:
        model: VGG-16.
        preprocessing: of its weights, as of `open_features`.
        device: of torch's; `auto` for the best.
        threads: of the CPU; None for as many as torch takes.

    """

    has_maps = False

    def __init__(
        self, model: str | PathLike[str], preprocessing: str | None, device: str, threads: int | None
    ) -> None:
        use_threads(threads)
        config, tensors = open_features(model, preprocessing)
        network = VGG.holding(config.architecture, tensors)
        self.device = choose_device(device)
        self.loss = DISTS(network, preprocessing=config.preprocessing, range=(0, 255), reduction="none")
        self.loss = self.loss.to(self.device)

    def check(self, height: int, width: int) -> None:
        """As `Metric` says."""
        features = self.loss.features
        check_size(features.architecture, features.nodes, height, width)

    def vector_size(self, height: int, width: int) -> int:
        """As `Metric` says."""
        return 3 * height * width

    def bytes_for(self, height: int, width: int) -> int:
        """As `Metric` says."""
        channels, rows, columns = output_shapes(self.loss.features.nodes, height, width)["relu1_2"]
        return 4 * 2 * 2 * COPIES * channels * rows * columns

    def vectors(self, images: Images) -> Vectors:
        """As `Metric` says."""
        return images.reshape(len(images), -1).astype(np.float32)

    def between(self, first: Vectors, second: Vectors, height: int, width: int) -> NDArray[np.float64]:
        """As `Metric` says."""
        shape = (-1, height, width, 3)
        rows = []
        for one in first.reshape(shape):
            rows.append(self._distances(np.broadcast_to(one, (len(second), *one.shape)), second.reshape(shape)))
        return np.stack(rows)

    def pairs(self, first: Images, second: Images, *, maps: bool = False) -> tuple[NDArray[np.float64], list[Map]]:
        """As `Metric` says; there are no maps."""
        return self._distances(first, second), []

    def _distances(self, first: NDArray[np.generic], second: NDArray[np.generic]) -> NDArray[np.float64]:
        count = max(1, PAIR_PIXELS // (2 * first.shape[1] * first.shape[2]))
        found = []
        with torch.inference_mode():
            for start in range(0, len(first), count):
                part = slice(start, start + count)
                shown = [
                    torch.from_numpy(np.ascontiguousarray(images[part]))
                    .permute(0, 3, 1, 2)
                    .to(self.device)
                    .float()
                    for images in (first, second)
                ]
                found.append(self.loss(*shown).double().cpu().numpy())
        distances = np.concatenate(found)
        check_finite(distances, "the network's features")
        return distances
