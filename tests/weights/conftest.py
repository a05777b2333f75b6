"""Files are read in this process, but for the tests that are about the process apart: loading torch takes 2 s."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ModelError
from verydeep.inference import open_engine
from verydeep.weights.files import apart
from verydeep.weights.files.child import READERS
from verydeep.weights.raw import NotWeightsError, Raw


@pytest.fixture
def read_here(monkeypatch):
    """Run the process's reader in this process."""

    def read(path: Path, kind: str, network: str | None = None) -> Raw:
        raw = Raw(kind, {}, {}, {} if network is None else {"wanted": network})
        try:
            for name, tensor, stored in import_module(f"verydeep.weights.files.{READERS[kind]}").read(
                path, raw.facts
            ):
                raw.tensors[name], raw.dtypes[name] = np.array(tensor), stored
        except NotWeightsError as error:
            raise ModelError(f"{path} {error}") from None
        return raw

    monkeypatch.setattr(apart, "read_apart", read)


@pytest.fixture(scope="session")
def crops(photographs) -> np.ndarray:
    """Windows of two photographs, 224 x 224."""
    return np.stack([photograph[100:324, 200:424] for photograph in photographs])


@pytest.fixture(scope="session")
def pictures(photographs) -> list[Image.Image]:
    return [Image.fromarray(photograph) for photograph in photographs]


def scores(model: Path, pixels: np.ndarray, engine: str) -> np.ndarray:
    """Scores of 224 x 224 pixels by a model on disk."""
    maps = open_engine(model, "cpu", engine=engine).score_maps(pixels)
    assert maps.shape[2:] == (1, 1)
    return maps[:, :, 0, 0]


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Equal to float32 rounding, in relation to the largest score."""
    return bool(np.abs(ours - theirs).max() <= 5e-5 * np.abs(theirs).max())


def gives(model: Path, pixels: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both engines give another library's scores."""
    return all(close(scores(model, pixels, engine), theirs) for engine in ("torch", "native"))
