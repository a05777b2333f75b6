"""Each kernel against float64, over random shapes, in every instruction set that this machine can run."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

_native = pytest.importorskip("verydeep._native")

INSTRUCTIONS = _native.available_instructions()
NO_LEVELS = np.zeros((3, 256), np.float32)
FORMS = [
    (instructions, precision)
    for instructions in INSTRUCTIONS
    for precision in ("float32", "bfloat16", "int16")
    if _native.has(instructions, precision)
]
MOST_ERROR = {"float32": 2e-6, "20 bits": 1e-5, "bfloat16": 2e-2, "int16": 3e-3}
TYPES = "incompatible function arguments"
channels = st.integers(1, 130)
sides = st.integers(1, 80)
batches = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)


def network_of(
    steps, instructions: str, precision: str, in_channels: int = 3, threads: int = 2, **options
) -> _native.Network:
    return _native.Network(
        steps,
        in_channels=in_channels,
        levels=NO_LEVELS,
        flip=False,
        instructions=instructions,
        precision=precision,
        threads=threads,
        **options,
    )


def run(steps, images: np.ndarray, output: tuple[int, str], instructions: str, precision: str, threads: int = 2):
    network = network_of(steps, instructions, precision, images.shape[3], threads)
    return network.run_numbers(images, [output])[0]


def normal(generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape, np.float32)


def exactly(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).double().permute(0, 3, 1, 2)


def agree(found: np.ndarray, wanted: torch.Tensor, precision: str, scale: float) -> None:
    """The error stays small beside the sums' own size, `scale`, where they cancel too."""
    wanted = wanted.numpy()
    assert found.shape == wanted.shape
    root_mean_square = np.sqrt(np.mean((found - wanted) ** 2)) if found.size else 0
    assert root_mean_square <= scale * MOST_ERROR[precision]


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=60)
@given(
    channels, channels, sides, sides, batches, st.sampled_from([3, 3, 1]), st.booleans(), st.booleans(), seeds,
    st.integers(1, 3),
)  # fmt: skip
def test_convolution(
    instructions, precision, in_channels, out_channels, height, width, batch, kernel, relu, pool, seed, threads
):
    pool = pool and height > 1 and width > 1
    batch = min(batch, max(1, 3_000_000 // (height * width * max(in_channels, out_channels))))
    generator = np.random.default_rng(seed)
    weights = normal(generator, out_channels, in_channels, kernel, kernel)
    bias, images = normal(generator, out_channels), normal(generator, batch, height, width, in_channels)
    step = _native.Step.convolution(weights, bias, relu=relu, pool=pool)
    stage = "pool" if pool else "relu" if relu else "sums"
    found = run([step], images, (0, stage), instructions, precision, threads)
    wanted = F.conv2d(
        exactly(images), torch.from_numpy(weights).double(), torch.from_numpy(bias).double(), padding=kernel // 2
    )
    wanted = F.relu(wanted) if relu else wanted
    agree(found, F.max_pool2d(wanted, 2) if pool else wanted, precision, kernel * np.sqrt(in_channels) + 1)


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=20)
@given(st.integers(1, 80), sides, sides, batches, st.booleans(), seeds)
def test_the_first_convolution_of_three_channels(
    instructions, precision, out_channels, height, width, batch, relu, seed
):
    generator = np.random.default_rng(seed)
    weights, bias = normal(generator, out_channels, 3, 3, 3), normal(generator, out_channels)
    images = normal(generator, batch, height, width, 3)
    step = _native.Step.convolution(weights, bias, relu=relu)
    found = run([step], images, (0, "relu" if relu else "sums"), instructions, precision)
    wanted = F.conv2d(
        exactly(images), torch.from_numpy(weights).double(), torch.from_numpy(bias).double(), padding=1
    )
    agree(found, F.relu(wanted) if relu else wanted, "float32", 6)  # float32 in every precision


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=30)
@given(
    st.integers(1, 80), st.integers(1, 70), st.integers(1, 150), st.integers(1, 150), st.integers(1, 3),
    st.booleans(), st.booleans(), seeds, st.integers(1, 3),
)  # fmt: skip
def test_two_convolutions_by_strips_are_those_by_maps(
    instructions, precision, first_channels, channels, height, width, batch, relu, pool, seed, threads
):
    """Where the first one's map is asked for it is there as a whole; else only strips are. Bits are the same."""
    pool = pool and height > 1 and width > 1
    generator = np.random.default_rng(seed)
    first, first_bias = normal(generator, first_channels, 3, 3, 3), normal(generator, first_channels)
    second, second_bias = normal(generator, channels, first_channels, 3, 3), normal(generator, channels)
    pixels = generator.integers(0, 256, (batch, height, width, 3), np.uint8)
    levels = np.ascontiguousarray(normal(generator, 3, 256))
    levels[0, 17] = np.nan  # a NaN, too, spreads over the edges of strips
    steps = [
        _native.Step.convolution(first, first_bias, relu=relu),
        _native.Step.convolution(second, second_bias, relu=relu, pool=pool),
    ]
    network = _native.Network(
        steps,
        in_channels=3,
        levels=levels,
        flip=True,
        instructions=instructions,
        precision=precision,
        threads=threads,
    )
    output = (1, "pool" if pool else "relu" if relu else "sums")
    by_strips = network.run_pixels(pixels, [output])[0]
    _, by_maps = network.run_pixels(pixels, [(0, "sums"), output])
    assert np.array_equal(by_strips, by_maps, equal_nan=True)
    numbers = np.stack([levels[2 - channel][pixels[..., 2 - channel]] for channel in range(3)], axis=3)
    numbers = np.nan_to_num(np.stack([levels[channel][pixels[..., channel]] for channel in (2, 1, 0)], axis=3))
    wanted = exactly(numbers)
    for weights, bias in ((first, first_bias), (second, second_bias)):
        wanted = F.conv2d(wanted, torch.from_numpy(weights).double(), torch.from_numpy(bias).double(), padding=1)
        wanted = F.relu(wanted) if relu else wanted
    wanted = F.max_pool2d(wanted, 2) if pool else wanted
    scale = (3 * np.sqrt(3) + 1) * (3 * np.sqrt(first_channels) + 1)
    agree(network.run_numbers(numbers, [output])[0], wanted, precision, scale)


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=20)
@given(
    st.integers(1, 80), st.integers(2, 80), st.integers(2, 80), batches, st.booleans(), seeds, st.integers(1, 3)
)
def test_the_first_convolution_and_its_pooling(
    instructions, precision, out_channels, height, width, batch, relu, seed, threads
):
    generator = np.random.default_rng(seed)
    weights, bias = normal(generator, out_channels, 3, 3, 3), normal(generator, out_channels)
    images = normal(generator, batch, height, width, 3)
    images[0, height // 2, width // 2, 1] = np.nan
    step = _native.Step.convolution(weights, bias, relu=relu, pool=True)
    found = run([step], images, (0, "pool"), instructions, precision, threads)
    sums = run([step], images, (0, "relu" if relu else "sums"), instructions, precision, threads)
    assert np.array_equal(found, F.max_pool2d(torch.from_numpy(sums), 2).numpy(), equal_nan=True)


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=25)
@given(channels, channels, st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), batches, st.booleans(), seeds)
def test_fully_connected(instructions, precision, in_channels, hidden, kernel, more_down, more, batch, relu, seed):
    height, width = kernel - 1 + more_down, kernel - 1 + more
    generator = np.random.default_rng(seed)
    first, first_bias = normal(generator, hidden, in_channels, kernel, kernel), normal(generator, hidden)
    second, second_bias = normal(generator, 37, hidden, 1, 1), normal(generator, 37)
    images = normal(generator, batch, height, width, in_channels)
    steps = [
        _native.Step.fully_connected(first, first_bias, relu=relu),
        _native.Step.fully_connected(second, second_bias, relu=False),
    ]
    sums = F.conv2d(exactly(images), torch.from_numpy(first).double(), torch.from_numpy(first_bias).double())
    wanted = F.relu(sums) if relu else sums
    size = kernel * np.sqrt(in_channels) + 1
    found = run(steps, images, (0, "relu" if relu else "sums"), instructions, precision)
    agree(found, wanted, precision, size)
    if relu:
        agree(run(steps, images, (0, "sums"), instructions, precision), sums, precision, size)
    wanted = F.conv2d(wanted, torch.from_numpy(second).double(), torch.from_numpy(second_bias).double())
    agree(run(steps, images, (1, "sums"), instructions, precision), wanted, precision, size * np.sqrt(hidden) + 1)


