"""Maps by torch, for GPUs and where the native engine is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verydeep.inference.torch_engine import choose_device, network_of
from verydeep.layers.network import Features
from verydeep.network.preprocess import Preprocess
from verydeep.run_folder import ModelConfig


class TorchExtractor:
    """What the named layers of a model give for pixels, on a device of torch's.

    Args:
        config: of the model.
        tensors: its weights.
        layers: their names.
        pooling: `max` or `average`.
        device: `auto`, or a device of torch's.
        precision: `float32`, `bfloat16` or `auto`: float32.

    Raises:
        UsageError: there is no such layer or device.

    """

    def __init__(
        self,
        config: ModelConfig,
        tensors: Mapping[str, NDArray[Any]],
        layers: Sequence[str],
        pooling: str,
        device: str,
        precision: str,
    ) -> None:
        self.config = config
        self._device = choose_device(device)
        self._bfloat16 = precision == "bfloat16"
        network = network_of(config.architecture, tensors)
        self._features = Features(network, layers, pooling=pooling).to(self._device)  # type: ignore[arg-type]
        self.path, self.layers = self._features.path, self._features.layers
        preprocessing = self.config.preprocessing
        self._preprocess = Preprocess(preprocessing.mean, preprocessing.deviation, preprocessing.channels).to(
            self._device
        )

    @torch.inference_mode()
    def __call__(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """What each layer gives, as `NativeFeatures` says."""
        batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self._device, non_blocking=True)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            taps = self._features(self._preprocess(batch))
        return {name: tap.float().cpu().contiguous().numpy() for name, tap in taps.items()}
