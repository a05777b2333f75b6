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
