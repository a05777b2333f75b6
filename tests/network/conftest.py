"""What tests of the layers on our own kernels share."""

from __future__ import annotations

import pytest
from native_peer import INSTRUCTIONS

from verydeep.network.native_layers import kernels


@pytest.fixture(params=INSTRUCTIONS)
def instructions(request, monkeypatch):
    monkeypatch.setenv("VERYDEEP_INSTRUCTIONS", request.param)
    kernels.layers_on.cache_clear()
    yield
    kernels.layers_on.cache_clear()


@pytest.fixture
def calls(monkeypatch):
    """Counts what is asked of the compiled layers."""
    counted: dict[str, int] = {}

    class Counting:
        def __init__(self, *precision):
            self.layers = real(*precision)

        def __getattr__(self, name):
            counted[name] = counted.get(name, 0) + 1
            return getattr(self.layers, name)

    real = kernels.layers
    monkeypatch.setattr(kernels, "layers", Counting)
    return counted
