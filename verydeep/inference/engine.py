"""What computes a network: images in, outputs of layers out, both NumPy. There are two, native and torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from verydeep.configurations import Node
from verydeep.errors import UsageError
from verydeep.inference.strips import MOST_PIXELS, score_map_in_strips
from verydeep.plan import SCORES, check_size, nodes_to
from verydeep.run_folder import ModelConfig

Images = NDArray[np.uint8]
Outputs = dict[str, NDArray[np.float32]]


class Engine(ABC):
    """A network that is ready to run.

    Attributes:
        config: its architecture, preprocessing and class names.
        nodes: the part of its plan that can be run: the outputs that there are, in order of computation.

    """

    config: ModelConfig
    nodes: tuple[Node, ...]

    name: ClassVar[str]
    """What people call it."""

    @abstractmethod
    def weights(self) -> dict[str, NDArray[Any]]:
        """The network's tensors by their names in the state dict, of their own.

        Raises:
            ModelError: they are read from a file again, and it is gone or another.
            VerydeepError: they cannot be read again.

        """

    @abstractmethod
    def run(self, images: Images, outputs: Sequence[str]) -> Outputs:
        """Compute outputs of layers. Nodes behind the last of them are not computed.

        Args:
            images: of shape (batch, height, width, 3), levels of 0 to 255, RGB.
            outputs: names of nodes: `relu4_3`, say; `fc8` is the class score map.

        Returns:
            By name, in the order of `outputs`, of shape (batch, channels, rows, columns) each; FC layers have a
            place for each window.

        Raises:
            UsageError: these are no images, they are too small, or there is no such output.

        """

    def needed(self, outputs: Iterable[str], height: int, width: int) -> tuple[Node, ...]:
        """The nodes that must be computed for some outputs, of images of `height` x `width`.

        Raises:
            UsageError: there is no such output, the engine was opened for fewer layers, or the images are too
                small.

        """
        nodes = nodes_to(self.config.architecture, list(outputs))
        if len(nodes) > len(self.nodes):
            raise UsageError(
                f"this engine was loaded for layers up to {self.nodes[-1].name}, not {nodes[-1].name}"
            )
        check_size(self.config.architecture, nodes, height, width)
        return nodes

    def score_maps(self, images: Images) -> NDArray[np.float32]:
        """Class score maps before the soft-max, in bounded memory.

        Args:
            images: as for `run`.

        Returns:
            Of shape (batch, classes, rows, columns).

        Raises:
            UsageError: the images are smaller than one window.

        """
        check_images(images)
        architecture = self.config.architecture
        rows, columns = architecture.score_map_size(*images.shape[1:3])
        if len(images) == 0:
            return np.empty((0, architecture.num_classes, rows, columns), np.float32)
        return score_map_in_strips(
            lambda part: self.run(part, (SCORES,))[SCORES], architecture, images, MOST_PIXELS
        )


def check_array(images: object) -> None:
    """Make sure that images are an array, not the paths of files, say.

    Raises:
        UsageError: they are not.

    """
    if not isinstance(images, np.ndarray):
        raise UsageError(
            f"images are a {type(images).__name__}; give an array of shape (batch, height, width, 3), or files to "
            "`verydeep.extract`"
        )


def check_images(images: Images) -> None:
    """Make sure that these are images.

    Raises:
        UsageError: their shape or type is another.

    """
    check_array(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise UsageError(
            f"array of shape {images.shape} and type {images.dtype} holds no images; "
            "it must be (batch, height, width, 3) of uint8, levels of 0 to 255"
        )


class Opened(Protocol):
    """A model that has been opened, as `verydeep.load` gives it."""

    engine: Engine