LARGE = 1_100_000
"""Weights of a fully connected layer that is kept in 20 bits where its products are of float32."""


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=6)
@given(
    st.integers(100, 1500), st.integers(1, 3), st.sampled_from([0.0, 1.5]), st.booleans(), seeds, st.integers(1, 3)
)
def test_large_fully_connected_layers(instructions, precision, outputs, kernel, tail, relu, seed, threads):
    """Their weights may be of very unlike sizes, and scores are the same bits whatever else is in the batch."""
    generator = np.random.default_rng(seed)
    in_channels = LARGE // (outputs * kernel**2) + 1
    weights = normal(generator, outputs, in_channels, kernel, kernel)
    weights *= np.exp(tail * normal(generator, *weights.shape))
    weights[outputs // 2] = 0
    bias = normal(generator, outputs)
    images = normal(generator, 10, kernel, kernel + 2, in_channels)  # 30 rows: a product in more than two pieces
    steps = [_native.Step.fully_connected(weights, bias, relu=relu)]
    output = (0, "relu" if relu else "sums")
    wanted = F.conv2d(exactly(images), torch.from_numpy(weights).double(), torch.from_numpy(bias).double())
    found = run(steps, images, output, instructions, precision, threads)
    size = float(np.sqrt(np.sum(weights.astype(np.float64) ** 2) / outputs)) + 1
    agree(found, F.relu(wanted) if relu else wanted, "bfloat16" if precision == "bfloat16" else "20 bits", size)
    alone = run(steps, np.ascontiguousarray(images[2:3, :, 1 : kernel + 1]), output, instructions, precision, 1)
    assert np.array_equal(alone[0, :, 0, 0], found[2, :, 0, 1])


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e-42, 1e31])
def test_a_weight_that_is_no_number_spoils_its_own_score_alone(instructions, value):
    """Of large layers, one that is infinite makes its score NaN; a stretch of tiny ones is nothing."""
    generator = np.random.default_rng(0)
    weights, bias = normal(generator, 80, 14_000, 1, 1), normal(generator, 80)
    images = normal(generator, 5, 1, 1, 14_000)
    before = run([_native.Step.fully_connected(weights, bias)], images, (0, "sums"), instructions, "float32")
    weights[33, 9999] = value
    if value == 1e-42:
        weights[33, 128:256] = value
    after = run([_native.Step.fully_connected(weights, bias)], images, (0, "sums"), instructions, "float32")
    wanted = images[:, 0, 0].astype(np.float64) @ weights[33, :, 0, 0] + bias[33]
    if np.isfinite(value):
        assert np.allclose(after[:, 33, 0, 0], wanted, rtol=1e-4, atol=1e-2)
    else:
        assert np.isnan(after[:, 33]).all()
    assert np.array_equal(np.delete(before, 33, axis=1), np.delete(after, 33, axis=1))


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e25, 1e34])
def test_a_very_large_weight_of_a_convolution(instructions, precision, value):
    """One that is no number makes its channel NaN; a large one is as exact as any."""
    generator = np.random.default_rng(0)
    weights, bias = normal(generator, 40, 16, 3, 3), normal(generator, 40)
    images = normal(generator, 2, 12, 12, 16)
    weights[33, 5, 1, 1] = value
    found = run([_native.Step.convolution(weights, bias)], images, (0, "sums"), instructions, precision)
    if not np.isfinite(value):
        assert np.isnan(found[:, 33]).all()
        return
    wanted = F.conv2d(
        exactly(images), torch.from_numpy(weights).double(), torch.from_numpy(bias).double(), padding=1
    )
    agree(found[:, 33] / value, wanted[:, 33] / value, precision, 1)
    others = np.delete(np.arange(40), 33)
    agree(found[:, others], wanted[:, others], precision, 13)


