"""The compiled part: native/module.cpp."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Stage = Literal["sums", "relu", "pool"]

class Step:
    @staticmethod
    def convolution(
        weights: NDArray[np.float32], bias: NDArray[np.float32], *, relu: bool = True, pool: bool = False
    ) -> Step: ...
    @staticmethod
    def fully_connected(weights: NDArray[np.float32], bias: NDArray[np.float32], *, relu: bool = True) -> Step: ...
    @staticmethod
    def max_pooling() -> Step: ...
    @staticmethod
    def average_pooling() -> Step: ...
    @staticmethod
    def normalization(size: int, alpha: float, beta: float, k: float) -> Step: ...

class Network:
    def __init__(
        self,
        steps: Sequence[Step],
        *,
        in_channels: int,
        levels: NDArray[np.float32],
        flip: bool,
        instructions: str,
        precision: Literal["float32", "bfloat16", "int16"],
        threads: int,
        on_demand: bool = False,
    ) -> None: ...
    def run_pixels(
        self, pixels: NDArray[np.uint8], outputs: Sequence[tuple[int, Stage]]
    ) -> list[NDArray[np.float32]]: ...
    def run_numbers(
        self, numbers: NDArray[np.float32], outputs: Sequence[tuple[int, Stage]]
    ) -> list[NDArray[np.float32]]: ...
    def compare_numbers(
        self,
        numbers: NDArray[np.float32],
        outputs: Sequence[tuple[int, Stage]],
        weights: Sequence[NDArray[np.float32]],
        *,
        epsilon: float,
    ) -> list[NDArray[np.float32]]: ...
    def scratch_bytes(self, batch: int, height: int, width: int, outputs: Sequence[tuple[int, Stage]]) -> int: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def instructions(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def threads(self) -> int: ...
    measure: bool
    @property
    def seconds(self) -> list[float]: ...

def available_instructions() -> list[str]: ...
def has(instructions: str, precision: str) -> bool: ...
def peak(instructions: str, precision: str, threads: int) -> float:
    """Multiplications and additions a second on registers alone: the best of several trials, by processor time."""

Sizes = tuple[int, int, int, int]
"""Images, channels, height and width."""

class Layers:
    """Layers one by one, with gradients: docs/explanation/gradients.md. Maps are 1-D arrays of `maps`.

    `sizes` are those of a layer's input. Results are written to `to`. Arrays of other sizes raise ValueError.
    """

    def __init__(self, *, instructions: str, threads: int) -> None: ...
    @property
    def threads(self) -> int: ...
    def pack(
        self, tensor: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32], seen: NDArray[np.float32] | None
    ) -> None: ...
    def unpack(self, maps: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32]) -> None: ...
    def pack_images(self, tensor: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32]) -> None: ...
    def unpack_images(self, images: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32]) -> None: ...
    def max_pool(
        self, maps: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32], argmax: NDArray[np.int32]
    ) -> None: ...
    def max_pool_gradient(
        self,
        gradient: NDArray[np.float32],
        argmax: NDArray[np.int32],
        sizes: Sizes,
        to: NDArray[np.float32],
        accumulate: bool = False,
    ) -> None: ...
    def average_pool(self, maps: NDArray[np.float32], sizes: Sizes, to: NDArray[np.float32]) -> None: ...
    def average_pool_gradient(
        self,
        gradient: NDArray[np.float32],
        sizes: Sizes,
        seen: NDArray[np.float32] | None,
        to: NDArray[np.float32],
    ) -> None: ...
    def convolve(
        self,
        maps: NDArray[np.float32],
        sizes: Sizes,
        weights: NDArray[np.float32],
        transformed: NDArray[np.float32] | None,
        bias: NDArray[np.float32],
        relu: bool,
        to: NDArray[np.float32],
        argmax: NDArray[np.int32] | None,
    ) -> None: ...
    def data_gradient(
        self,
        gradient: NDArray[np.float32],
        argmax: NDArray[np.int32] | None,
        sizes: Sizes,
        weights: NDArray[np.float32],
        transformed: NDArray[np.float32] | None,
        seen: NDArray[np.float32] | None,
        to: NDArray[np.float32],
    ) -> None: ...
    def weight_gradient(
        self,
        maps: NDArray[np.float32],
        sizes: Sizes,
        gradient: NDArray[np.float32],
        argmax: NDArray[np.int32] | None,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> None: ...
    def transform(self, weights: NDArray[np.float32], sizes: Sizes, back: bool) -> NDArray[np.float32]: ...
    def convolve_images(
        self,
        images: NDArray[np.float32],
        sizes: Sizes,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        relu: bool,
        to: NDArray[np.float32],
    ) -> None: ...
    def images_data_gradient(
        self, gradient: NDArray[np.float32], sizes: Sizes, weights: NDArray[np.float32], to: NDArray[np.float32]
    ) -> None: ...
    def images_weight_gradient(
        self,
        images: NDArray[np.float32],
        sizes: Sizes,
        gradient: NDArray[np.float32],
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> None: ...
    def distances(
        self,
        first: NDArray[np.float32],
        second: NDArray[np.float32],
        sizes: Sizes,
        weights: NDArray[np.float32],
        epsilon: float,
        to: NDArray[np.float32],
    ) -> None: ...
    def distance_gradients(
        self,
        first: NDArray[np.float32],
        second: NDArray[np.float32],
        sizes: Sizes,
        weights: NDArray[np.float32],
        epsilon: float,
        slope: NDArray[np.float32],
        masked: bool,
        to_first: NDArray[np.float32] | None,
        to_second: NDArray[np.float32] | None,
    ) -> None: ...

def maps(sizes: Sizes) -> NDArray[np.float32]:
    """Zeroed at the border; the rest holds whatever was there. The memory is kept when the array goes."""

def bordered_images(sizes: Sizes) -> NDArray[np.float32]:
    """The same for images of three channels, as the first convolution reads them."""

def argmax(sizes: Sizes) -> NDArray[np.int32]:
    """Which of four was the greatest, for pooled maps of these sizes."""

def kept_buffer_bytes() -> int:
    """Memory that is kept for the next arrays."""

def free_kept_buffers() -> None:
    """Give it back to the system."""
