"""What a file of weights holds, before anybody knows whose layout it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Tensor = tuple[str, NDArray[Any], str]  # name, numbers, their type in the file
Reader = Callable[[Path, dict[str, Any]], Iterator[Tensor]]
"""Gives the tensors of a file, and puts what else the file says into the facts.

The fact `network` names one of several networks in the file, if the user has chosen one.
"""


class NotWeightsError(Exception):
    """A file can be read, but what it holds cannot be taken; the message goes on after the file's name."""


@dataclass
class Checkpoint:
    """Tensors as they lie in a file.

    Where a file has layers with numbered parts, as Keras's, Caffe's and MatConvNet's, tensors are called
    `layer/number`, in the order of the layers.

    Attributes:
        format: of the file, a key of `verydeep.weights.formats.FORMATS`.
        tensors: by name, in the file's order. Whoever brings them to our layout takes them out, so that no more
            than one is in memory twice.
        dtypes: types of their numbers in the file.
        facts: what else the file says.

    """

    format: str
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Parts of each layer by their names or numbers, where tensors are called `layer/part`."""
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for name, tensor in self.tensors.items():
            layer, _, part = name.rpartition("/")
            parts.setdefault(layer, {})[part] = tensor
        return parts
