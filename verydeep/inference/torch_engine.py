"""The engine that runs on torch: for GPUs, for validation while training, and as the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from verydeep.errors import UsageError
from verydeep.images.color import Preprocessing
from verydeep.inference.engine import Engine, Images, Opened, Outputs, check_images
from verydeep.network import forward
from verydeep.network.preprocess import Preprocess
from verydeep.network.vgg import VGG
from verydeep.plan import nodes_to
from verydeep.processor import num_threads
from verydeep.run_folder import ModelConfig
from verydeep.weights.features import open_features
from verydeep.weights.opening import open_source
from verydeep.weights.published import preprocessing_of


class TorchEngine(Engine):
    """A network on torch, in evaluation mode and without gradients. Pickled, it holds its weights.

    Args:
        network: is moved to the device.
        config: whose preprocessing is applied.
        device: where to compute.
        precision: `float32`, `bfloat16`, or `auto`: float32, so that results are the same everywhere.

    """

    name = "torch"

    def __init__(self, network: VGG, config: ModelConfig, device: torch.device, precision: str = "auto") -> None:
        self.config = config
        self.nodes = config.architecture.nodes
        self.device = device
        self.bfloat16 = precision == "bfloat16"
        self.threads: int | None = None  # torch's own choice
        self.network = network.to(device).lay_out()
        self.preprocess = Preprocess(config.preprocessing).to(device)

    @staticmethod
    def holding(
        config: ModelConfig,
        tensors: Mapping[str, NDArray[Any]],
        layers: Sequence[str] | None = None,
        *,
        pooling: str = "max",
        precision: str = "auto",
        device: str = "auto",
        threads: int | None = None,
    ) -> TorchEngine:
        """Take weights that are in memory, by their names in the state dict; they are not copied.

        Raises:
            UsageError: torch has no such device, or the network no such layer.

        """
        use_threads(threads)
        network = VGG.holding(config.architecture, tensors, engine="torch")
        network.pooling = pooling  # type: ignore[assignment]
        engine = TorchEngine(network, config, choose_device(device), precision)
        if layers is not None:
            engine.nodes = nodes_to(config.architecture, layers)
        engine.threads = threads
        return engine

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle; torch has the same threads in this process then."""
        self.__dict__.update(state)
        use_threads(self.threads)

    def weights(self) -> dict[str, NDArray[Any]]:
        """Copies of the tensors, by their names."""
        return {name: tensor.cpu().numpy().copy() for name, tensor in self.network.state_dict().items()}

    @torch.inference_mode()
    def run(self, images: Images, outputs: Sequence[str]) -> Outputs:
        """Compute outputs of layers, as `Engine` says."""
        check_images(images)
        nodes = self.needed(outputs, *images.shape[1:3])
        self.network.eval()
        batch = torch.from_numpy(np.require(images, requirements=["C", "W"])).to(self.device, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            found = self.network.run(nodes, self.preprocess(batch), outputs)
        return {name: maps.float().cpu().contiguous().numpy() for name, maps in found.items()}


def use_threads(threads: int | None) -> None:
    """Let torch use so many CPU threads; None leaves it as it is."""
    if threads is not None:
        torch.set_num_threads(num_threads(threads))


def choose_device(name: str) -> torch.device:
    """Turn a name into a device; `auto` is a GPU where there is one.

    Raises:
        UsageError: torch knows no such device, or it is not there.

    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(
            f"no device is called {name!r}; give auto, cpu, cuda (cuda:1 for the second) or mps"
        ) from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return device


def open_network(
    model: VGG | str | PathLike[str] | Opened,
    layers: Sequence[str],
    preprocessing: Preprocessing | str | None = None,
    *,
    engine: forward.Engine = "auto",
) -> tuple[VGG, Preprocessing | None]:
    """Open a model on disk, with its preprocessing, or take a network as it is, with the preprocessing given.

    Args:
        model: of one that `verydeep.load` has opened the weights are copied.
        layers: that are wanted of it; none for convolutions alone. Where no FC layer is among them, another
            library's weights need none, nor names of classes.
        preprocessing: of a `VGG`, or of weights with which none is known: one, or a name of `PREPROCESSING`.
        engine: what will compute: weights that nobody else has are laid out for it.

    Raises:
        ModelError: there is no such model, or it cannot be used.
        UsageError: it is no model at all, or has a preprocessing of its own.

    """
    if isinstance(model, VGG):
        return model, preprocessing_of(preprocessing)
    if isinstance(model, (str, PathLike)):
        # A name that is mistyped may be an FC layer's: then all is opened, and the message knows all names.
        if all(re.match(r"(conv|bn|relu|norm|pool)[1-5]", name) for name in layers):
            config, tensors = open_features(model, preprocessing)
        else:
            config, tensors = open_source(model, preprocessing)
    elif isinstance(getattr(model, "engine", None), Engine):
        if preprocessing is not None:
            raise UsageError("the model has its own preprocessing; leave the argument out")
        config, tensors = model.engine.config, model.engine.weights()
    else:
        library = type(model).__module__.partition(".")[0]
        raise UsageError(
            f"model is a {type(model).__name__} of {library}; give the path of a model or of weights, a name such "
            "as torchvision:vgg16, or a verydeep.VGG with weights in it"
        )
    return VGG.holding(config.architecture, tensors, engine=engine), config.preprocessing
