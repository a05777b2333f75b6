"""What a file holds, before anybody knows whose layout it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Tensor = tuple[str, NDArray[Any], str]  # name, numbers, their type in the file


class NotWeightsError(Exception):
    """A file can be read, but what it holds cannot be taken; the message goes on after the file's name."""


@dataclass
class Raw:
    """Tensors as they lie in a file.

    Where a file has layers with numbered parts, as Keras's, Caffe's and MatConvNet's, tensors are called
    `layer/number`, in the order of the layers.

    Attributes:
        kind: of the file, a key of `verydeep.weights.files.KINDS`.
        tensors: by name, in the file's order. Whoever brings them to our layout takes them out, so that no more
            than one is in memory twice.
        dtypes: types of their numbers in the file.
        facts: what else the file says.

    """

    kind: str
    tensors: dict[str, NDArray[Any]]
    dtypes: dict[str, str]
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def layers(self) -> dict[str, list[NDArray[Any]]]:
        """Parts of each layer, where tensors are called `layer/number`."""
        layers: dict[str, list[NDArray[Any]]] = {}
        for name, tensor in self.tensors.items():
            layer, _, _ = name.rpartition("/")
            layers.setdefault(layer, []).append(tensor)
        return layers
