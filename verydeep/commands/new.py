"""`verydeep new`: an untrained model on disk, for benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import FlagCreatePairsOff, Positional

from verydeep.accounting import num_parameters
from verydeep.configurations import Architecture
from verydeep.errors import require
from verydeep.images.color import Preprocessing
from verydeep.run_folder import ModelConfig, TrainedOn, provenance, refuse_existing, write_model

IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


@dataclass
class New:
    """Make an untrained model: the weights that a training would start with."""

    configuration: Annotated[Positional[str], tyro.conf.arg(metavar="CONFIGURATION")]
    """Column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, B with one 5x5 layer for each pair."""
    run_folder: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder to make."""
    start: str = "he"
    """How weights are drawn: he, glorot, normal or normal-literal."""
    seed: int = 0
    """Of the random numbers."""
    num_classes: int = 1000
    """Number of classes; they are called by their numbers."""
    width: float = 1.0
    """Factor on the number of channels of every layer."""
    window: int = 224
    """Side of the network's window, in pixels; a multiple of 32."""
    batch_norm: FlagCreatePairsOff[bool] = False
    """Batch normalisation after each convolution."""

    def run(self) -> None:
        """Make it."""
        architecture = Architecture(self.configuration, self.num_classes, self.width, self.window, self.batch_norm)
        require("torch", "train", "making a model")
        refuse_existing(self.run_folder)
        from verydeep.network.initialize import initialize
        from verydeep.network.vgg import VGG

        network = VGG(architecture)
        initialize(network, self.start, self.seed)
        preprocessing = Preprocessing()
        if not self.start.startswith("normal"):
            preprocessing = Preprocessing(deviation=IMAGENET_DEVIATION)
        side = round(self.window * 256 / 224)
        config = ModelConfig(
            architecture,
            preprocessing,
            tuple(str(number) for number in range(self.num_classes)),
            TrainedOn((side, side)),
            provenance(start=self.start, seed=self.seed),
        )
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        write_model(self.run_folder, config, tensors)
        print(f"{self.run_folder}: {num_parameters(architecture):,} parameters")
