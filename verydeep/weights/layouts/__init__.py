"""A library's names and axes <-> layers in their order, a module or a folder for each library.

`read_layers(checkpoint)` gives the layers of a network, and None where its tensors are not this library's.
`tensors_for(architecture, tensors)` gives the tensors that the library loads, by its names.
"""

from __future__ import annotations

from importlib import import_module

from verydeep.errors import ModelError
from verydeep.weights.checkpoint import Checkpoint
from verydeep.weights.choice import no_network
from verydeep.weights.formats import FORMATS
from verydeep.weights.recognize import Layers


def recognize(checkpoint: Checkpoint) -> tuple[str, Layers]:
    """Find whose tensors these are.

    Returns:
        The layout's name, and the layers, whose tensors are no longer in the checkpoint.

    Raises:
        ModelError: they are nobody's, or not of a VGG network.

    """
    for module in FORMATS[checkpoint.format].layouts:
        layers: Layers | None = import_module(module).read_layers(checkpoint)
        if layers is not None:
            checkpoint.tensors.clear()
            return module.rpartition(".")[2], layers
    raise ModelError(no_network(list(checkpoint.tensors)))
