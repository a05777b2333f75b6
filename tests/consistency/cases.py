"""The kinds of cases, and how one is run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data_cases import layout_case, tested_case
from image_cases import image_case
from library_cases import caffe_case, matconvnet_case
from outcomes import Outcome, differ
from weight_cases import checkpoint_case, keras_case, onnx_case, pooled_case


class Kind(NamedTuple):
    """A kind of cases.

    Attributes:
        run: makes the case of some random numbers in an empty folder, and compares the readings.
        in_suite: how many of them the test suite runs.
        least_agreeing: the share that must be read, not refused.

    """

    run: Callable[[np.random.Generator, Path], Outcome]
    in_suite: int
    least_agreeing: float


CASES = {
    "layouts": Kind(layout_case, 20, 0.6),
    "tested": Kind(tested_case, 15, 0.6),
    "images": Kind(image_case, 35, 0.9),
    "checkpoints": Kind(checkpoint_case, 18, 0.6),
    "pooled": Kind(pooled_case, 4, 1),
    "caffe": Kind(caffe_case, 20, 0.4),
    "matconvnet": Kind(matconvnet_case, 12, 0.4),
    "keras": Kind(keras_case, 4, 1),
    "onnx": Kind(onnx_case, 4, 1),
}


def run_case(kind: str, seed: int, folder: Path) -> Outcome:
    """Run one case; what goes wrong without a sentence is a difference."""
    folder.mkdir(parents=True)
    try:
        return CASES[kind].run(np.random.default_rng([seed, *kind.encode()]), folder)
    except Exception as error:
        return differ(f"{kind} {seed}: {type(error).__name__}: {error}")