@pytest.mark.parametrize("instructions", INSTRUCTIONS)
@settings(max_examples=25)
@given(channels, st.integers(2, 80), st.integers(2, 80), batches, seeds)
def test_pooling_and_normalization(instructions, in_channels, height, width, batch, seed):
    generator = np.random.default_rng(seed)
    images = 30 * normal(generator, batch, height, width, in_channels)
    exact = exactly(images)
    found = run([_native.Step.max_pooling()], images, (0, "sums"), instructions, "float32")
    assert np.array_equal(found, F.max_pool2d(exact, 2).float().numpy())
    found = run([_native.Step.average_pooling()], images, (0, "sums"), instructions, "float32")
    agree(found, F.avg_pool2d(exact, 2), "float32", 30)
    for size, alpha, beta, k in (
        (5, 1e-4, 0.75, 2.0),
        (3, 1e-3, 0.5, 1.0),
        (1, 1e-4, 0.75, 2.0),
        (4, 1e-4, 0.75, 1.0),
        (32, 1e-4, 0.6, 2.0),
    ):
        found = run(
            [_native.Step.normalization(size, alpha, beta, k)], images, (0, "sums"), instructions, "float32"
        )
        agree(found, F.local_response_norm(exact, size, alpha * size, beta, k), "float32", 30)


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
def test_not_a_number_stays_where_it_can_be_seen(instructions, precision):
    """A NaN in a pixel reaches each output of its neighbourhood, through the ReLU and the pooling."""
    generator = np.random.default_rng(0)
    images = np.abs(normal(generator, 1, 16, 16, 20))
    images[0, 5, 9, 3] = np.nan
    for kernel in (1, 3):
        weights = np.abs(normal(generator, 24, 20, kernel, kernel))
        for pool in (False, True):
            step = _native.Step.convolution(weights, np.zeros(24, np.float32), relu=True, pool=pool)
            found = run([step], images, (0, "pool" if pool else "relu"), instructions, precision)
            assert np.isnan(found[0, :, 5 // 2 if pool else 5, 9 // 2 if pool else 9]).all()
            assert np.isfinite(found[0, :, -1, 0]).all()
    found = run([_native.Step.normalization(5, 1e-4, 0.75, 2)], images, (0, "sums"), instructions, precision)
    assert np.isnan(found[0, 1:6, 5, 9]).all()
    assert np.isnan(found).sum() == 5
    for place in np.ndindex(2, 2):
        images = np.ones((1, 2, 2, 3), np.float32)
        images[0, place[0], place[1]] = -np.nan
        found = run([_native.Step.max_pooling()], images, (0, "sums"), instructions, precision)
        assert np.isnan(found).all()


def test_arrays_of_torch_cross_without_a_copy_of_ours():
    weights, bias = torch.randn(8, 3, 3, 3), torch.randn(8)
    step = _native.Step.convolution(weights, bias, relu=False)
    images = torch.randn(2, 9, 11, 3)
    found = run([step], images, (0, "sums"), INSTRUCTIONS[-1], "float32")
    np.testing.assert_allclose(
        found, F.conv2d(images.permute(0, 3, 1, 2), weights, bias, padding=1).numpy(), rtol=1e-4, atol=1e-5
    )


def network(steps, in_channels=3, **others):
    plain = {"levels": NO_LEVELS, "flip": False, "instructions": "portable", "precision": "float32", "threads": 1}
    return _native.Network(steps, in_channels=in_channels, **plain | others)


def convolution(out_channels=4, in_channels=3, kernel=3, **others):
    weights = np.zeros((out_channels, in_channels, kernel, kernel), np.float32)
    return _native.Step.convolution(weights, np.zeros(out_channels, np.float32), **others)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: _native.Step.convolution(np.zeros((4, 3, 3, 3)), np.zeros(4, np.float32)), TypeError, TYPES),
        (lambda: _native.Step.convolution(np.zeros((4, 3, 3, 2), np.float32), np.zeros(4, np.float32)), ValueError,
         "square"),
        (lambda: _native.Step.convolution(np.zeros((4, 3, 3, 3), np.float32), np.zeros(5, np.float32)), ValueError,
         "4 outputs"),
        (lambda: network([convolution(kernel=5)]), ValueError, "3 or 1, not 5"),
        (lambda: network([convolution(), convolution()]), ValueError, "takes 3 channels, the one before gives 4"),
        (lambda: network([convolution(), _native.Step.normalization(33, 1e-4, 0.75, 2)]), ValueError,
         "over 33 channels; it may be over 1 to 32"),
        (lambda: network([]), ValueError, "at least one step"),
        (lambda: network([convolution()], threads=0), ValueError, "threads is 0"),
        (lambda: network([convolution()], instructions="mmx"), ValueError, "'mmx' is not one of this processor's"),
        (lambda: network([convolution()], levels=np.zeros((3, 255), np.float32)), TypeError, TYPES),
        (lambda: network([convolution()]).run_numbers(np.zeros((1, 4, 4, 4), np.float32), [(0, "relu")]),
         ValueError, "4 channels, this network takes 3"),
        (lambda: network([convolution()]).run_numbers(np.zeros((1, 4, 4, 3)), [(0, "relu")]), TypeError, TYPES),
        (lambda: network([convolution()]).run_numbers(np.zeros((1, 4, 4, 6), np.float32)[..., ::2], [(0, "relu")]),
         TypeError, TYPES),
        (lambda: network([convolution()]).run_pixels(np.zeros((4, 4, 3), np.uint8), [(0, "relu")]), TypeError,
         TYPES),
        (lambda: network([convolution()]).run_pixels(np.zeros((1, 0, 4, 3), np.uint8), [(0, "relu")]), ValueError,
         "no image"),
        (lambda: network([convolution()]).run_pixels(np.zeros((0, 4, 4, 3), np.uint8), [(0, "relu")]), ValueError,
         "no image"),
        (lambda: network([convolution()]).run_pixels(np.zeros((1, 4, 4, 3), np.uint8), [(1, "relu")]), ValueError,
         "no step 1"),
        (lambda: network([convolution()]).run_pixels(np.zeros((1, 4, 4, 3), np.uint8), [(0, "pool")]), ValueError,
         "no such stage"),
        (lambda: network([convolution()]).run_pixels(np.zeros((1, 4, 4, 3), np.uint8), [(0, "pol")]), ValueError,
         "no stage is called"),
        (lambda: network([convolution(pool=True)]).run_pixels(np.zeros((1, 1, 4, 3), np.uint8), [(0, "pool")]),
         ValueError, "needs a larger one"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=20)
@example(batch=3, channels=5, outputs=33, height=390, width=480, seed=0)  # more tiles than a block has
@given(
    batch=batches,
    channels=channels,
    outputs=channels,
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    seed=seeds,
)
def test_weights_on_demand_give_the_same_bits(
    instructions, precision, batch, channels, outputs, height, width, seed
):
    generator = np.random.default_rng(seed)
    numbers = normal(generator, batch, height, width, 3)
    steps = [
        _native.Step.convolution(normal(generator, channels, 3, 3, 3), normal(generator, channels), pool=True)
    ]
    steps += [_native.Step.max_pooling()] * 3
    sizes = ((outputs, channels), (20, outputs))
    steps += [
        _native.Step.convolution(normal(generator, *size, 3, 3), normal(generator, size[0])) for size in sizes
    ]
    ready, on_demand = (network_of(steps, instructions, precision, on_demand=wanted) for wanted in (False, True))
    del steps
    shown = [network.run_numbers(numbers, [(4, "relu"), (5, "relu")]) for network in (ready, on_demand)]
    for one, other in zip(*shown, strict=True):
        np.testing.assert_array_equal(one, other)
    if precision == "float32":
        assert on_demand.weight_bytes < ready.weight_bytes - 36 * 4 * (outputs * channels + 20 * outputs)
    else:
        assert on_demand.weight_bytes == ready.weight_bytes


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
@settings(max_examples=20)
@example(pairs=40, channels=5, height=9, width=9, seed=0)  # more images than go through a network at once
@given(pairs=st.integers(1, 7), channels=channels, height=sides, width=sides, seed=seeds)
def test_pairs_are_compared_by_the_formula(instructions, precision, pairs, channels, height, width, seed):
    """Of the maps that the same network hands out: of one layer, and of another before and after its pooling."""
    generator = np.random.default_rng(seed)
    numbers = normal(generator, 2 * pairs, height, width, 3)
    numbers[0] = 0
    steps = [
        _native.Step.convolution(normal(generator, channels, 3, 3, 3), np.zeros(channels, np.float32)),
        _native.Step.convolution(
            normal(generator, 21, channels, 3, 3), np.zeros(21, np.float32), pool=height > 1 < width
        ),
    ]
    outputs = [(0, "relu"), (1, "relu"), (1, "pool")][: 3 if height > 1 < width else 2]
    weights = [generator.random(channels if step == 0 else 21, np.float32) for step, _ in outputs]
    network = network_of(steps, instructions, precision)
    maps = network.run_numbers(numbers, outputs)
    found = network.compare_numbers(numbers, outputs, weights, epsilon=1e-10)
    for one, weight, distances in zip(maps, weights, found, strict=True):
        wide = one.astype(np.float64)
        units = wide / (np.sqrt((wide**2).sum(1, keepdims=True)) + 1e-10)
        wanted = np.einsum("c,bcyx->byx", weight, (units[::2] - units[1::2]) ** 2)
        np.testing.assert_allclose(distances, wanted, rtol=2e-5, atol=1e-6)


def test_pairs_that_cannot_be_compared_are_refused_and_nan_stays():
    generator = np.random.default_rng(0)
    steps = [
        _native.Step.convolution(normal(generator, 5, 3, 3, 3), np.zeros(5, np.float32)),
        _native.Step.fully_connected(normal(generator, 2, 5, 1, 1), np.zeros(2, np.float32)),
    ]
    network = network_of(steps, "portable", "float32")
    numbers, weights, outputs = normal(generator, 2, 8, 8, 3), np.ones(5, np.float32), [(0, "relu")]
    for wrong, message in (
        ((numbers[:1], outputs, [weights]), "images come in pairs, these are 1"),
        ((numbers, outputs, [weights[:4]]), "weights need a number for each of 5 channels"),
        ((numbers, outputs, [weights[None]]), "weights need a number for each of 5 channels"),
        ((numbers, outputs, []), "each output needs weights"),
        ((numbers, [(1, "sums")], [weights[:2]]), "fully connected steps give no maps to be compared"),
        ((numbers[..., :2].copy(), outputs, [weights]), "images have 2 channels, this network takes 3"),
    ):
        with pytest.raises(ValueError, match=message):
            network.compare_numbers(*wrong, epsilon=1e-10)
    numbers[0, 0, 0, 0] = np.nan
    (distances,) = network.compare_numbers(numbers, outputs, [weights], epsilon=1e-10)
    assert np.isnan(distances[0, 0, 0])
    assert np.isfinite(distances[0, 4:, 4:]).all()


def test_the_peak_is_known_for_each_form_and_is_that_of_its_vectors():
    peaks = {form: _native.peak(*form, 1) for form in FORMS}
    assert min(peaks.values()) > 0
    if "avx2" in INSTRUCTIONS:  # twice as wide, and a multiplication and an addition are one instruction
        assert peaks["avx2", "float32"] > 2 * peaks["portable", "float32"]
    lacking = [form for form in (("portable", "bfloat16"), ("portable", "int16")) if form not in FORMS]
    for instructions, precision in lacking:
        with pytest.raises(ValueError, match=f"'portable' has no products in {precision}"):
            _native.peak(instructions, precision, 1)
    with pytest.raises(ValueError, match="threads is 0; it must be 1 to 8192"):
        _native.peak("portable", "float32", 0)


@pytest.mark.parametrize(("instructions", "precision"), FORMS)
def test_no_convolution_is_faster_than_the_peak(instructions, precision):
    """A peak that is measured too low would show here. Counted are the products that Winograd's filtering does."""
    generator = np.random.default_rng(0)
    steps = [_native.Step.convolution(normal(generator, 256, 256, 3, 3), normal(generator, 256))]
    network, numbers = (
        network_of(steps, instructions, precision, 256, threads=1),
        normal(generator, 1, 56, 56, 256),
    )
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        network.run_numbers(numbers, [(0, "relu")])
        seconds.append(time.thread_time() - start)
    products = 2 * 36 * 14 * 14 * 256 * 256
    assert products / min(seconds) < 1.05 * _native.peak(instructions, precision, 1)
