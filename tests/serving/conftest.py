"""What tests of the server share."""

from __future__ import annotations

from pathlib import Path

import pytest

from verydeep.api.new import new


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """An untrained network of three classes, called `b`."""
    path = tmp_path_factory.mktemp("models") / "b"
    new("B", path, width=0.06, num_classes=3, window=32)
    return path
