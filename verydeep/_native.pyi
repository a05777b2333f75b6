"""The compiled part: native/module.cpp."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Winners = NDArray[np.int32]
Statistics = tuple[Floats, Floats, float]  # mean, variance, and what is added to it
Normalization = tuple[Statistics, Floats, Floats]  # and weight and bias
Pooling = tuple[Floats, Floats, Winners]  # weights of a normalisation, pooled maps, and which were the greatest
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

    def __init__(self, *, instructions: str, threads: int, precision: str = "float32") -> None: ...
    @property
    def threads(self) -> int: ...
    def pack(self, tensor: Floats, sizes: Sizes, to: Floats, seen: Floats | None) -> None: ...
    def unpack(self, maps: Floats, sizes: Sizes, to: Floats) -> None: ...
    def pack_images(self, tensor: Floats, sizes: Sizes, to: Floats) -> None: ...
    def unpack_images(self, images: Floats, sizes: Sizes, to: Floats) -> None: ...
    def max_pool(self, maps: Floats, sizes: Sizes, to: Floats, argmax: Winners) -> None: ...
    def max_pool_gradient(
        self,
        gradient: Floats,
        argmax: Winners,
        sizes: Sizes,
        to: Floats,
        accumulate: bool = False,
    ) -> None: ...
    def average_pool(self, maps: Floats, sizes: Sizes, to: Floats) -> None: ...
    def average_pool_gradient(
        self,
        gradient: Floats,
        sizes: Sizes,
        seen: Floats | None,
        to: Floats,
    ) -> None: ...
    def gram_matrices(self, maps: Floats, sizes: Sizes, to: Floats) -> None: ...
    def gram_gradient(self, maps: Floats, sizes: Sizes, slope: Floats, masked: bool, to: Floats) -> None: ...
    def channel_statistics(self, maps: Floats, sizes: Sizes, to: Floats) -> None: ...
    def batch_norm(
        self,
        maps: Floats,
        sizes: Sizes,
        norm: Normalization,
        relu: bool,
        to: Floats,
        argmax: Winners | None,
    ) -> None: ...
    def batch_norm_sums(
        self,
        maps: Floats,
        sizes: Sizes,
        statistics: Statistics,
        gradient: Floats,
        argmax: Winners | None,
        to: Floats,
    ) -> None: ...
    def batch_norm_gradient(
        self,
        maps: Floats,
        sizes: Sizes,
        statistics: Statistics,
        weight: Floats,
        means: Floats,
        gradient: Floats,
        argmax: Winners | None,
        to: Floats,
    ) -> None: ...
    @staticmethod
    def by_tiles(sizes: Sizes) -> bool: ...
    def convolve(
        self,
        maps: Floats,
        sizes: Sizes,
        norm: Normalization | None,
        weights: Floats,
        transformed: Floats | None,
        bias: Floats,
        relu: bool,
        to: Floats,
        argmax: Winners | None,
        moments: Floats | None,
        pooling: Pooling | None,
    ) -> None: ...
    def data_gradient(
        self,
        gradient: Floats,
        argmax: Winners | None,
        sizes: Sizes,
        weights: Floats,
        transformed: Floats | None,
        seen: Floats | None,
        to: Floats,
    ) -> None: ...
    def normalized_data_gradient(
        self,
        gradient: Floats,
        maps: Floats,
        sizes: Sizes,
        norm: Normalization,
        weights: Floats,
        transformed: Floats | None,
        to: Floats,
        sums: Floats,
    ) -> None: ...
    def weight_gradient(
        self,
        maps: Floats,
        sizes: Sizes,
        norm: Normalization | None,
        gradient: Floats,
        argmax: Winners | None,
        weights: Floats,
        bias: Floats,
    ) -> None: ...
    def transform(self, weights: Floats, sizes: Sizes, back: bool) -> Floats: ...
    def convolve_images(
        self,
        images: Floats,
        sizes: Sizes,
        weights: Floats,
        bias: Floats,
        relu: bool,
        to: Floats,
    ) -> None: ...
    def images_data_gradient(self, gradient: Floats, sizes: Sizes, weights: Floats, to: Floats) -> None: ...
    def images_weight_gradient(
        self,
        images: Floats,
        sizes: Sizes,
        gradient: Floats,
        weights: Floats,
        bias: Floats,
    ) -> None: ...
    def distances(
        self,
        first: Floats,
        second: Floats,
        sizes: Sizes,
        weights: Floats,
        epsilon: float,
        to: Floats,
    ) -> None: ...
    def distance_gradients(
        self,
        first: Floats,
        second: Floats,
        sizes: Sizes,
        weights: Floats,
        epsilon: float,
        slope: Floats,
        masked: bool,
        to_first: Floats | None,
        to_second: Floats | None,
    ) -> None: ...

def maps(sizes: Sizes) -> Floats:
    """Zeroed at the border; the rest holds whatever was there. The memory is kept when the array goes."""

def bordered_images(sizes: Sizes) -> Floats:
    """The same for images of three channels, as the first convolution reads them."""

def argmax(sizes: Sizes) -> Winners:
    """Which of four was the greatest, for pooled maps of these sizes."""

def numbers(count: int) -> Floats:
    """Numbers of any value, in memory that is kept likewise."""

def kept_buffer_bytes() -> int:
    """Memory that is kept for the next arrays."""

def free_kept_buffers() -> None:
    """Give it back to the system."""
