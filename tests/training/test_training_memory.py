"""The memory of a training, counted beforehand, beside what a process takes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from verydeep import Architecture, describe
from verydeep.accounting import training_memory
from verydeep.errors import UsageError
from verydeep.processor import native_module

pytestmark = pytest.mark.skipif(native_module() is None, reason="the package was installed without a compiler")

# Greatest memory beyond that of a process that has trained a tiny network.
PROGRAM = """
import gc, json, sys
import torch
from torch.nn import functional as F
from verydeep import VGG, Architecture
from verydeep.network.initialize import initialize

engine, batch_norm = sys.argv[1], sys.argv[2] == "True"

def status(name):
    return int(open("/proc/self/status").read().partition(name + ":")[2].split()[0]) * 1024

def train(architecture, batch):
    network = VGG(architecture, engine=engine).train()
    initialize(network, "he", 0)
    network.lay_out()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, fused=True)
    images, labels = torch.randn(batch, 3, *2 * [architecture.window]), torch.zeros(batch, dtype=torch.int64)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimizer.step()

train(Architecture("A", 10, 0.25, 32, batch_norm), 4)
gc.collect()
before = status("VmRSS")
train(Architecture("D", 10, 0.25, 64, batch_norm), 96)
print(json.dumps(status("VmHWM") - before))
"""


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_what_is_counted_is_taken(engine, batch_norm):
    command = [sys.executable, "-c", PROGRAM, engine, str(batch_norm)]
    taken = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    counted = training_memory(Architecture("D", 10, 0.25, 64, batch_norm), 96, native=engine == "auto").total
    assert 0.75 < counted / taken < 1.3


def test_the_kernels_take_less_than_torch():
    for config in ("A", "C", "D", "E"):
        for batch_norm in (True, False):
            architecture = Architecture(config, batch_norm=batch_norm)
            native, by_torch = (training_memory(architecture, 16, native=one).total for one in (True, False))
            assert native < by_torch


def test_describe_tells_it():
    found = describe("D", batch_size=16)
    assert found.to_dict()["training_bytes"] == found.training_bytes
    assert found.training_bytes["native"] < describe("D").training_bytes["native"]
    assert "Training in batches of 16 takes about" in str(found)
    with pytest.raises(UsageError, match="`batch_size` is 0; it must be from 1 to 1000000"):
        describe("D", batch_size=0)
