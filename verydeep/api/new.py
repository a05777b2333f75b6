"""`verydeep.new`: an untrained model on disk, for benchmarks and tests."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from verydeep.accounting import num_parameters
from verydeep.arguments import checked
from verydeep.configurations import Architecture
from verydeep.errors import check_seed, escaped, require
from verydeep.results import Result
from verydeep.run_folder import ModelConfig, TrainedOn, making_folder, provenance, write_model
from verydeep.run_folder.origin import recorded
from verydeep.weights.published import PREPROCESSING


@dataclass(frozen=True, repr=False)
class NewModel(Result):
    """An untrained model.

    Attributes:
        run: its folder.
        parameters: number of its weights and biases.

    """

    run: str
    parameters: int

    def __str__(self) -> str:
        return f"{escaped(self.run)}: {self.parameters:,} parameters"


@recorded
@checked
def new(
    config: str,
    run: str | PathLike[str],
    *,
    init: str = "he",
    seed: int = 0,
    num_classes: int = 1000,
    width: float = 1.0,
    hidden: tuple[int, ...] = (),
    window: int = 224,
    batch_norm: bool = False,
) -> NewModel:
    """Make an untrained model with random weights.

    Args:
        config: column of Table 1: A, A-LRN, B, C, D or E; or B-5x5, which is B with one 5x5 layer for each pair.
        run: run folder to make.
        init: how weights are drawn: he, glorot, normal or normal-literal.
        seed: seed of the random numbers.
        num_classes: number of classes; they are named by their numbers.
        width: factor on the number of channels of every layer.
        hidden: channels of fc6 and of fc7, two numbers (default: 4096 times the width).
        window: side of the network's input in training, in pixels; a multiple of 32.
        batch_norm: batch normalization after each convolution.

    Raises:
        UsageError: a value is out of its range, or `run` is not empty.
        VerydeepError: torch is not installed.

    """
    two: Any = tuple(hidden) or None  # which the architecture makes sure of
    architecture = Architecture(config, num_classes, width, window, batch_norm, hidden=two)
    check_seed(seed)
    require("torch", "train", "making a model")
    from verydeep.network.initialize import initialize
    from verydeep.network.vgg import VGG

    with making_folder(Path(run)):
        network = VGG(architecture)
        initialize(network, init, seed)
        model = ModelConfig(
            architecture,
            PREPROCESSING["matconvnet" if init.startswith("normal") else "torchvision"],
            tuple(map(str, range(num_classes))),
            TrainedOn.of_window(window),
            provenance(init=init, seed=seed),
        )
        tensors = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        write_model(Path(run), model, tensors)
    return NewModel(str(run), num_parameters(architecture))
