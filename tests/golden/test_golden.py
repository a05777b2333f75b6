"""What small networks and a short training compute is what it was, on every processor."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden_values import ARRAYS, LAYERS, NETWORKS, TRAINING, outputs, training

# Of a layer's greatest value. Instruction sets differ by up to 2.3e-6 here: they add in another order.
OF_A_NETWORK = 1e-5

# Of the losses, and of mean, root mean square and sum of a tensor. Measured with torch and oneDNN held to SSE4.1,
# AVX2 and AVX-512, and with one and two threads, these differ by up to 6.4e-7, 1.7e-8, 1.4e-8 and 1.3e-6: what
# is allowed is ten times as much and more. A change of the learning rate by 1 % makes 1e-2, 3e-4, 7e-4 and 9e-3.
OF_LOSSES = 2e-5
OF_WEIGHTS = (1e-6, 1e-6, 2e-5)


@pytest.mark.parametrize("instructions", ["portable", ""], ids=["portable", "best"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, instructions, monkeypatch):
    monkeypatch.setenv("VERYDEEP_INSTRUCTIONS", instructions)
    seen = outputs(name)
    assert tuple(seen) == LAYERS
    with np.load(ARRAYS) as wanted:
        for layer in LAYERS:
            maps = wanted[f"{name}/{layer}"]
            size = np.abs(maps).max()
            np.testing.assert_allclose(seen[layer], maps, rtol=0, atol=OF_A_NETWORK * size, err_msg=layer)


def test_ten_steps_of_training():
    seen, wanted = training(), json.loads(TRAINING.read_text(encoding="utf-8"))
    assert len(wanted["losses"]) == 10
    assert seen["losses"] == pytest.approx(wanted["losses"], abs=OF_LOSSES)
    assert seen["weights"].keys() == wanted["weights"].keys()
    for name, numbers in wanted["weights"].items():
        for number, expected, tolerance in zip(seen["weights"][name], numbers, OF_WEIGHTS, strict=True):
            assert number == pytest.approx(expected, abs=tolerance), name
