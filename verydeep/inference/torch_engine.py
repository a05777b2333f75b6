"""The engine that runs on torch: for GPUs, for validation while training, and as the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verydeep.configurations import Architecture
from verydeep.errors import UsageError
from verydeep.inference.strips import score_map_in_strips
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.run_folder import ModelConfig
from verydeep.weights.opening import open_source


class TorchScorer:
    """Scores pictures with a network, in evaluation mode and without gradients.

    Args:
        network: is moved to the device.
        config: whose preprocessing is applied.
        device: where to compute.
        precision: `float32`, `bfloat16`, or `auto`: float32, so that results are the same everywhere.

    """

    def __init__(self, network: VGG, config: ModelConfig, device: torch.device, precision: str = "auto") -> None:
        self.config = config
        self.device = device
        self.bfloat16 = precision == "bfloat16"
        self.network = network.to(device).channels_last()
        preprocessing = config.preprocessing
        self.preprocess = Preprocess(preprocessing.mean, preprocessing.deviation, preprocessing.channels).to(
            device
        )

    @staticmethod
    def open(model: Path, device: torch.device, precision: str = "auto") -> TorchScorer:
        """Read a model from disk, whoever made it.

        Raises:
            ModelError: there is no such model, or it cannot be used.

        """
        return TorchScorer.holding(*open_source(model), device, precision)

    @staticmethod
    def holding(
        config: ModelConfig,
        tensors: Mapping[str, NDArray[Any]],
        device: str | torch.device,
        precision: str = "auto",
    ) -> TorchScorer:
        """Take weights that are in memory, by their names in the state dict; they are not copied."""
        return TorchScorer(network_of(config.architecture, tensors), config, torch.device(device), precision)

    def score_maps(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Class score maps, as `Scorer` says."""
        self.network.eval()
        return score_map_in_strips(self._score, self.config.architecture, pixels)

    @torch.inference_mode()
    def _score(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            maps = self.network.score_map(self.preprocess(batch))
        result: NDArray[np.float32] = maps.float().cpu().numpy()
        return result


def network_of(architecture: Architecture, tensors: Mapping[str, NDArray[Any]]) -> VGG:
    """The network of weights that are in memory, which are not copied; in evaluation mode."""
    network = VGG(architecture)
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, assign=True)
    return network.eval()


def choose_device(name: str) -> torch.device:
    """Turn a name into a device; `auto` is a GPU where there is one.

    Raises:
        UsageError: torch knows no such device, or it is not there.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device
