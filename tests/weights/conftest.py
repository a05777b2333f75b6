"""Files are read in this process, but for the tests that are about the sandbox: loading torch takes 2 s."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.inference import open_engine
from verydeep.weights.checkpoint import Reader, Tensor
from verydeep.weights.files import sandbox


@pytest.fixture
def read_here(monkeypatch):
    """Run the sandbox's reader in this process."""

    def reader(module: str) -> Reader:
        def read(path: Path, facts: dict[str, Any]) -> Iterator[Tensor]:
            for name, tensor, dtype in import_module(module).read(path, facts):
                yield name, np.array(tensor), dtype

        return read

    monkeypatch.setattr(sandbox, "reader", reader)


@pytest.fixture(scope="session")
def crops(photographs) -> np.ndarray:
    """Windows of two photographs, 224 x 224."""
    return np.stack([photograph[100:324, 200:424] for photograph in photographs])


@pytest.fixture(scope="session")
def images(photographs) -> list[Image.Image]:
    return [Image.fromarray(photograph) for photograph in photographs]


def scores(model: Path, pixels: np.ndarray, engine: str) -> np.ndarray:
    """Scores of 224 x 224 pixels by a model on disk."""
    maps = open_engine(model, device="cpu", engine=engine).score_maps(pixels)
    assert maps.shape[2:] == (1, 1)
    return maps[:, :, 0, 0]


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Equal to float32 rounding, in relation to the largest score."""
    return bool(np.abs(ours - theirs).max() <= 5e-5 * np.abs(theirs).max())


def gives(model: Path, pixels: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both engines give another library's scores."""
    return all(close(scores(model, pixels, engine), theirs) for engine in ("torch", "native"))
