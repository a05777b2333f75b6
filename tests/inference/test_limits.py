"""What a machine cannot give, threads and memory, and sizes that nothing has: an answer or one error, no crash."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import verydeep._native as _native

BOUNDARIES = [0, 1, 2, 16, 8192, *(2**power for power in (20, 24, 30, 31, 32, 40, 61, 62, 63, 64, 100))]
NEAR = [sign * (size + i) for size in BOUNDARIES for i in (-1, 0, 1) for sign in (-1, 1)]
sizes = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from(NEAR))

NO_LEVELS = np.zeros((3, 256), np.float32)

WITHOUT_THREADS = """
import ctypes
import numpy as np
import verydeep._native as _native

libc = ctypes.CDLL(None)

def stack_of_new_threads(size):
    attributes = ctypes.create_string_buffer(256)
    assert libc.pthread_getattr_default_np(attributes) == 0
    assert libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size)) == 0
    assert libc.pthread_setattr_default_np(attributes) == 0

def network(threads):
    random = np.random.default_rng(0)
    weights = random.standard_normal((40, 3, 3, 3), np.float32)
    levels = random.standard_normal((3, 256), np.float32)
    step = _native.Step.convolution(weights, np.zeros(40, np.float32))
    return _native.Network([step], in_channels=3, levels=levels, flip=False, instructions="portable",
                           precision="float32", threads=threads)

def scores(network):
    return network.run_pixels(np.full((3, 40, 40, 3), 7, np.uint8), [(0, "relu")])[0]

wanted = scores(network(1))
"""


def python(code: str) -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_THREADS + code], check=True, timeout=60)


needs_glibc = pytest.mark.skipif(sys.platform != "linux", reason="glibc sets the stack of new threads")


@needs_glibc
def test_threads_that_cannot_start_are_done_without_and_later_ones_start():
    python("""
stack_of_new_threads(1 << 46)  # more than there is room for
four = network(4)
for _ in range(3):
    assert np.array_equal(scores(four), wanted)
assert _native.peak("portable", "float32", threads=3) > 0
stack_of_new_threads(1 << 20)
assert np.array_equal(scores(four), wanted)
stack_of_new_threads(1 << 46)  # the fourth is there, and no fifth
assert np.array_equal(scores(network(9)), wanted)
assert np.array_equal(scores(four), wanted)
import os
assert len(os.listdir("/proc/self/task")) == 4
""")


def network(steps, in_channels=3, **others):
    plain = {"levels": NO_LEVELS, "flip": False, "instructions": "portable", "precision": "float32", "threads": 1}
    return _native.Network(steps, in_channels=in_channels, **plain | others)


def convolution(out_channels=40, in_channels=3, kernel=3, **others):
    weights = np.zeros((out_channels, in_channels, kernel, kernel), np.float32)
    return _native.Step.convolution(weights, np.zeros(out_channels, np.float32), **others)


def fully_connected(out_channels, in_channels, kernel):
    weights = np.zeros((out_channels, in_channels, kernel, kernel), np.float32)
    return _native.Step.fully_connected(weights, np.zeros(out_channels, np.float32))


NETWORKS = [
    network([convolution(), convolution(40, 40, pool=True), fully_connected(9, 40, 2)], threads=2),
    network([convolution(pool=True), convolution(40, 40, 1), _native.Step.average_pooling()], threads=8192),
    network([_native.Step.max_pooling(), convolution(24, 2**12)], in_channels=2**12),
    network([_native.Step.max_pooling()], in_channels=2**30, precision="bfloat16"),
]


@pytest.mark.parametrize("number", range(len(NETWORKS)))
@given(batch=sizes, height=sizes, width=sizes, step=st.sampled_from([0, 0, 0, 1, 2, -1, 2**64]))
@example(batch=1, height=2**29, width=2**29, step=0)  # products that are a multiple of 2^64: zero
@example(batch=2**62, height=2**24, width=2**8, step=0)
@example(batch=1, height=2**31 - 1, width=2**31 - 1, step=0)
def test_scratch_of_any_size_is_a_number_or_an_error(number, batch, height, width, step):
    try:
        scratch = NETWORKS[number].scratch_bytes(batch, height, width, [(step, "sums")])
    except ValueError:
        assert batch < 1 or height < 3 or width < 3 or height * width > 2**12 or step != 0
    else:
        assert scratch >= 4 * height * width


@pytest.mark.parametrize("size", [-(2**70), -(2**31), -1, 0, 8193, 2**31, 2**32 + 1, 2**63, 2**64 + 1])
@pytest.mark.parametrize(
    "make",
    [
        lambda size: network([convolution()], threads=size),
        lambda size: network([_native.Step.max_pooling()], in_channels=size if size < 1 else size << 20),
        lambda size: network([_native.Step.max_pooling(), _native.Step.normalization(size, 1e-4, 0.75, 2)]),
        lambda size: network([convolution()]).run_pixels(np.zeros((1, 4, 4, 3), np.uint8), [(size or 1, "sums")]),
        lambda size: _native.peak("portable", "float32", size),
    ],
    ids=["threads", "in_channels", "normalization", "output", "peak"],
)
def test_a_number_that_nothing_has_is_refused(make, size):
    with pytest.raises(ValueError, match=r"threads|channels|no step"):
        make(size)


def test_a_number_is_still_one_of_numpys_and_no_fraction():
    assert network([convolution()]).scratch_bytes(np.int64(1), np.uint8(8), 8, [(np.int32(0), "sums")]) > 0
    with pytest.raises(TypeError):
        network([convolution()]).scratch_bytes(1, 8.5, 8, [(0, "sums")])
